"""Receipts, from the request of a pull to its end. A unique index allows one live pull per connector.

A pull whose process dies is retried under the same receipt, as its next attempt. Each write of an attempt checks, in
its own transaction, that the receipt is still running that attempt; so if two processes both believe they own the pull,
only one can write.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import (
    NotFound,
    PullCancelled,
    PullError,
    PullInProgress,
    PullLost,
    PullSuperseded,
    StoreUnavailable,
)
from qanatix_pipelines.extents import NEW_ROWS, Extent
from qanatix_pipelines.naming import API, DAGSTER
from qanatix_pipelines.receipts import ATTEMPTS, LIVE, QUEUED_SECONDS, PullStatus, Receipt
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.engine import check_room
from qanatix_pipelines.store.history import unheard
from qanatix_pipelines.store.leases import lease
from qanatix_pipelines.store.tenants import OfTenant
from qanatix_pipelines.tenants import Tenant

_FIELDS = [tables.pull.c[field] for field in Receipt.model_fields]


class PullStore(OfTenant):
    """One tenant's receipts. Those of other tenants cannot be found."""

    def __init__(self, engine: sa.Engine, tenant: Tenant) -> None:
        super().__init__(tenant)
        self._engine = engine
        self._reader = engine.execution_options(reads=True)

    def queue(
        self, connector_id: UUID, extent: Extent = NEW_ROWS, *, trigger: str = API, repeats: bool = False
    ) -> tuple[Receipt, bool]:
        """A new receipt and True, or the receipt of the connector's live pull and False.

        With `repeats` also that of an equal pull that has just ended and whose answer did not arrive.
        A live pull whose lease has run out is first given up as lost. Raises NotFound, PullInProgress if the live pull
        is of an extent that does not answer this one, and StoreFull if SQLite's disk has no room.
        """
        check_room(self._engine)
        while True:
            try:
                return self._insert(connector_id, extent, trigger, repeats=repeats)
            except IntegrityError:
                live = self.live(connector_id)
                if live is not None:
                    if not live.extent.answers(extent):
                        raise PullInProgress(live.id, live.run_id) from None
                    return live, False

    def claim(self, pull_id: UUID, connector: Connector, run_id: str) -> Receipt:
        """Make a connector's queued pull that of the run `run_id`, and running.

        Raises PullCancelled if the pull was cancelled; PullSuperseded if it is no longer queued for another reason, or
        if the connector was changed or deleted since `connector` was read.
        """
        queued = (tables.pull.c.id == pull_id) & (tables.pull.c.connector_id == connector.id)
        with self._engine.begin() as transaction:
            kept = sa.select(tables.connector.c.generation).where(self._is_connector(connector.id))
            generation = transaction.execute(kept.with_for_update()).scalar_one_or_none()
            claimed = transaction.execute(
                tables.pull.update()
                .where(queued, tables.pull.c.status == PullStatus.QUEUED)
                .values(
                    status=PullStatus.RUNNING,
                    run_id=run_id,
                    lease_until=lease(),
                    started_at=sa.func.coalesce(tables.pull.c.started_at, sa.literal(now(), Instant)),
                )
            )
            if generation != connector.generation or claimed.rowcount == 0:
                raise _over(transaction, pull_id)
        return self.get(pull_id)

    def begin(self, connector: Connector, run_id: str, extent: Extent = NEW_ROWS, *, trigger: str = DAGSTER) -> Receipt:
        """Queue and claim a pull for a run that was started in Dagster. Raises as `queue` and `claim` do."""
        receipt, created = self.queue(connector.id, extent, trigger=trigger)
        if not created:
            raise PullInProgress(receipt.id, receipt.run_id)
        return self.claim(receipt.id, connector, run_id)

    def name_run(self, pull_id: UUID, run_id: str) -> bool:
        """Note which run was launched for a pull, unless it has one. False if the pull was cancelled meanwhile."""
        with self._engine.begin() as transaction:
            transaction.execute(
                tables.pull.update()
                .where(tables.pull.c.id == pull_id, tables.pull.c.run_id.is_(None))
                .values(run_id=run_id)
            )
            return _error_code(transaction, pull_id) != PullCancelled.code

    def renew(self, receipt: Receipt) -> None:
        """Send a heartbeat. Raises PullSuperseded if the attempt is over, unless it has completed the pull."""
        try:
            with self._engine.begin() as transaction:
                pass_fence(transaction, receipt, lease_until=lease())
        except PullSuperseded:
            if self.completed(receipt) is None:
                raise

    def completed(self, receipt: Receipt) -> Receipt | None:
        """The receipt as it is now, if this attempt has completed the pull; else None."""
        kept = self.get(receipt.id)
        return kept if (kept.attempt, kept.status) == (receipt.attempt, PullStatus.COMPLETED) else None

    def await_run(self, receipt: Receipt) -> None:
        """Extend the lease of a queued pull whose run is launched but has not begun."""
        with self._engine.begin() as transaction:
            transaction.execute(
                tables.pull.update()
                .where(_is(receipt), tables.pull.c.status == PullStatus.QUEUED)
                .values(lease_until=lease(QUEUED_SECONDS))
            )

    def lapsed(self) -> list[Receipt]:
        """The live pulls whose lease has run out: their process or host died, or their run never began."""
        query = sa.select(*_FIELDS).where(tables.pull.c.status.in_(LIVE), tables.pull.c.lease_until < now())
        return self._all(query)

    def of_run(self, run_id: str) -> Receipt | None:
        """The pull of this run; None if it has none, or if another run has taken the pull over."""
        return next(iter(self._all(sa.select(*_FIELDS).where(tables.pull.c.run_id == run_id))), None)

    def retry(self, receipt: Receipt) -> bool:
        """Give up a dead attempt. True if this call has queued the next one; after the last attempt the pull is lost.

        Does nothing if the receipt has changed: a heartbeat came, the pull ended, or another process did this already.
        """
        with self._engine.begin() as transaction:
            last = receipt.attempt >= ATTEMPTS
            unchanged = _is(receipt) & (tables.pull.c.lease_until == receipt.lease_until)
            if last:
                end_live(transaction, unchanged, PullLost())
                return False
            queued = transaction.execute(
                tables.pull.update()
                .where(unchanged, tables.pull.c.status.in_(LIVE))
                .values(
                    status=PullStatus.QUEUED,
                    attempt=receipt.attempt + 1,
                    run_id=None,
                    lease_until=lease(QUEUED_SECONDS),
                    records_read=0,
                    bytes_read=0,
                    merging_since=None,
                )
            )
        return bool(queued.rowcount)

    def end(self, receipt: Receipt, error: PullError | StoreUnavailable, duration_seconds: float = 0) -> None:
        """End an attempt that ingested nothing, with the reason. Does nothing if it is over already."""
        with self._engine.begin() as transaction:
            end_live(transaction, _is(receipt), error, duration_seconds)

    def note_failed(self, connector: Connector, run_id: str, at: datetime, error: PullError, trigger: str) -> None:
        """Write the receipt of a run that failed, at the time `at`, before it had one."""
        with self._engine.begin() as transaction:
            transaction.execute(
                tables.pull.insert().values(
                    id=uuid4(),
                    tenant=self.tenant,
                    connector_id=connector.id,
                    run_id=run_id,
                    trigger=trigger,
                    status=PullStatus.FAILED,
                    lease_until=at,
                    error_code=error.code,
                    error_detail=str(error),
                    created_at=at,
                    finished_at=at,
                )
            )

    def cancel(self, pull_id: UUID) -> Receipt:
        """Cancel a pull if it is live, in whichever attempt. Returns the receipt afterwards. Raises NotFound."""
        kept = self.get(pull_id)
        seconds = 0.0 if kept.started_at is None else max(0.0, (now() - kept.started_at).total_seconds())
        with self._engine.begin() as transaction:
            end_live(transaction, tables.pull.c.id == kept.id, PullCancelled(), seconds)
        return self.get(pull_id)

    def get(self, pull_id: UUID) -> Receipt:
        """Raises NotFound."""
        found = self._all(sa.select(*_FIELDS).where(tables.pull.c.id == pull_id))
        if not found:
            raise NotFound("pull")
        return found[0]

    def several(self, pull_ids: Collection[UUID]) -> dict[UUID, Receipt]:
        """The receipts of those pulls that there are, by id."""
        return {one.id: one for one in self._all(sa.select(*_FIELDS).where(tables.pull.c.id.in_(pull_ids)))}

    def live(self, connector_id: UUID) -> Receipt | None:
        """The pull that is queued or running, if any."""
        query = sa.select(*_FIELDS).where(tables.pull.c.connector_id == connector_id, tables.pull.c.status.in_(LIVE))
        return next(iter(self._all(query)), None)

    def _all(self, query: sa.Select[Any]) -> list[Receipt]:
        ours = query.where(tables.pull.c.tenant == self.tenant)
        with self._reader.connect() as connection:
            return [Receipt.model_validate(dict(row)) for row in connection.execute(ours).mappings()]

    def _is_connector(self, connector_id: UUID) -> sa.ColumnElement[bool]:
        return (tables.connector.c.id == connector_id) & (tables.connector.c.tenant == self.tenant)

    def _insert(self, connector_id: UUID, extent: Extent, trigger: str, *, repeats: bool) -> tuple[Receipt, bool]:
        pull_id = uuid4()
        with self._engine.begin() as transaction:
            known = sa.select(tables.connector.c.id).where(self._is_connector(connector_id))
            # Locked, so that the connector is not deleted in between, and no pull of it completes.
            if transaction.execute(known.with_for_update(read=True)).first() is None:
                raise NotFound("connector")
            answered = transaction.execute(unheard(connector_id, extent)).scalar() if repeats else None
            if answered is not None:
                return self.get(answered), False
            expired = (tables.pull.c.connector_id == connector_id) & (tables.pull.c.lease_until < now())
            end_live(transaction, expired, PullLost())
            transaction.execute(
                tables.pull.insert().values(
                    id=pull_id,
                    tenant=self.tenant,
                    connector_id=connector_id,
                    status=PullStatus.QUEUED,
                    trigger=trigger,
                    lease_until=lease(QUEUED_SECONDS),
                    created_at=now(),
                    **extent.columns(),
                )
            )
        return self.get(pull_id), True


