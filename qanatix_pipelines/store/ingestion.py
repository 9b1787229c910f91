"""The write side of a pull: batches are staged, and one final transaction turns all of them into entities, or none.

Everything that a pull changes for good (entities, watermark, counters, outcome) commits together, and only if this
attempt is still the running one. So a reader never sees half a pull. A pull whose process dies leaves staged rows at
most, which are swept.
"""

import logging
import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from qanatix_pipelines.batches import Column
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.errors import PullCancelled, StoreFull, StoreUnavailable
from qanatix_pipelines.receipts import PullStatus, Receipt
from qanatix_pipelines.row_keys import UNKNOWN, Roles
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.engine import interrupt
from qanatix_pipelines.store.entity_sets import note_change, number_of
from qanatix_pipelines.store.filling import fill
from qanatix_pipelines.store.health import note_health
from qanatix_pipelines.store.leases import lease, lengthen
from qanatix_pipelines.store.leaves import Made, attach
from qanatix_pipelines.store.pulls import PullStore, pass_fence
from qanatix_pipelines.store.rejections import keep_rejections
from qanatix_pipelines.store.shelves import Shelf, shelf_of
from qanatix_pipelines.store.tally import Tally
from qanatix_pipelines.store.unchanged import Unchanged
from qanatix_pipelines.watermarks import Watermark

log = logging.getLogger(__name__)

# How long a write is retried while the store does not answer. A restart of the server takes less.
AWAY_SECONDS = 60
_LONGEST_PAUSE_SECONDS = 5.0

_Done = TypeVar("_Done")


