"""What is asked for at the same time is read at once."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from qanatix_api.together import Together


class Shelf:
    """What is read. A read takes until it is let go."""

    def __init__(self) -> None:
        self.reads: list[list[str]] = []
        self.content = {"a": 1, "b": 2, "c": 3}
        self.broken = False
        self.open = asyncio.Event()

    async def read(self, keys: Sequence[str]) -> Mapping[str, int]:
        self.reads.append(list(keys))
        content = dict(self.content)
        await self.open.wait()
        if self.broken:
            raise OSError("broken")
        return {key: content[key] for key in keys if key in content}


async def _begun(together: Together[str, int], *keys: str) -> list[asyncio.Task[int | None]]:
    tasks = [asyncio.create_task(together.get(key)) for key in keys]
    for _ in range(3):  # they ask, and the read begins
        await asyncio.sleep(0)
    return tasks


def test_all_that_is_asked_for_during_a_read_is_read_by_the_next_one() -> None:
    async def ask() -> tuple[list[int | None], list[list[str]]]:
        shelf = Shelf()
        together = Together(shelf.read)
        first = await _begun(together, "a")
        others = await _begun(together, "b", "c", "b")
        shelf.open.set()
        return await asyncio.gather(*first, *others), shelf.reads

    assert asyncio.run(ask()) == ([1, 2, 3, 2], [["a"], ["b", "c"]])


def test_what_is_found_was_read_after_it_was_asked_for() -> None:
    async def ask() -> list[int | None]:
        shelf = Shelf()
        together = Together(shelf.read)
        first = await _begun(together, "a")
        shelf.content["a"] = 10
        second = await _begun(together, "a")
        shelf.open.set()
        return await asyncio.gather(*first, *second)

    assert asyncio.run(ask()) == [1, 10]


def test_what_is_not_there_is_none() -> None:
    async def ask() -> int | None:
        shelf = Shelf()
        shelf.open.set()
        return await Together(shelf.read).get("z")

    assert asyncio.run(ask()) is None


def test_what_a_read_raises_all_get_and_the_next_read_is_tried() -> None:
    async def ask() -> tuple[list[int | BaseException | None], int | None]:
        shelf = Shelf()
        together = Together(shelf.read)
        asked = await _begun(together, "a", "b")
        shelf.broken = True
        shelf.open.set()
        failed = await asyncio.gather(*asked, return_exceptions=True)
        shelf.broken = False
        return failed, await together.get("c")

    failed, then = asyncio.run(ask())
    assert [type(one) for one in failed] == [OSError, OSError]
    assert then == 3


def test_one_that_gives_up_leaves_it_to_the_others() -> None:
    async def ask() -> int | None:
        shelf = Shelf()
        together = Together(shelf.read)
        gone, stays = await _begun(together, "a", "a")
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        shelf.open.set()
        return await stays

    assert asyncio.run(ask()) == 1