def pass_fence(transaction: sa.Connection, receipt: Receipt, **values: object) -> None:
    """Set `values` on the receipt if this attempt is still running. Every write of an attempt does this.

    Raises PullCancelled if the pull was cancelled, and PullSuperseded if the attempt is over for another reason.
    """
    running = tables.pull.update().where(_is(receipt), tables.pull.c.status == PullStatus.RUNNING)
    if transaction.execute(running.values(**values)).rowcount == 0:
        raise _over(transaction, receipt.id)


def end_live(
    transaction: sa.Connection,
    condition: sa.ColumnElement[bool],
    error: PullError | StoreUnavailable,
    duration_seconds: float = 0,
) -> None:
    """End the live pulls that meet `condition`."""
    live = sa.select(tables.pull.c.id).where(condition, tables.pull.c.status.in_(LIVE))
    ids = list(transaction.execute(live.with_for_update()).scalars())
    transaction.execute(
        tables.pull.update()
        .where(tables.pull.c.id.in_(ids))
        .values(
            status=PullStatus.CANCELLED if isinstance(error, PullCancelled | PullSuperseded) else PullStatus.FAILED,
            finished_at=now(),
            duration_seconds=duration_seconds,
            error_code=error.code,
            error_detail=str(error),
        )
    )


def _over(transaction: sa.Connection, pull_id: UUID) -> PullError:
    """Why an attempt may no longer write."""
    return PullCancelled() if _error_code(transaction, pull_id) == PullCancelled.code else PullSuperseded()


def _error_code(transaction: sa.Connection, pull_id: UUID) -> str | None:
    kept = sa.select(tables.pull.c.error_code).where(tables.pull.c.id == pull_id)
    code: str | None = transaction.execute(kept).scalar_one_or_none()
    return code


def _is(receipt: Receipt) -> sa.ColumnElement[bool]:
    return (tables.pull.c.id == receipt.id) & (tables.pull.c.attempt == receipt.attempt)
