"""One pull's way into the store: batches are staged, and one final transaction makes them entities or nothing.

Everything that a pull changes for good (entities, watermark, counters, outcome) commits together, and only while the
attempt still is the pull's running one. So a reader never sees half a pull, and one that died leaves only staged rows,
which are swept away when the pull is begun again or given up.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from typing import Any, TypeVar

import polars as pl
import sqlalchemy as sa

from qanatix_pipelines.batches import Column, parts
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.errors import PullCancelled, PullSuperseded, StagingLost, StoreFull, StoreUnavailable
from qanatix_pipelines.pulls import Pull, PullStatus
from qanatix_pipelines.rejections import Reason, Rejection
from qanatix_pipelines.row_keys import UNKNOWN, Repeated, Roles, warnings
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.engine import asked_directly
from qanatix_pipelines.store.entity_sets import count_created
from qanatix_pipelines.store.health import note_health
from qanatix_pipelines.store.leases import lease, lengthen
from qanatix_pipelines.store.merge import merge
from qanatix_pipelines.store.pulls import PullStore, pass_fence
from qanatix_pipelines.store.rejections import ROWS_KEPT, keep_rejections
from qanatix_pipelines.store.repeated import repeated
from qanatix_pipelines.store.unchanged import Unchanged
from qanatix_pipelines.watermarks import Watermark

log = logging.getLogger(__name__)

# What stands for itself in no line of COPY's text.
_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
_SPECIAL = r"[\\\n\r\t]"
# How long a write waits for a store that is away: a restart takes less.
AWAY_SECONDS = 60
_LONGEST_PAUSE_SECONDS = 5.0

_Done = TypeVar("_Done")


class Ingestion:
    """The staging of one running attempt, `receipt`.

    Every method raises PullSuperseded once the attempt is over, StoreFull, and StoreUnavailable if the store stays
    away.
    """

    def __init__(self, engine: sa.Engine, connector: Connector, receipt: Pull) -> None:
        self._engine = engine
        self._connector = connector
        self._receipt = receipt
        staged = tables.staged.c
        self._own = (staged.pull_id == receipt.id) & (staged.attempt == receipt.attempt)
        self._receipts = PullStore(engine, connector.tenant)
        self._cancelled = False
        self._committing: Any = None  # the driver's connection, meanwhile
        self._clear()

    def renew(self) -> None:
        """Tell that the pull is alive, also while its source takes its time."""
        self.patiently(lambda _again: self._receipts.renew(self._receipt))

    def restart(self) -> None:
        """Forget what was staged: the source is read again from the beginning."""

        def forget(_again: bool) -> None:
            with self._engine.begin() as transaction:
                pass_fence(
                    transaction, self._receipt, merging_since=None, lease_until=lease(), records_read=0, bytes_read=0
                )
                transaction.execute(tables.staged.delete().where(self._own))

        self.patiently(forget)
        self._clear()

    def stage(self, batch: EntityBatch, rows: int, size: int = 0) -> None:
        """Keep a batch that came out of `rows` rows of `size` bytes, until `commit`; tell of them on the receipt."""
        frame = self.patiently(lambda _again: self._unchanged.left_out(batch.frame))
        read = {"records_read": self._pulled + rows, "bytes_read": self._bytes + size}

        def keep(again: bool) -> None:
            with self._engine.begin() as transaction:
                if again:  # the first try may have been kept, its answer lost
                    transaction.execute(tables.staged.delete().where(self._own, tables.staged.c.seq >= self._staged))
                _insert_staged(transaction, self._numbered(frame))
                # Last: PostgreSQL waits in a COPY for a process that was stopped, and nobody may have to wait for it.
                pass_fence(transaction, self._receipt, lease_until=lease(), **read)

        self.patiently(keep)
        self._pulled += rows
        self._bytes += size
        self._staged += frame.height
        self._duplicates += batch.duplicates + batch.frame.height - frame.height
        self._keyless += batch.keyless
        self._rejected.update(rejection.reason for rejection in batch.rejections)
        self._rejections += batch.rejections[: ROWS_KEPT - len(self._rejections)]

    def begin_merge(self) -> None:
        """Tell on the receipt that all is read: `commit` comes next, and may take long."""

        def tell(_again: bool) -> None:
            with self._engine.begin() as transaction:
                pass_fence(transaction, self._receipt, merging_since=now(), lease_until=lease())

        self.patiently(tell)

    def commit(
        self,
        watermark: Watermark | None,
        read_at: datetime,
        started: float,
        columns: tuple[Column, ...] = (),
        roles: Roles = UNKNOWN,
    ) -> Pull:
        """Make the staged rows entities, and answer the receipt.

        A row is ingested if its entity is new or its digest differs from the kept one, else it is a duplicate. Of rows
        with the same id the last one counts. `watermark` is where the next pull starts, read off the source at
        `read_at` by our own clock; None leaves it where it is. `started` is when the pull did, by `time.monotonic`.
        `columns` are the query's, where they do not vary with its rows; `roles` are the key's and the name's.

        Raises StagingLost if not all that was staged is there any more.
        """

        def finish(_again: bool) -> Pull:
            try:
                with self._engine.begin() as transaction:
                    self._committing = transaction.connection.driver_connection
                    self._check_cancelled()
                    self._finish(transaction, watermark, read_at, started, columns=columns, roles=roles)
                    self._check_cancelled()  # between two statements there was nothing to stop
            except PullSuperseded:  # or the first try was committed, its answer lost, perhaps while this one waited
                if (completed := self._receipts.completed(self._receipt)) is not None:
                    return completed
                raise
            return self._receipts.get(self._receipt.id)

        try:
            return self.patiently(finish)
        finally:
            self._committing = None

    def cancel(self) -> None:
        """End a `commit` that another thread is in, unless it is past its end: PullCancelled is raised there."""
        self._cancelled = True
        if (connection := self._committing) is not None:
            if self._engine.dialect.name == "sqlite":
                connection.interrupt()
            else:
                connection.cancel_safe()

    def _finish(
        self,
        transaction: sa.Connection,
        watermark: Watermark | None,
        read_at: datetime,
        started: float,
        *,
        columns: tuple[Column, ...],
        roles: Roles,
    ) -> None:
        held_since = now()
        merged_at = now()
        ingested = merge(transaction, self._connector, self._receipt, merged_at)
        # Where each staged row was ingested, no two of them had one key: nothing need be counted.
        lost = repeated(transaction, self._receipt) if ingested < self._staged else Repeated()
        staged = transaction.execute(tables.staged.delete().where(self._own)).rowcount
        if self._pulled != staged + self._duplicates + self._rejected.total():
            pass_fence(transaction, self._receipt, lease_until=lease())  # who took over has swept, too
            raise StagingLost
        warned = list(warnings(roles, self._pulled - self._rejected.total(), self._keyless, lost))
        # Only now: the merge may take long, and whoever removes or changes the connector, or tells that the pull is
        # alive, must not wait for it. They lock the connector's row first as well.
        here = tables.connector.c.id == self._connector.id
        kept = transaction.execute(sa.select(tables.connector.c.watermark).where(here).with_for_update()).scalar()
        pass_fence(
            transaction,
            self._receipt,
            status=PullStatus.COMPLETED,
            finished_at=now(),
            duration_seconds=time.monotonic() - started,
            records_pulled=self._pulled,
            records_ingested=ingested,
            duplicates_skipped=self._duplicates + staged - ingested,
            keys_repeated=lost.rows,
            records_rejected=self._rejected.total(),
            rejected_by_reason=dict(self._rejected),
            warnings=[warning.model_dump() for warning in warned],
            key_column=roles.key,
            name_column=roles.name,
            watermark=watermark,
        )
        if watermark is not None:
            if isinstance(kept, int) and isinstance(watermark, int) and not self._receipt.full_refresh:
                watermark = max(kept, watermark)  # the rows with the greatest numbers may be gone
            transaction.execute(tables.connector.update().where(here).values(watermark=watermark, watermark_at=read_at))
        keep_rejections(transaction, self._connector.tenant, self._receipt, self._rejections)
        note_health(
            transaction,
            self._receipt,
            self._pulled,
            columns,
            roles,
            rejected=bool(self._rejected),
            warned=bool(warned),
            everything=watermark is None,
        )
        if ingested:
            # Last, for a connector that fills the same set waits for it.
            count_created(transaction, self._connector, self._receipt.id, merged_at)
        if transaction.dialect.name == "sqlite":
            lengthen(transaction, held_since)

    def patiently(self, write: Callable[[bool], _Done]) -> _Done:
        """Do `write`, and again if the store was away meanwhile: then it is told so."""
        deadline = time.monotonic() + AWAY_SECONDS
        pause = 0.1
        again = False
        while True:
            self._check_cancelled()
            try:
                return write(again)
            except StoreFull:
                raise
            except StoreUnavailable:
                if self._cancelled:
                    raise PullCancelled from None
                if time.monotonic() > deadline:
                    raise
                log.warning("The store does not answer; trying again.")
            again = True
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # so that many do not come back at once
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _check_cancelled(self) -> None:
        if self._cancelled:
            raise PullCancelled

    def _numbered(self, entities: pl.DataFrame) -> pl.DataFrame:
        return entities.select(
            pl.lit(self._receipt.id.hex).alias("pull_id"),
            pl.lit(self._receipt.attempt).alias("attempt"),
            pl.int_range(self._staged, self._staged + pl.len()).alias("seq"),
            pl.col("id").alias("entity_id"),
            *("source_id", "digest", "name", "data", "alike"),
        )

    def _clear(self) -> None:
        self._pulled = 0
        self._bytes = 0
        self._staged = 0
        self._duplicates = 0
        self._keyless = 0
        self._rejected: Counter[Reason] = Counter()
        self._rejections: list[Rejection] = []
        self._unchanged = Unchanged(self._engine, self._connector)


def _insert_staged(transaction: sa.Connection, rows: pl.DataFrame) -> None:
    """`rows` has the columns of `staged`. PostgreSQL takes them several times faster by COPY than by INSERT."""
    if transaction.dialect.name == "postgresql":
        copy = f"COPY {tables.SCHEMA}.staged ({', '.join(rows.columns)}) FROM STDIN"
        with asked_directly(transaction), transaction.connection.cursor().copy(copy) as stream:
            for part in parts(rows):
                stream.write(_copy_text(part))
    elif rows.height:
        values = ", ".join("?" * rows.width)
        insert = f"INSERT INTO staged ({', '.join(rows.columns)}) VALUES ({values})"
        digest = pl.col("digest").str.decode("hex")
        transaction.exec_driver_sql(insert, rows.with_columns(digest).rows())


def _copy_text(rows: pl.DataFrame) -> bytes:
    """Rows as COPY reads them: PostgreSQL documentation, COPY, "Text Format"."""
    texts = rows.select(pl.selectors.string())
    # To look is many times faster than to replace, and most columns of most batches have nothing to escape.
    special = texts.select(pl.all().str.contains(_SPECIAL).any()).row(0, named=True)
    escaped = [pl.col(name).str.replace_many(_ESCAPES) for name, found in special.items() if found]
    digest = pl.format(r"\\x{}", "digest").alias("digest")
    written = BytesIO()
    rows.with_columns(*escaped, digest).write_csv(
        written, include_header=False, separator="\t", null_value=r"\N", quote_style="never"
    )
    return written.getvalue()
