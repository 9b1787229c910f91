"""Receipts, from the moment a pull is asked for until it has ended: one live pull a connector, by a unique index.

A pull whose process dies is begun again under the same receipt, as its next attempt. Each write of an attempt checks,
in its own transaction, that the receipt still is that attempt's and running; so of two that take themselves for the
living one, one can write.
"""

from collections.abc import Sequence
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
from qanatix_pipelines.naming import API, DAGSTER
from qanatix_pipelines.pulls import ATTEMPTS, LIVE, QUEUED_SECONDS, Pull, PullStatus
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.engine import check_room
from qanatix_pipelines.store.leases import lease
from qanatix_pipelines.store.pages import cut, newest_first
from qanatix_pipelines.store.tenants import OfTenant
from qanatix_pipelines.tenants import Tenant

_FIELDS = [tables.pull.c[field] for field in Pull.model_fields]


class PullStore(OfTenant):
    """One tenant's receipts: those of others are not there. What is done to a receipt is done to the one in hand."""

    def __init__(self, engine: sa.Engine, tenant: Tenant) -> None:
        super().__init__(tenant)
        self._engine = engine
        self._reader = engine.execution_options(reads=True)

    def queue(self, connector_id: UUID, *, full_refresh: bool = False, trigger: str = API) -> tuple[Pull, bool]:
        """A new receipt, or that of the connector's live pull: then the second value is False.

        A live pull that lapsed is given up as lost first. Raises NotFound if there is no such connector, PullInProgress
        if everything is to be read again and the live pull does not, StoreFull if there is no room for another.
        """
        check_room(self._engine)
        while True:
            try:
                return self._insert(connector_id, full_refresh, trigger), True
            except IntegrityError:
                live = self.live(connector_id)
                if live is not None:
                    if full_refresh and not live.full_refresh:
                        raise PullInProgress(live.id, live.run_id) from None
                    return live, False

    def claim(self, pull_id: UUID, connector: Connector, run_id: str) -> Pull:
        """Make a connector's queued pull this run's.

        Raises PullCancelled if it was; PullSuperseded if it is not queued any more for another reason, or if
        `connector` is no longer what is kept of it.
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
                    started_at=sa.func.coalesce(tables.pull.c.started_at, sa.literal(now(), tables.Instant)),
                )
            )
            if generation != connector.generation or claimed.rowcount == 0:
                raise _over(transaction, pull_id)
        return self.get(pull_id)

    def begin(self, connector: Connector, run_id: str, *, full_refresh: bool = False, trigger: str = DAGSTER) -> Pull:
        """Queue and claim in one: for a run that nobody asked the API for. Raises PullInProgress, NotFound."""
        pull, created = self.queue(connector.id, full_refresh=full_refresh, trigger=trigger)
        if not created:
            raise PullInProgress(pull.id, pull.run_id)
        return self.claim(pull.id, connector, run_id)

    def name_run(self, pull_id: UUID, run_id: str) -> bool:
        """Note which run was started for a pull, before the run itself could. False if it was cancelled meanwhile."""
        with self._engine.begin() as transaction:
            transaction.execute(
                tables.pull.update()
                .where(tables.pull.c.id == pull_id, tables.pull.c.run_id.is_(None))
                .values(run_id=run_id)
            )
            return _error_code(transaction, pull_id) != PullCancelled.code

    def renew(self, pull: Pull) -> None:
        """Give the sign of life. Raises PullSuperseded if the attempt is over, but for having completed."""
        try:
            with self._engine.begin() as transaction:
                pass_fence(transaction, pull, lease_until=lease())
        except PullSuperseded:
            if self.completed(pull) is None:
                raise

    def completed(self, pull: Pull) -> Pull | None:
        """The receipt as it is now, if it was this attempt that completed the pull."""
        kept = self.get(pull.id)
        return kept if (kept.attempt, kept.status) == (pull.attempt, PullStatus.COMPLETED) else None

    def await_run(self, pull: Pull) -> None:
        """Let a queued pull wait longer: its run is on its way."""
        with self._engine.begin() as transaction:
            transaction.execute(
                tables.pull.update()
                .where(_is(pull), tables.pull.c.status == PullStatus.QUEUED)
                .values(lease_until=lease(QUEUED_SECONDS))
            )

    def lapsed(self) -> list[Pull]:
        """The live pulls that gave no sign of life in time: their process or host died, or no run ever began."""
        query = sa.select(*_FIELDS).where(tables.pull.c.status.in_(LIVE), tables.pull.c.lease_until < now())
        return self._all(query)

    def of_run(self, run_id: str) -> Pull | None:
        """The pull that is or was this run's, if it is not another's by now."""
        return next(iter(self._all(sa.select(*_FIELDS).where(tables.pull.c.run_id == run_id))), None)

    def retry(self, pull: Pull) -> bool:
        """Give up a dead attempt. True if this call has queued the pull for another; its last one ends it as lost.

        Does nothing if it is not as `pull` says any more: it gave a sign of life, ended, or somebody else did this.
        """
        with self._engine.begin() as transaction:
            last = pull.attempt >= ATTEMPTS
            unchanged = _is(pull) & (tables.pull.c.lease_until == pull.lease_until)
            if last:
                end_live(transaction, unchanged, PullLost())
                return False
            queued = transaction.execute(
                tables.pull.update()
                .where(unchanged, tables.pull.c.status.in_(LIVE))
                .values(
                    status=PullStatus.QUEUED,
                    attempt=pull.attempt + 1,
                    run_id=None,
                    lease_until=lease(QUEUED_SECONDS),
                    records_read=0,
                    bytes_read=0,
                    merging_since=None,
                )
            )
            if queued.rowcount:
                transaction.execute(tables.staged.delete().where(tables.staged.c.pull_id == pull.id))
        return bool(queued.rowcount)

    def end(self, pull: Pull, error: PullError | StoreUnavailable, duration_seconds: float = 0) -> None:
        """Write why an attempt ended without ingesting. Does nothing if it is over already."""
        with self._engine.begin() as transaction:
            end_live(transaction, _is(pull), error, duration_seconds)

    def note_failed(self, connector: Connector, run_id: str, at: datetime, error: PullError, trigger: str) -> None:
        """Write the receipt of a run that failed at a time before it had one."""
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

    def cancel(self, pull_id: UUID) -> Pull:
        """End a live pull, whichever attempt it is in, as cancelled. The receipt as it is then. Raises NotFound."""
        kept = self.get(pull_id)
        seconds = 0.0 if kept.started_at is None else max(0.0, (now() - kept.started_at).total_seconds())
        with self._engine.begin() as transaction:
            end_live(transaction, tables.pull.c.id == kept.id, PullCancelled(), seconds)
        return self.get(pull_id)

    def get(self, pull_id: UUID) -> Pull:
        """Raises NotFound."""
        found = self._all(sa.select(*_FIELDS).where(tables.pull.c.id == pull_id))
        if not found:
            raise NotFound("pull")
        return found[0]

    def live(self, connector_id: UUID) -> Pull | None:
        """The pull that is queued or running, if any."""
        query = sa.select(*_FIELDS).where(tables.pull.c.connector_id == connector_id, tables.pull.c.status.in_(LIVE))
        return next(iter(self._all(query)), None)

    def page(
        self, connector_id: UUID, *, status: PullStatus | None, limit: int, cursor: str | None
    ) -> tuple[Sequence[Pull], str | None]:
        """At most `limit` pulls of a connector, newest first, and the cursor of the next page, None after the last.

        Raises ValueError if the cursor is not one of ours.
        """
        query = sa.select(*_FIELDS).where(tables.pull.c.connector_id == connector_id)
        if status is not None:
            query = query.where(tables.pull.c.status == status)
        return cut(self._all(newest_first(query, tables.pull, limit, cursor)), limit)

    def _all(self, query: sa.Select[Any]) -> list[Pull]:
        ours = query.where(tables.pull.c.tenant == self.tenant)
        with self._reader.connect() as connection:
            return [Pull.model_validate(dict(row)) for row in connection.execute(ours).mappings()]

    def _is_connector(self, connector_id: UUID) -> sa.ColumnElement[bool]:
        return (tables.connector.c.id == connector_id) & (tables.connector.c.tenant == self.tenant)

    def _insert(self, connector_id: UUID, full_refresh: bool, trigger: str) -> Pull:
        pull_id = uuid4()
        with self._engine.begin() as transaction:
            known = sa.select(tables.connector.c.id).where(self._is_connector(connector_id))
            # Whoever removes the connector waits for this, or this for them.
            if transaction.execute(known.with_for_update(read=True)).first() is None:
                raise NotFound("connector")
            expired = (tables.pull.c.connector_id == connector_id) & (tables.pull.c.lease_until < now())
            end_live(transaction, expired, PullLost())
            transaction.execute(
                tables.pull.insert().values(
                    id=pull_id,
                    tenant=self.tenant,
                    connector_id=connector_id,
                    status=PullStatus.QUEUED,
                    full_refresh=full_refresh,
                    trigger=trigger,
                    lease_until=lease(QUEUED_SECONDS),
                    created_at=now(),
                )
            )
        return self.get(pull_id)


def pass_fence(transaction: sa.Connection, pull: Pull, **values: object) -> None:
    """Give a running attempt `values`: each of its writes does so.

    Raises PullCancelled if the pull was, and PullSuperseded if the attempt runs no more for another reason.
    """
    running = tables.pull.update().where(_is(pull), tables.pull.c.status == PullStatus.RUNNING)
    if transaction.execute(running.values(**values)).rowcount == 0:
        raise _over(transaction, pull.id)


def end_live(
    transaction: sa.Connection,
    condition: sa.ColumnElement[bool],
    error: PullError | StoreUnavailable,
    duration_seconds: float = 0,
) -> None:
    """End the live pulls among those of `condition`, and drop what they staged."""
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
    transaction.execute(tables.staged.delete().where(tables.staged.c.pull_id.in_(ids)))


def _over(transaction: sa.Connection, pull_id: UUID) -> PullError:
    """Why an attempt may write no more."""
    return PullCancelled() if _error_code(transaction, pull_id) == PullCancelled.code else PullSuperseded()


def _error_code(transaction: sa.Connection, pull_id: UUID) -> str | None:
    code: str | None = transaction.execute(
        sa.select(tables.pull.c.error_code).where(tables.pull.c.id == pull_id)
    ).scalar_one_or_none()
    return code


def _is(pull: Pull) -> sa.ColumnElement[bool]:
    return (tables.pull.c.id == pull.id) & (tables.pull.c.attempt == pull.attempt)
