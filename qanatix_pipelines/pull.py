"""The use case: read a connector's source, stage its batches as entities, and commit them as one."""

import asyncio
import gc
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from qanatix_pipelines.batches import Column, Named
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.cursors import Cursor
from qanatix_pipelines.egress import DEVELOPMENT, Egress, GuardedLoop, refused
from qanatix_pipelines.entities import EntityBatch, maker_of
from qanatix_pipelines.errors import (
    AddressRefused,
    MergeTimeout,
    PullBroken,
    PullCancelled,
    PullError,
    SourceError,
    StoreUnavailable,
)
from qanatix_pipelines.limits import USUAL, Deadline, Limits
from qanatix_pipelines.pulls import LEASE_SECONDS, Pull
from qanatix_pipelines.row_keys import UNKNOWN, Roles
from qanatix_pipelines.sources import Source
from qanatix_pipelines.staging import Progress, Staging
from qanatix_pipelines.store import ingestion as store_ingestion
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.watermarks import Watermark, Window

log = logging.getLogger(__name__)

# Python looks for what refers to itself after 700 new objects, and a row is a dozen that live for a batch. If it looks
# after so many, MongoDB's rows take a fifth less time, and no more memory. It stays so: the process is the pull's.
_OBJECTS = 50_000


class Ingestion(Protocol):
    """Where a pull's batches go: `store.ingestion.Ingestion`, or a test's."""

    def renew(self) -> None: ...
    def restart(self) -> None: ...
    def begin_merge(self) -> None: ...
    def stage(self, batch: EntityBatch, rows: int, size: int = 0) -> None: ...
    def commit(
        self,
        watermark: Watermark | None,
        read_at: datetime,
        started: float,
        columns: tuple[Column, ...] = (),
        roles: Roles = UNKNOWN,
    ) -> Pull: ...
    def cancel(self) -> None: ...


@dataclass(frozen=True)
class PullOutcome:
    """A completed pull's receipt, and the columns that its query returned."""

    receipt: Pull
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class _Read:
    """A source that was read to its end, and staged."""

    columns: tuple[Column, ...]
    declared: tuple[Column, ...]  # those that do not vary with the rows
    roles: Roles
    watermark: Watermark | None
    at: datetime


async def pull(
    connector: Connector,
    source: Source,
    ingestion: Ingestion,
    *,
    full_refresh: bool = False,
    limits: Limits = USUAL,
    on_batch: Callable[[Progress], None] = lambda _progress: None,
    on_merge: Callable[[float], None] = lambda _seconds: None,
) -> PullOutcome:
    """Pull `connector` once. `on_batch` hears how far it is; that begins anew where the source is read again.
    `on_merge` hears every ten seconds for how long the merge has gone on.

    With `full_refresh` everything is read, as on a first pull. Raises PullError and StoreUnavailable; nothing of the
    pull is in the store then, nor if this is cancelled.
    """
    started = time.monotonic()
    deadline = Deadline(limits)
    async with _sign_of_life(ingestion):
        for pause in (*limits.pauses, None):
            try:
                read = await _read(connector, source, ingestion, deadline, on_batch, full_refresh=full_refresh)
                # The source's connection is closed by now: the merge needs nothing of it.
                return PullOutcome(await _commit(ingestion, read, started, limits, on_merge), read.columns)
            except PullError as error:
                if isinstance(error, SourceError) and refused():
                    raise AddressRefused from None
                if not error.transient or pause is None:
                    raise
                log.warning("%s Trying again.", error)
            await asyncio.to_thread(ingestion.restart)
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # so that many do not come back at once
    raise AssertionError("the last try returns or raises")


