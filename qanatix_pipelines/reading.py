"""The way from a source to what takes its rows: the ingestion of a pull, or the trial of one."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from qanatix_pipelines.batches import Column, Named
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.cursors import Cursor
from qanatix_pipelines.egress import refused
from qanatix_pipelines.entities import EntityBatch, maker_of
from qanatix_pipelines.errors import AddressRefused, PullError, SourceError
from qanatix_pipelines.extents import Extent
from qanatix_pipelines.limits import Deadline, Limits
from qanatix_pipelines.row_keys import Roles
from qanatix_pipelines.sources.source import Source
from qanatix_pipelines.staging import Progress, Staging
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.watermarks import Watermark
from qanatix_pipelines.windows import window_of

log = logging.getLogger(__name__)

_Done = TypeVar("_Done")


@dataclass(frozen=True)
class Read:
    """What is known of a source once it is read to the end and staged."""

    columns: tuple[Column, ...]
    declared: tuple[Column, ...]  # as known before the first row; empty if they vary with the rows
    roles: Roles
    watermark: Watermark | None
    at: datetime
    clock: datetime | None  # the source's, at that time


async def tried_again(attempt: Callable[[], Awaitable[_Done]], restart: Callable[[], None], limits: Limits) -> _Done:
    """The result of `attempt`, which is made again after a fault that may pass, once for each of the limits' pauses.

    `restart` is called before each further try, in a thread: it forgets what was staged. Raises as `attempt` does, and
    AddressRefused for a source that the egress rules refuse.
    """
    for pause in (*limits.pauses, None):
        try:
            return await attempt()
        except PullError as error:
            if isinstance(error, SourceError) and refused():
                raise AddressRefused from None
            if not error.transient or pause is None:
                raise
            # As text: whoever keeps the record would keep all that the attempt had staged.
            await asyncio.to_thread(log.warning, "%s Trying again.", str(error))
        await asyncio.to_thread(restart)
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # jitter: not all pulls return at once
    raise AssertionError("the last try returns or raises")


async def read(
    connector: Connector,
    source: Source,
    stage: Callable[[EntityBatch, int, int], None],
    deadline: Deadline,
    on_batch: Callable[[Progress], None],
    *,
    extent: Extent,
) -> Read:
    """Read what a pull of this `extent` reads, and `stage` it."""
    at = now()
    clocks: list[datetime] = []
    window = replace(window_of(connector, at, extent), heard=clocks.append)
    async with AsyncExitStack() as stack:
        source.named = Named(connector.id_column, connector.name_column or Named.name, connector.cursor_column)
        opening = source.read(connector.query, window=window, batch_size=connector.batch_size)
        reading = await deadline.answer(stack.enter_async_context(opening))
        maker = maker_of(connector, reading)
        cursor = Cursor(connector.cursor_column and reading.spelled(connector.cursor_column))
        columns = {column.name: column for column in reading.columns or ()}
        if reading.columns is not None:
            maker.check(reading.columns)
        async with Staging(maker, stage, on_batch) as staging:
            batches = aiter(reading.batches)
            while (batch := await deadline.answer(anext(batches, None))) is not None:
                columns |= {column.name: column for column in batch.columns}
                cursor.see(batch)
                await staging.take(batch)
                del batch  # frees its memory before the next one is read
    watermark = reading.watermark if connector.cursor_column is None else cursor.greatest
    clock = clocks[0] if clocks else None
    return Read(tuple(columns.values()), reading.columns or (), maker.roles, watermark, at, clock)
