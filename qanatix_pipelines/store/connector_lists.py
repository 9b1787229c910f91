"""Lists of connectors, and how their last pulls went."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.receipts import PullStatus
from qanatix_pipelines.row_keys import Roles
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.pages import cut, oldest_first
from qanatix_pipelines.tenants import Tenant

FIELDS = [tables.connector.c[field] for field in Connector.model_fields]
_OTHER_PULL = tables.pull.alias()


@dataclass(frozen=True)
class Wanted:
    """Which connectors to list: those that have each of these values, but for None.

    `status` is that of the connector's newest pull.
    """

    connector_type: str | None = None
    vertical: str | None = None
    entity_type: str | None = None
    name: str | None = None
    key: str | None = None
    paused: bool | None = None
    status: PullStatus | None = None


ALL = Wanted()


@dataclass(frozen=True)
class LastPull:
    """The newest receipt of a connector. `at` is when the pull ended, or was asked for if it has not ended. The error
    is None unless it failed.

    `roles` are those of the last result with known columns; each is None if there is none since the query changed.
    """

    id: UUID
    status: PullStatus
    at: datetime
    error_code: str | None
    error_detail: str | None
    roles: Roles


def listed(
    reader: sa.Engine, tenant: Tenant, wanted: Wanted = ALL, limit: int | None = None, cursor: str | None = None
) -> tuple[Sequence[Connector], str | None]:
    """A tenant's connectors, oldest first, and the cursor of the next page.

    At most `limit` of them, and no cursor after the last. Without a limit: all, and no cursor. Raises WrongCursor if
    the cursor is not one of ours.
    """
    table = tables.connector.c
    query = sa.select(*FIELDS).where(table.tenant == tenant)
    for field, value in vars(wanted).items():
        if value is not None:
            query = query.where((_newest(tables.pull.c.status.name) if field == "status" else table[field]) == value)
    query = oldest_first(query, tables.connector, limit, cursor)
    with reader.connect() as connection:
        found = [Connector.model_validate(dict(row)) for row in connection.execute(query).mappings()]
    return (found, None) if limit is None else cut(found, limit)


def last_pulls(reader: sa.Engine, tenant: Tenant, *connector_ids: UUID) -> dict[UUID, LastPull]:
    """The newest receipt of each connector that has one, or of each of `connector_ids`."""
    connector = tables.connector.c
    table, health = tables.pull.c, tables.connector_health.c
    query = (
        sa.select(
            table.connector_id,
            table.id,
            table.status,
            sa.func.coalesce(table.finished_at, table.created_at, type_=Instant).label("at"),
            table.error_code,
            table.error_detail,
            health.key_column,
            health.name_column,
        )
        .select_from(tables.connector.join(tables.pull, table.id == _newest(table.id.name)))
        .join(tables.connector_health, health.connector_id == connector.id, isouter=True)
        .where(connector.tenant == tenant)
    )
    if connector_ids:
        query = query.where(connector.id.in_(connector_ids))
    with reader.connect() as connection:
        rows = connection.execute(query)
        return {
            row.connector_id: LastPull(
                row.id,
                PullStatus(row.status),
                row.at,
                row.error_code,
                row.error_detail,
                Roles(row.key_column, row.name_column),
            )
            for row in rows
        }


def _newest(column: str) -> sa.ScalarSelect[Any]:
    """A column of the connector's newest receipt."""
    connector, pull = tables.connector.c, _OTHER_PULL.c
    return (
        sa.select(pull[column])
        .where(pull.tenant == connector.tenant, pull.connector_id == connector.id)
        .order_by(pull.created_at.desc(), pull.id.desc())
        .limit(1)
        .correlate(tables.connector)  # one index lookup per connector, however long its history is
        .scalar_subquery()
    )