def run_pull(
    store: Store,
    connector: Connector,
    receipt: Pull,
    open_source: Callable[[Mapping[str, Any]], Source],
    *,
    limits: Limits = USUAL,
    egress: Egress = DEVELOPMENT,
    on_batch: Callable[[Progress], None] = lambda _progress: None,
    on_merge: Callable[[float], None] = lambda _seconds: None,
) -> PullOutcome:
    """Pull into the store under a claimed receipt, and see that it tells the outcome, whatever that is.

    The credentials are decrypted here and nowhere else. Raises PullError and StoreUnavailable; anything else is a fault
    of ours.
    """
    started = time.monotonic()
    ingestion = store_ingestion.Ingestion(store.engine, connector, receipt)

    def end(error: PullError | StoreUnavailable) -> None:
        try:
            store.pulls.end(receipt, error, time.monotonic() - started)
        except StoreUnavailable:  # the lease will run out, and tell it
            log.warning("The store does not take the pull's outcome: %s", error)

    try:
        config = ingestion.patiently(lambda _again: store.connectors.connection_config(connector))
        source = open_source(config)
        full_refresh = receipt.full_refresh
        pulling = pull(
            connector,
            source,
            ingestion,
            full_refresh=full_refresh,
            limits=limits,
            on_batch=on_batch,
            on_merge=on_merge,
        )
        gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
        with asyncio.Runner(loop_factory=lambda: GuardedLoop(egress)) as runner:
            return runner.run(pulling)
    except (PullError, StoreUnavailable) as error:
        end(error)
        raise
    except Exception as error:
        end(PullBroken(type(error).__name__))
        raise
    except BaseException:  # an interrupt: Dagster's, or the keyboard's
        end(PullCancelled())
        raise


async def _read(
    connector: Connector,
    source: Source,
    ingestion: Ingestion,
    deadline: Deadline,
    on_batch: Callable[[Progress], None],
    *,
    full_refresh: bool,
) -> _Read:
    at = now()
    window = _window(connector, at, full_refresh=full_refresh)
    async with AsyncExitStack() as stack:
        source.named = Named(connector.id_column, connector.name_column or Named.name, connector.cursor_column)
        opening = source.read(connector.query, window=window, batch_size=connector.batch_size)
        reading = await deadline.answer(stack.enter_async_context(opening))
        maker = maker_of(connector, reading)
        cursor = Cursor(connector.cursor_column and reading.spelled(connector.cursor_column))
        columns = {column.name: column for column in reading.columns or ()}
        if reading.columns is not None:
            maker.check(reading.columns)
        async with Staging(maker, ingestion.stage, on_batch) as staging:
            batches = aiter(reading.batches)
            while (batch := await deadline.answer(anext(batches, None))) is not None:
                columns |= {column.name: column for column in batch.columns}
                cursor.see(batch)
                await staging.take(batch)
                del batch  # before the next one is read
    watermark = reading.watermark if connector.cursor_column is None else cursor.greatest
    return _Read(tuple(columns.values()), reading.columns or (), maker.roles, watermark, at)


def _window(connector: Connector, at: datetime, *, full_refresh: bool) -> Window:
    integer = connector.cursor_column is not None
    if full_refresh or connector.watermark is None:
        return Window(overlap=connector.effective_overlap, integer=integer)
    elapsed = max(at - (connector.watermark_at or at), timedelta(0))
    return Window(connector.watermark, connector.effective_overlap, elapsed, integer)


async def _commit(
    ingestion: Ingestion, read: _Read, started: float, limits: Limits, on_merge: Callable[[float], None]
) -> Pull:
    """Raises MergeTimeout; a merge that is past its end by then counts."""

    def merge() -> Pull:
        ingestion.begin_merge()
        return ingestion.commit(read.watermark, read.at, started, read.declared, read.roles)

    begun = time.monotonic()
    merging = asyncio.create_task(asyncio.to_thread(merge))
    try:
        while (left := begun + limits.merge_seconds - time.monotonic()) > 0:
            await asyncio.wait({merging}, timeout=min(left, LEASE_SECONDS / 3))
            if merging.done():
                return merging.result()
            on_merge(time.monotonic() - begun)
        await asyncio.to_thread(ingestion.cancel)
        return await merging
    except PullCancelled:
        if left > 0:
            raise
        raise MergeTimeout(limits.merge_seconds) from None
    except asyncio.CancelledError:
        await asyncio.to_thread(ingestion.cancel)  # its thread would go on
        raise


@asynccontextmanager
async def _sign_of_life(ingestion: Ingestion) -> AsyncIterator[None]:
    """Renew the pull's lease while the source takes its time, and cancel the reading if the pull was given up."""
    reader = cast(asyncio.Task[object], asyncio.current_task())
    lost: list[Exception] = []

    async def renew() -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                await asyncio.to_thread(ingestion.renew)
            except Exception as error:  # noqa: BLE001  # raised below, in the task that reads
                lost.append(error)
                reader.cancel()
                return

    renewal = asyncio.create_task(renew())
    try:
        yield
    except asyncio.CancelledError:
        if not lost:
            raise
        raise lost[0] from None
    finally:
        renewal.cancel()
        with suppress(asyncio.CancelledError):
            await renewal
