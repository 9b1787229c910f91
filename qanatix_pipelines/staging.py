"""A source's batches on their way to the store, while the source already sends the next one.

Each takes two steps: its rows become entities, and these are staged. A batch may be in each of them, in the order of
the source: what a core computes and what the store computes go on side by side.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from qanatix_pipelines.batches import Batch
from qanatix_pipelines.entities import EntityBatch, EntityMaker

# A batch over this is staged before the next one is read: memory is bounded, and so large a batch has no time to win.
OVERLAPPED_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Progress:
    """How much of a source was read and staged so far, and in how many seconds. Bytes are those of rows in memory."""

    records: int
    bytes: int
    seconds: float


class Staging:
    """A context in which batches are taken; at its end all of them are staged, or an exception has come of one.

    `stage` is what keeps a batch's entities, by the number of its rows and their bytes: it is called in a thread.
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
        """Begin with the next batch, once the one before has left the first step."""
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
        self._on_batch(Progress(self._rows, self._bytes, time.monotonic() - self._started))

    async def _all_done(self) -> None:
        await _done(self._making)
        await _done(self._keeping)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self._all_done()
        elif self._making is not None:  # threads have no other end
            await asyncio.wait({self._making})
            if self._keeping is not None:
                await asyncio.wait({self._keeping})


async def _done(task: asyncio.Task[None] | None) -> None:
    """Wait for it without ending it where the waiting is cancelled. Raises what it raised."""
    if task is not None:
        await asyncio.wait({task})
        task.result()
