"""How long a pull may take."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from qanatix_pipelines.errors import SourceTimeout

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Limits:
    """How long a source may take: for one answer (connecting, or a batch), and for all of its part in a pull; and how
    long the merge of what was read into the store may take.

    After a fault that may pass by itself the source is read again, once for each of `pauses`, after at most so many
    seconds.
    """

    answer_seconds: float = 600
    pull_seconds: float = 3600
    pauses: tuple[float, ...] = (1, 4)
    merge_seconds: float = 3600


USUAL = Limits()


class Deadline:
    """The limits of one pull, counted from when this is made."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._end = time.monotonic() + limits.pull_seconds

    async def answer(self, awaited: Awaitable[_Answer]) -> _Answer:
        """What the source answers. Raises SourceTimeout."""
        left = self._end - time.monotonic()
        limits = self._limits
        try:
            async with asyncio.timeout(min(left, limits.answer_seconds)) as clock:
                return await awaited
        except TimeoutError:
            if not clock.expired():
                raise
            if left < limits.answer_seconds:
                message = f"The pull took longer than {limits.pull_seconds:g} seconds and was given up."
            else:
                message = f"The source gave no answer within {limits.answer_seconds:g} seconds."
            raise SourceTimeout(message) from None
