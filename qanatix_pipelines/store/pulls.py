"""Receipts, from the moment a pull is asked for until it has ended: one live pull a connector, by a unique index."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from qanatix_pipelines.errors import NotFound, PullCancelled, PullError, PullInProgress, PullLost, PullSuperseded
from qanatix_pipelines.pulls import LEASE_SECONDS, LIVE, Pull, PullStatus
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now

_FIELDS = [tables.pull.c[field] for field in Pull.model_fields]


class PullStore:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reads=True)

    def queue(self, connector_id: UUID) -> tuple[Pull, bool]:
        """A new receipt, or that of the connector's live pull: then the second value is False.

        A live pull whose lease ran out is given up as lost first. Raises NotFound if there is no such connector.
        """
        while True:
            try:
                return self._insert(connector_id), True
            except IntegrityError:
                live = self.live(connector_id)
                if live is not None:
                    return live, False

    def claim(self, pull_id: UUID, connector_id: UUID, run_id: str) -> Pull:
        """Make a connector's queued pull this run's. Raises PullSuperseded if it is not queued any more."""
        queued = (tables.pull.c.id == pull_id) & (tables.pull.c.connector_id == connector_id)
        with self._engine.begin() as transaction:
            claimed = transaction.execute(
                tables.pull.update()
                .where(queued, tables.pull.c.status == PullStatus.QUEUED)
                .values(status=PullStatus.RUNNING, run_id=run_id, lease_until=lease())
            )
            if claimed.rowcount == 0:
                raise PullSuperseded
        return self.get(pull_id)

    def begin(self, connector_id: UUID, run_id: str) -> Pull:
        """Queue and claim in one: for a run that nobody asked the API for. Raises PullInProgress, NotFound."""
        pull, created = self.queue(connector_id)
        if not created:
            raise PullInProgress(pull.id)
        return self.claim(pull.id, connector_id, run_id)

    def name_run(self, pull_id: UUID, run_id: str) -> None:
        """Note which run was started for a pull, before the run itself could."""
        with self._engine.begin() as transaction:
            transaction.execute(
                tables.pull.update()
                .where(tables.pull.c.id == pull_id, tables.pull.c.run_id.is_(None))
                .values(run_id=run_id)
            )

    def renew(self, pull_id: UUID) -> None:
        """Give the sign of life. Raises PullSuperseded if the pull is no longer running."""
        with self._engine.begin() as transaction:
            pass_fence(transaction, pull_id, lease_until=lease())

    def end(self, pull_id: UUID, error: PullError, duration_seconds: float = 0) -> None:
        """Write why a pull ended without ingesting. Does nothing if it has ended already."""
        with self._engine.begin() as transaction:
            end_live(transaction, tables.pull.c.id == pull_id, error, duration_seconds)

    def get(self, pull_id: UUID) -> Pull:
        """Raises NotFound."""
        with self._reader.connect() as connection:
            row = connection.execute(sa.select(*_FIELDS).where(tables.pull.c.id == pull_id)).mappings().one_or_none()
        if row is None:
            raise NotFound("pull")
        return Pull.model_validate(dict(row))

    def live(self, connector_id: UUID) -> Pull | None:
        """The pull that is queued or running, if any."""
        query = sa.select(*_FIELDS).where(tables.pull.c.connector_id == connector_id, tables.pull.c.status.in_(LIVE))
        with self._reader.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else Pull.model_validate(dict(row))

    def _insert(self, connector_id: UUID) -> Pull:
        pull_id = uuid4()
        with self._engine.begin() as transaction:
            known = sa.select(tables.connector.c.id).where(tables.connector.c.id == connector_id)
            if transaction.execute(known).first() is None:
                raise NotFound("connector")
            expired = (tables.pull.c.connector_id == connector_id) & (tables.pull.c.lease_until < now())
            end_live(transaction, expired, PullLost())
            transaction.execute(
                tables.pull.insert().values(
                    id=pull_id,
                    connector_id=connector_id,
                    status=PullStatus.QUEUED,
                    lease_until=lease(),
                    created_at=now(),
                )
            )
        return self.get(pull_id)


def pass_fence(transaction: sa.Connection, pull_id: UUID, **values: object) -> None:
    """Give a running pull `values`: what every write of a pull does first. Raises PullSuperseded if it runs no more."""
    running = tables.pull.update().where(tables.pull.c.id == pull_id, tables.pull.c.status == PullStatus.RUNNING)
    if transaction.execute(running.values(**values)).rowcount == 0:
        raise PullSuperseded


def end_live(
    transaction: sa.Connection,
    condition: sa.ColumnElement[bool],
    error: PullError,
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


def lease() -> datetime:
    """Until when a pull is held to be alive that gives a sign now."""
    return now() + timedelta(seconds=LEASE_SECONDS)
