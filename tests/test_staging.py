"""Batches on their way to the store: in which order, how many at once, and what becomes of a failure."""

import asyncio
import threading
from collections.abc import Callable

import polars as pl
import pytest

from qanatix_pipelines import staging
from qanatix_pipelines.batches import Batch, Column
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.staging import Progress, Staging

COLUMNS = (Column("id", "int8", pl.Int64),)
WAIT = 30


class Steps:
    """Both steps: what was begun and done, in order. A step waits at its gate, if it has one."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self.fails: set[str] = set()
        self.progress: list[Progress] = []

    def make(self, batch: Batch) -> EntityBatch:
        self._do(f"make {batch.frame['id'][0]}")
        return EntityBatch(batch.frame, [], 0)

    def stage(self, entities: EntityBatch, _rows: int, _size: int) -> None:
        self._do(f"stage {entities.frame['id'][0]}")

    def _do(self, step: str) -> None:
        self.said.append(step)
        if step in self.gates:
            assert self.gates[step].wait(WAIT)
        if step in self.fails:
            raise ValueError(step)


def batch(number: int) -> Batch:
    return Batch(pl.DataFrame({"id": [number, number]}), COLUMNS)


async def taken(steps: Steps, *numbers: int) -> None:
    async with Staging(steps, steps.stage, steps.progress.append) as into:  # type: ignore[arg-type]
        for number in numbers:
            await into.take(batch(number))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110  # it is asked of what another thread does
            await asyncio.sleep(0.01)


def test_each_batch_is_made_and_staged_in_order() -> None:
    steps = Steps()

    asyncio.run(taken(steps, 1, 2, 3))

    assert [said for said in steps.said if said.startswith("make")] == ["make 1", "make 2", "make 3"]
    assert [said for said in steps.said if said.startswith("stage")] == ["stage 1", "stage 2", "stage 3"]


def test_how_far_it_is_counts_what_is_staged() -> None:
    steps = Steps()

    asyncio.run(taken(steps, 1, 2))

    assert [(progress.records, progress.bytes) for progress in steps.progress] == [(2, 16), (4, 32)]


def test_a_batch_is_made_while_the_one_before_is_staged_and_no_more() -> None:
    steps = Steps()
    steps.gates["stage 1"] = threading.Event()

    async def race() -> None:
        taking = asyncio.create_task(taken(steps, 1, 2, 3, 4))
        await until(lambda: "make 2" in steps.said and "stage 1" in steps.said)
        await asyncio.sleep(0.1)  # which is not enough for a third, if there is none
        said = list(steps.said)
        steps.gates["stage 1"].set()
        await taking
        assert sorted(said) == ["make 1", "make 2", "stage 1"]

    asyncio.run(race())


def test_a_large_batch_is_staged_before_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "OVERLAPPED_BYTES", 8)
    steps = Steps()

    asyncio.run(taken(steps, 1, 2))

    assert steps.said == ["make 1", "stage 1", "make 2", "stage 2"]


@pytest.mark.parametrize("step", ["make 2", "stage 2"])
def test_what_fails_is_raised_and_nothing_later_is_staged(step: str) -> None:
    steps = Steps()
    steps.fails.add(step)

    with pytest.raises(ValueError, match=step):
        asyncio.run(taken(steps, 1, 2, 3, 4))

    assert not {"stage 3", "stage 4"} & set(steps.said)


def test_a_thread_that_works_is_waited_for_where_the_reading_is_cancelled() -> None:
    steps = Steps()
    steps.gates["stage 1"] = threading.Event()

    async def race() -> None:
        taking = asyncio.create_task(taken(steps, 1, 2, 3))
        await until(lambda: "stage 1" in steps.said)
        taking.cancel()
        await asyncio.sleep(0.1)
        assert not taking.done()
        steps.gates["stage 1"].set()
        with pytest.raises(asyncio.CancelledError):
            await taking

    asyncio.run(race())
