"""Of all tenants: the connectors that are watched, what was seen of their sources, and the pulls to ask for by that."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector, Watch
from qanatix_pipelines.errors import PullError
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.schedules import NOT_PULLED, WANTED, Wanted, wanted

# What fails again and again is looked at less and less often, but at least so often.
_LONGEST_PAUSE = timedelta(hours=1)
_DOUBLINGS = 12
_connector = tables.connector.c


@dataclass(frozen=True)
class Look:
    """A connector that is to be looked at, and what a later write checks: that nobody else has done it meanwhile."""

    connector: Connector
    due_at: datetime

    @property
    def watch(self) -> Watch:
        if self.connector.watch is None:
            raise AssertionError("only what is watched is due")
        return self.connector.watch


@dataclass(frozen=True)
class Asked(Wanted):
    """A connector whose source has changed for the `change`th time, to what `digest` stands for."""

    change: int
    digest: str


class Watches:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reads=True)

    def due(self, at: datetime, limit: int) -> list[Look]:
        """Those that are to be looked at, the longest due first. None whose pull is in progress or asked for."""
        fields = [_connector[field] for field in Connector.model_fields]
        query = (
            sa.select(*fields, _connector.next_look_at)
            .where(_connector.next_look_at <= at, _connector.watch_asked.is_(None), NOT_PULLED)
            .order_by(_connector.next_look_at, _connector.id)
            .limit(limit)
        )
        with self._reader.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [Look(due_at=row.pop("next_look_at"), connector=Connector.model_validate(row)) for row in rows]

    def asked(self, limit: int) -> list[Asked]:
        """The changes that were seen and that no run is known to pull yet, the longest seen first."""
        query = (
            sa.select(*WANTED, _connector.watch_changes, _connector.watch_asked)
            .where(_connector.watch_asked.is_not(None), _connector.next_look_at.is_not(None))
            .order_by(_connector.watched_at, _connector.id)
            .limit(limit)
        )
        with self._reader.connect() as connection:
            return [Asked(*wanted(row), row.watch_changes + 1, row.watch_asked) for row in connection.execute(query)]

    def see(self, look: Look, digest: str, at: datetime) -> None:
        """Keep what was seen. If it is not what the last pull was asked for by, a pull is to be asked for."""
        known = sa.func.coalesce(_connector.watch_digest, "") == digest
        self._keep(
            look,
            at + timedelta(seconds=look.watch.every_seconds),
            watched_at=at,
            watch_asked=sa.case((known, sa.null()), else_=digest),
            watch_failures=0,
            watch_error_code=None,
            watch_error_detail=None,
        )

    def fail(self, look: Look, error: PullError, at: datetime) -> None:
        """Keep why nothing was seen. The pause until the next look is twice as long as the last one, an hour at most
        where `every_seconds` is no longer.
        """
        failures = look.connector.watch_failures + 1
        usual = timedelta(seconds=look.watch.every_seconds)
        pause = max(usual, min(usual * 2 ** min(failures, _DOUBLINGS), _LONGEST_PAUSE))
        self._keep(
            look,
            at + pause,
            watch_failures=failures,
            watch_error_code=error.code,
            watch_error_detail=str(error),
        )

    def put_off(self, look: Look, at: datetime) -> None:
        """Look again in `every_seconds`: a run that waits will read whatever there is by then."""
        self._keep(look, at + timedelta(seconds=look.watch.every_seconds))

    def settle(self, asked: Asked) -> None:
        """A run is there for a change. Does nothing if that is known, or if the watch was changed meanwhile."""
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

    def _keep(self, look: Look, next_look_at: datetime, **seen: Any) -> None:
        untouched = (
            (_connector.id == look.connector.id)
            & (_connector.next_look_at == look.due_at)
            & (_connector.generation == look.connector.generation)
        )
        with self._engine.begin() as transaction:
            transaction.execute(tables.connector.update().where(untouched).values(next_look_at=next_look_at, **seen))


def looked_anew(connector: Connector, at: datetime) -> dict[str, Any]:
    """A watch's columns where it begins anew: nothing has been seen, so the first look finds a change."""
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
    """When a connector is looked at first that may be looked at from this time on."""
    return None if connector.watch is None or connector.paused else at
