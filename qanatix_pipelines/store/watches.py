"""The watched connectors of all tenants: when each is checked, what was seen, and which pulls that asks for."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector, Watch
from qanatix_pipelines.errors import PullError
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.schedules import NOT_PULLED, WANTED, Wanted, wanted

# A check that fails repeatedly is made less and less often, but at least this often.
_LONGEST_PAUSE = timedelta(hours=1)
_DOUBLINGS = 12
_connector = tables.connector.c


@dataclass(frozen=True)
class DueWatch:
    """A connector whose watch is due. A write compares `due_at`, to tell whether another process was first."""

    connector: Connector
    due_at: datetime

    @property
    def watch(self) -> Watch:
        if self.connector.watch is None:
            raise AssertionError("only a connector with a watch is due")
        return self.connector.watch


@dataclass(frozen=True)
class Asked(Wanted):
    """A connector whose source has changed, so that a pull is to be asked for.

    `change` counts its changes from 1, and `digest` is that of what was seen.
    """

    change: int
    digest: str


class Watches:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reads=True)

    def due(self, at: datetime, limit: int) -> list[DueWatch]:
        """At most `limit` watches that are due and whose connector has no live or wanted pull, longest due first."""
        fields = [_connector[field] for field in Connector.model_fields]
        query = (
            sa.select(*fields, _connector.next_look_at)
            .where(_connector.next_look_at <= at, _connector.watch_asked.is_(None), NOT_PULLED)
            .order_by(_connector.next_look_at, _connector.id)
            .limit(limit)
        )
        with self._reader.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [DueWatch(due_at=row.pop("next_look_at"), connector=Connector.model_validate(row)) for row in rows]

    def asked(self, limit: int) -> list[Asked]:
        """At most `limit` changes that have no known run yet, the longest seen first."""
        query = (
            sa.select(*WANTED, _connector.watch_changes, _connector.watch_asked)
            .where(_connector.watch_asked.is_not(None), _connector.next_look_at.is_not(None))
            .order_by(_connector.watched_at, _connector.id)
            .limit(limit)
        )
        with self._reader.connect() as connection:
            return [Asked(*wanted(row), row.watch_changes + 1, row.watch_asked) for row in connection.execute(query)]

    def see(self, due: DueWatch, digest: str, at: datetime) -> None:
        """Note what a check saw. If it differs from the digest of the last change, a pull is to be asked for."""
        known = sa.func.coalesce(_connector.watch_digest, "") == digest
        self._keep(
            due,
            at + timedelta(seconds=due.watch.every_seconds),
            watched_at=at,
            watch_asked=sa.case((known, sa.null()), else_=digest),
            watch_failures=0,
            watch_error_code=None,
            watch_error_detail=None,
        )

    def fail(self, due: DueWatch, error: PullError, at: datetime) -> None:
        """Note why a check failed. Each failure doubles the pause until the next check, up to an hour, or up to
        `every_seconds` if that is longer.
        """
        failures = due.connector.watch_failures + 1
        usual = timedelta(seconds=due.watch.every_seconds)
        pause = max(usual, min(usual * 2 ** min(failures, _DOUBLINGS), _LONGEST_PAUSE))
        self._keep(
            due,
            at + pause,
            watch_failures=failures,
            watch_error_code=error.code,
            watch_error_detail=str(error),
        )

    def put_off(self, due: DueWatch, at: datetime) -> None:
        """Skip this check: a run that is queued already will read whatever has changed by then."""
        self._keep(due, at + timedelta(seconds=due.watch.every_seconds))

    def settle(self, asked: Asked) -> None:
        """Note that a change has its run. Does nothing if that is noted already or the watch was reset meanwhile."""
        unsettled = (
            (_connector.id == asked.connector_id)
            & (_connector.watch_asked == asked.digest)
            & (_connector.watch_changes == asked.change - 1)
        )
        with self._engine.begin() as transaction:
            transaction.execute(
                tables.connector.update()
                .where(unsettled)
                .values(watch_digest=asked.digest, watch_asked=None, watch_changes=asked.change)
            )

    def _keep(self, due: DueWatch, next_look_at: datetime, **seen: Any) -> None:
        untouched = (
            (_connector.id == due.connector.id)
            & (_connector.next_look_at == due.due_at)
            & (_connector.generation == due.connector.generation)
        )
        with self._engine.begin() as transaction:
            transaction.execute(tables.connector.update().where(untouched).values(next_look_at=next_look_at, **seen))


def reset_watch(connector: Connector, at: datetime) -> dict[str, Any]:
    """The columns of a watch that starts again: nothing is known of the source, so the first check finds a change."""
    return {
        "next_look_at": next_look(connector, at),
        "watched_at": None,
        "watch_digest": None,
        "watch_asked": None,
        "watch_changes": tables.connector.c.watch_changes + 1,
        "watch_failures": 0,
        "watch_error_code": None,
        "watch_error_detail": None,
    }


def next_look(connector: Connector, at: datetime) -> datetime | None:
    """When a watch that starts at the time `at` first checks; None without a watch or while paused."""
    return None if connector.watch is None or connector.paused else at