class Ingestion:
    """The ingestion of one running attempt, that of `receipt`.

    Every method raises PullSuperseded once the attempt is over, StoreFull, and StoreUnavailable if the store does not
    answer for AWAY_SECONDS.
    """

    def __init__(self, engine: sa.Engine, connector: Connector, receipt: Receipt) -> None:
        self._engine = engine
        self._connector = connector
        self._receipt = receipt
        self._receipts = PullStore(engine, connector.tenant)
        self._cancelled = False
        self._committing: Any = None  # the driver's connection, while it commits
        self._shelf: Shelf | None = None
        self._set_number: int | None = None  # not known before the first batch
        self._clear()

    def renew(self) -> None:
        """Send a heartbeat: renew the pull's lease, also while its source is slow."""
        self.patiently(lambda _again: self._receipts.renew(self._receipt))

    def restart(self) -> None:
        """Forget what was staged: the source is read again from the beginning."""

        def forget(_again: bool) -> None:
            with self._engine.begin() as transaction:
                pass_fence(
                    transaction, self._receipt, merging_since=None, lease_until=lease(), records_read=0, bytes_read=0
                )

        self.patiently(forget)
        self.close()
        self._clear()

    def stage(self, batch: EntityBatch, rows: int, size: int = 0) -> None:
        """Stage a batch, which was made of `rows` rows of `size` bytes, and count them on the receipt."""
        frame = self.patiently(lambda _again: self._unchanged.left_out(batch.frame))
        read = {"records_read": self._tally.pulled + rows, "bytes_read": self._tally.bytes + size}
        shelf = self._opened_shelf()
        before = shelf.rows

        def tell(transaction: sa.Connection) -> None:
            pass_fence(transaction, self._receipt, lease_until=lease(), **read)

        self.patiently(lambda again: shelf.keep(frame, tell, again=again))
        self._tally.add(batch, shelf.rows - before, rows, size)

    def begin_merge(self) -> None:
        """Note on the receipt that the source is read to the end. `commit` comes next, and may take long."""

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
        *,
        clock: datetime | None = None,
    ) -> Receipt:
        """Turn the staged rows into entities and return the final receipt.

        A row is ingested if its entity is new or its digest differs from the stored one; else it is a duplicate. Of
        rows with the same id the last one counts. `watermark` is where the next pull starts, and stays if it is None or
        if the pull is of a part. It was read at `read_at`, by our own clock, when the source's showed `clock`.
        `started` is when the pull started, by `time.monotonic`. `columns` are the query's, empty if they vary with the
        rows; `roles` are the key's and the name's columns.

        Raises StagingLost if staged rows are missing, and PullCancelled after `cancel`.
        """
        shelf = self._opened_shelf()

        def finish(again: bool) -> Receipt:
            if again and (completed := self._receipts.completed(self._receipt)) is not None:
                return completed  # only its answer was lost
            try:
                with shelf.transaction() as transaction:
                    self._committing = transaction.connection.dbapi_connection
                    self._check_cancelled()
                    self._finish(
                        transaction, shelf, watermark, read_at, started, columns=columns, roles=roles, clock=clock
                    )
                    self._check_cancelled()  # a cancel between two statements had nothing to interrupt
            finally:
                self._committing = None
            shelf.forget()
            return self._receipts.get(self._receipt.id)

        return self.patiently(finish)

    def close(self) -> None:
        """Leave nothing behind of what was staged. If the store is away, it is swept later."""
        if self._shelf is not None:
            try:
                self._shelf.drop()
            except StoreUnavailable as error:
                log.warning("What was staged is left to be swept: %s", error)
            self._shelf.forget()

    def cancel(self) -> None:
        """Interrupt the `commit` of another thread: it raises PullCancelled there, unless it has committed already."""
        self._cancelled = True
        if (connection := self._committing) is not None:
            interrupt(self._engine, connection)

    def _finish(
        self,
        transaction: sa.Connection,
        shelf: Shelf,
        watermark: Watermark | None,
        read_at: datetime,
        started: float,
        *,
        columns: tuple[Column, ...],
        roles: Roles,
        clock: datetime | None,
    ) -> None:
        held_since = merged_at = now()
        watermark = None if self._receipt.extent.partial else watermark
        tally = self._tally
        made = Made(shelf.set_number, self._connector.id, self._receipt.id, merged_at, merged_at)
        filled = fill(transaction, shelf, made)
        warned = tally.warnings(roles, filled.repeated)
        # The connector is locked only after the merge, which may take long: a deletion or change of the connector, or
        # a heartbeat, must not wait for it. Deletion and change lock the connector's row first, too: no deadlock.
        here = tables.connector.c.id == self._connector.id
        kept = transaction.execute(sa.select(tables.connector.c.watermark).where(here).with_for_update()).scalar()
        pass_fence(
            transaction,
            self._receipt,
            status=PullStatus.COMPLETED,
            finished_at=now(),
            duration_seconds=time.monotonic() - started,
            records_pulled=tally.pulled,
            records_ingested=filled.ingested,
            duplicates_skipped=tally.duplicates + shelf.rows - filled.ingested,
            keys_repeated=filled.repeated.rows,
            records_rejected=tally.rejected.total(),
            rejected_by_reason=dict(tally.rejected),
            warnings=[warning.model_dump() for warning in warned],
            key_column=roles.key,
            name_column=roles.name,
            watermark=watermark,
        )
        if watermark is not None:
            if isinstance(kept, int) and isinstance(watermark, int) and not self._receipt.full_refresh:
                watermark = max(kept, watermark)  # the rows with the greatest numbers may have been deleted
            moved = {"watermark": watermark, "watermark_at": read_at, "source_clock": clock}
            transaction.execute(tables.connector.update().where(here).values(moved))
        keep_rejections(transaction, self._connector.tenant, self._receipt, tally.rejections)
        note_health(
            transaction,
            self._connector,
            self._receipt,
            tally.pulled,
            columns=columns,
            roles=roles,
            rejected=bool(tally.rejected),
            warned=bool(warned),
        )
        if filled.ingested:
            # Last, because it locks the set: a pull into the same set waits until this one commits.
            note_change(transaction, filled.leaf, made)
        if filled.attach:
            attach(transaction, shelf.set_number)  # and this locks the attaches of all sets
        if transaction.dialect.name == "sqlite":
            lengthen(transaction, held_since)

    def patiently(self, write: Callable[[bool], _Done]) -> _Done:
        """Call `write`, and retry it while the store does not answer. Its argument tells whether it is a retry."""
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
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # jitter: not all pulls return at once
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _check_cancelled(self) -> None:
        if self._cancelled:
            raise PullCancelled

    def _clear(self) -> None:
        self._tally = Tally()
        self._unchanged = Unchanged(self._engine, self._connector)
        self._shelf = None

    def _opened_shelf(self) -> Shelf:
        if self._shelf is None:
            self._set_number = self._set_number or self.patiently(
                lambda _again: number_of(self._engine, self._connector)
            )
            self._shelf = shelf_of(self._engine, self._receipt, self._set_number)
        return self._shelf
