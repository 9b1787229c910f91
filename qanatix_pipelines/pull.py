"""The use case: read a connector's source, stage its batches as entities, and commit them as one."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from qanatix_pipelines.batches import Column
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.entities import EntityBatch, EntityMaker
from qanatix_pipelines.errors import PullBroken, PullCancelled, PullError
from qanatix_pipelines.pulls import LEASE_SECONDS, Pull
from qanatix_pipelines.sources import Source
from qanatix_pipelines.store import ingestion as store_ingestion
from qanatix_pipelines.store.opening import Store

# A transaction at the source may stamp a row and commit it later, after a pull has moved past the stamp. So each pull
# reads again what the last one saw of these minutes; what did not change is a duplicate and costs only its reading.
OVERLAP = timedelta(minutes=5)


class Ingestion(Protocol):
    """Where a pull's batches go: `store.ingestion.Ingestion`, or a test's."""

    def renew(self) -> None: ...
    def stage(self, batch: EntityBatch, rows: int) -> None: ...
    def commit(self, watermark: datetime | None, started: float) -> Pull: ...


@dataclass(frozen=True)
class PullOutcome:
    """A completed pull's receipt, and the columns that its query returned."""

    receipt: Pull
    columns: tuple[Column, ...]


async def pull(
    connector: Connector,
    source: Source,
    ingestion: Ingestion,
    *,
    on_batch: Callable[[int], None] = lambda _rows: None,
) -> PullOutcome:
    """Pull `connector` once. `on_batch` hears the number of rows so far.

    Raises PullError; nothing of the pull is in the store then, nor if this is cancelled.
    """
    started = time.monotonic()
    since = None if connector.watermark is None else connector.watermark - OVERLAP
    rows_so_far = 0
    async with (
        _sign_of_life(ingestion),
        source.read(connector.query, since=since, batch_size=connector.batch_size) as reading,
    ):
        maker = EntityMaker(connector, reading.id_column)
        columns = {column.name: column for column in reading.columns or ()}
        if reading.columns is not None:
            maker.check(reading.columns)
        async for batch in reading.batches:
            columns |= {column.name: column for column in batch.columns}
            await asyncio.to_thread(ingestion.stage, maker.make(batch), batch.frame.height)
            rows_so_far += batch.frame.height
            on_batch(rows_so_far)
    # The source's connection is closed by now: the merge needs nothing of it.
    receipt = await asyncio.to_thread(ingestion.commit, reading.watermark, started)
    return PullOutcome(receipt, tuple(columns.values()))


def run_pull(
    store: Store,
    connector: Connector,
    receipt: Pull,
    open_source: Callable[[Mapping[str, Any]], Source],
    on_batch: Callable[[int], None],
) -> PullOutcome:
    """Pull into the store under a claimed receipt, and see that it tells the outcome, whatever that is.

    The credentials are decrypted here and nowhere else. Raises PullError; anything else is a fault of ours.
    """
    started = time.monotonic()
    ingestion = store_ingestion.Ingestion(store.engine, connector, receipt.id)

    def end(error: PullError) -> None:
        store.pulls.end(receipt.id, error, time.monotonic() - started)

    try:
        source = open_source(store.connectors.connection_config(connector.id))
        return asyncio.run(pull(connector, source, ingestion, on_batch=on_batch))
    except PullError as error:
        end(error)
        raise
    except Exception as error:
        end(PullBroken(type(error).__name__))
        raise
    except BaseException:  # an interrupt: Dagster's, or the keyboard's
        end(PullCancelled())
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
