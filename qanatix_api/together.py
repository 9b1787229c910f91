"""What several requests ask for at the same time, read at once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Found = TypeVar("_Found")


class Together(Generic[_Key, _Found]):
    """Reads one after the other. Each is for all that was asked for while the one before it went on.

    `read` gets keys and returns what it found, by key. What it raises is raised in all who asked.
    """

    def __init__(self, read: Callable[[Sequence[_Key]], Awaitable[Mapping[_Key, _Found]]]) -> None:
        self._read = read
        self._asked: dict[_Key, asyncio.Future[_Found | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: _Key) -> _Found | None:
        """What a read finds that begins after this call; None if it finds nothing under this key."""
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.get_running_loop().create_future()
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await asyncio.shield(asked)  # whoever gives up leaves it to the others

    async def _read_all(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                found = await self._read(list(asked))
            except Exception as error:  # noqa: BLE001  # raised in those who asked
                for one in asked.values():
                    one.set_exception(error)
            else:
                for key, one in asked.items():
                    one.set_result(found.get(key))
