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
    """Time limits of a pull, in seconds.

    `answer_seconds` is for one answer of the source: a connection, or a batch. `pull_seconds` is for all reading of the
    source, retries included. `merge_seconds` is for the merge of the staged rows into the store.

    After a transient fault the source is read again, once for each of `pauses`: each is the longest wait before that
    try.
    """

    answer_seconds: float = 600
    pull_seconds: float = 3600
    pauses: tuple[float, ...] = (1, 4)
    merge_seconds: float = 3600


USUAL = Limits()


class Deadline:
    """The limits of one pull. They count from the creation of this object."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._end = time.monotonic() + limits.pull_seconds

    async def answer(self, awaited: Awaitable[_Answer]) -> _Answer:
        """The result of `awaited`, which asks the source. Raises SourceTimeout."""
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
