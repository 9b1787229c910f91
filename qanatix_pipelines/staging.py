"""A pipeline of two steps between source and store: a batch's rows become entities, and the entities are staged.

Each step works on one batch at a time, in the source's order. So reading, making entities and staging run in parallel.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from qanatix_pipelines.batches import Batch
from qanatix_pipelines.entities import EntityBatch, EntityMaker

# A larger batch is staged before the next one is read. That bounds memory, and a parallel step would gain little.
OVERLAPPED_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Progress:
    """How much was read and staged so far, and in how many seconds. Bytes are those of the rows in memory."""

    records: int
    bytes: int
    seconds: float


class Staging:
    """An async context that takes batches. When it exits without an exception, all of them are staged.

    `stage` stores a batch's entities, given the number of its rows and their bytes; then `on_batch` is told. Both are
    called in a thread. A log handler that `on_batch` reaches may open a connection, and one that is opened from the
    pull's loop is taken for the pull's own.
    """

    def __init__(
        self,
        maker: EntityMaker,
        stage: Callable[[EntityBatch, int, int], None],
        on_batch: Callable[[Progress], None],
    ) -> None:
        self._maker, self._stage, self._on_batch = maker, stage, on_batch
        self._started = time.monotonic()
        self._rows = self._bytes = 0
        self._making: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def take(self, batch: Batch) -> None:
        """Start with the next batch once the previous one has left the first step. Raises what a step raised."""
        await _done(self._making)
        size = round(batch.frame.estimated_size())
        self._making = asyncio.create_task(self._make(batch, size))
        del batch
        if size > OVERLAPPED_BYTES:
            await self._all_done()

    async def _make(self, batch: Batch, size: int) -> None:
        entities, rows = await asyncio.to_thread(self._maker.make, batch), batch.frame.height
        del batch
        await _done(self._keeping)
        self._keeping = asyncio.create_task(self._keep(entities, rows, size))

    async def _keep(self, entities: EntityBatch, rows: int, size: int) -> None:
        await asyncio.to_thread(self._stage, entities, rows, size)
        self._rows += rows
        self._bytes += size
        progress = Progress(self._rows, self._bytes, time.monotonic() - self._started)
        await asyncio.to_thread(self._on_batch, progress)

    async def _all_done(self) -> None:
        await _done(self._making)
        await _done(self._keeping)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self._all_done()
        elif self._making is not None:  # threads cannot be stopped, so wait for them
            await asyncio.wait({self._making})
            if self._keeping is not None:
                await asyncio.wait({self._keeping})


async def _done(task: asyncio.Task[None] | None) -> None:
    """Wait for the task, and raise what it raised. Cancelling the wait does not cancel the task."""
    if task is not None:
        await asyncio.wait({task})
        task.result()
