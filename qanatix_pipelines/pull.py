"""The pull of a connector: read its source, stage the batches as entities, and commit them in one transaction."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, cast

from qanatix_pipelines.batches import Column
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.egress import DEVELOPMENT, Egress, run_guarded
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.errors import PullBroken, PullCancelled, PullError, StoreUnavailable
from qanatix_pipelines.extents import NEW_ROWS, Extent
from qanatix_pipelines.limits import USUAL, Deadline, Limits
from qanatix_pipelines.merging import merged
from qanatix_pipelines.reading import read, tried_again
from qanatix_pipelines.receipts import LEASE_SECONDS, Receipt
from qanatix_pipelines.row_keys import UNKNOWN, Roles
from qanatix_pipelines.sources.source import Source
from qanatix_pipelines.staging import Progress
from qanatix_pipelines.store import ingestion as store_ingestion
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.watermarks import Watermark

log = logging.getLogger(__name__)

# By default the cyclic garbage collector runs every 700 allocations. A row is about a dozen objects that live for one
# batch. At this threshold MongoDB's rows take a fifth less time, and no more memory.
_ALLOCATIONS = 50_000


class Ingestion(Protocol):
    """Where a pull's batches go: `store.ingestion.Ingestion`, or a test double."""

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
        *,
        clock: datetime | None = None,
    ) -> Receipt: ...
    def cancel(self) -> None: ...


@dataclass(frozen=True)
class PullOutcome:
    """A completed pull's receipt, and the columns that its query returned."""

    receipt: Receipt
    columns: tuple[Column, ...]


async def pull(
    connector: Connector,
    source: Source,
    ingestion: Ingestion,
    *,
    extent: Extent = NEW_ROWS,
    limits: Limits = USUAL,
    on_batch: Callable[[Progress], None] = lambda _progress: None,
    on_merge: Callable[[float], None] = lambda _seconds: None,
) -> PullOutcome:
    """Pull `connector` once. `on_batch` is called with the progress, which starts again from 0 if the source is read
    again. `on_merge` is called every ten seconds with the seconds that the merge has taken so far. Both are called in a
    thread, not in the loop.

    `extent` is how much of the source is read. Raises PullError and StoreUnavailable. Nothing of the pull is ingested
    then, nor if the task is cancelled.
    """
    started = time.monotonic()
    deadline = Deadline(limits)

    async def attempt() -> PullOutcome:
        found = await read(connector, source, ingestion.stage, deadline, on_batch, extent=extent)

        def merge() -> Receipt:
            ingestion.begin_merge()
            return ingestion.commit(found.watermark, found.at, started, found.declared, found.roles, clock=found.clock)

        # The source's connection is closed by now, so a long merge does not hold it open.
        return PullOutcome(await merged(merge, ingestion.cancel, limits, on_merge), found.columns)

    async with _heartbeat(ingestion):
        return await tried_again(attempt, ingestion.restart, limits)


def run_pull(
    store: Store,
    connector: Connector,
    receipt: Receipt,
    open_source: Callable[[Mapping[str, Any]], Source],
    *,
    limits: Limits = USUAL,
    egress: Egress = DEVELOPMENT,
    on_batch: Callable[[Progress], None] = lambda _progress: None,
    on_merge: Callable[[float], None] = lambda _seconds: None,
) -> PullOutcome:
    """Pull into the store under a claimed receipt, and write the outcome on it, whatever it is.

    A pull's credentials are decrypted here and nowhere else. Raises PullError and StoreUnavailable; any other exception
    is a fault of ours.
    """
    started = time.monotonic()
    ingestion = store_ingestion.Ingestion(store.engine, connector, receipt)

    def end(error: PullError | StoreUnavailable) -> None:
        try:
            store.pulls.end(receipt, error, time.monotonic() - started)
        except StoreUnavailable:  # the lease runs out, and the pull is found lapsed
            log.warning("The store does not take the pull's outcome: %s", error)

    try:
        config = ingestion.patiently(lambda _again: store.connectors.connection_config(connector))
        source = open_source(config)
        pulling = pull(
            connector,
            source,
            ingestion,
            extent=receipt.extent,
            limits=limits,
            on_batch=on_batch,
            on_merge=on_merge,
        )
        return run_guarded(pulling, egress)
    except (PullError, StoreUnavailable) as error:
        end(error)
        raise
    except Exception as error:
        end(PullBroken(type(error).__name__))
        raise
    except BaseException:  # an interrupt, by Dagster or the keyboard
        end(PullCancelled())
        raise
    finally:
        ingestion.close()


def tune_garbage_collector() -> None:
    """Have the garbage collector run less often, for the rest of the process.

    For programs of ours whose process does nothing but pull. In another project's process the threshold is not ours.
    """
    gc.set_threshold(_ALLOCATIONS, *gc.get_threshold()[1:])


@asynccontextmanager
async def _heartbeat(ingestion: Ingestion) -> AsyncIterator[None]:
    """Renew the pull's lease in the background. If that fails, cancel the reading and raise the failure."""
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
