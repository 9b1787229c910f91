"""The connectors of all tenants that are due by their schedules."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.receipts import LIVE
from qanatix_pipelines.store import tables
from qanatix_pipelines.tenants import Tenant

_connector = tables.connector.c
# A connector with a live pull is not due before that has ended.
NOT_PULLED = ~sa.exists().where(tables.pull.c.connector_id == _connector.id, tables.pull.c.status.in_(LIVE))


@dataclass(frozen=True)
class Wanted:
    """A connector that is to be pulled, with what its run's tags need. `source` is its `source_name`."""

    tenant: Tenant
    connector_id: UUID
    connector_type: str
    partition_key: str
    source: str


@dataclass(frozen=True)
class Due(Wanted):
    """A connector whose schedule asks for a pull. `schedule` is a `Schedule` as JSON."""

    due_at: datetime
    schedule: Mapping[str, Any]


class Schedules:
    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reads=True)

    def due(self, at: datetime, limit: int) -> list[Due]:
        """At most `limit` connectors that are due at the time `at` and have no live pull, the longest due first."""
        query = (
            sa.select(*WANTED, _connector.next_due_at, _connector.schedule)
            .where(_connector.next_due_at <= at, NOT_PULLED)
            .order_by(_connector.next_due_at, _connector.id)
            .limit(limit)
        )
        with self._reader.connect() as connection:
            return [Due(*wanted(row), row.next_due_at, row.schedule) for row in connection.execute(query)]

    def move_on(self, due: Due, next_due_at: datetime) -> None:
        """Set the next due time once a pull is asked for. Does nothing if the due time has changed meanwhile."""
        unmoved = (_connector.id == due.connector_id) & (_connector.next_due_at == due.due_at)
        with self._engine.begin() as transaction:
            transaction.execute(tables.connector.update().where(unmoved).values(next_due_at=next_due_at))


def source_name(identity_digest: bytes | None, connector_id: UUID) -> str:
    """12 hex digits, the same for all connectors that read the same database as the same user."""
    return (identity_digest or connector_id.bytes).hex()[:12]


def next_due(connector: Connector, at: datetime) -> datetime | None:
    """When a connector is first due if its schedule counts from the time `at`; None without one or while paused."""
    return None if connector.schedule is None or connector.paused else connector.schedule.next_after(at)


WANTED = [_connector.tenant, _connector.id, _connector.connector_type, _connector.partition_key, _connector.place]


def wanted(row: sa.Row[*tuple[Any, ...]]) -> tuple[Tenant, UUID, str, str, str]:
    """The fields of a `Wanted`, from a row that has the columns WANTED."""
    return row.tenant, row.id, row.connector_type, row.partition_key, source_name(row.place, row.id)
