"""Entity sets: which exist, which connector types fill them, and how many entities they have."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.engine import insert
from qanatix_pipelines.tenants import Tenant


@dataclass(frozen=True, order=True)
class EntitySet:
    """A tenant's entities of one vertical and type. `connector_types` are those of its connectors now."""

    tenant: Tenant
    vertical: str
    entity_type: str
    connector_types: tuple[str, ...]


def entity_sets(engine: sa.Engine) -> list[EntitySet]:
    """The sets of all tenants that have a connector or an entity, sorted."""
    kept, connector = tables.entity_set.c, tables.connector.c
    filled = sa.select(connector.tenant, connector.vertical, connector.entity_type, connector.connector_type).distinct()
    counted = sa.select(kept.tenant, kept.vertical, kept.entity_type)
    found: dict[tuple[str, str, str], set[str]] = {}
    with engine.execution_options(reads=True).connect() as connection:
        for tenant, vertical, entity_type in connection.execute(counted):
            found[tenant, vertical, entity_type] = set()
        for tenant, vertical, entity_type, connector_type in connection.execute(filled):
            found.setdefault((tenant, vertical, entity_type), set()).add(connector_type)
    return sorted(
        EntitySet(Tenant(tenant), vertical, entity_type, tuple(sorted(types)))
        for (tenant, vertical, entity_type), types in found.items()
    )


def counted(connection: sa.Connection, connector: Connector) -> int:
    """How many entities a connector's set has, as counted by its pulls."""
    return (
        connection.execute(
            sa.select(tables.entity_set.c.entities).where(_is_set(tables.entity_set, connector))
        ).scalar()
        or 0
    )


def count_created(transaction: sa.Connection, connector: Connector, pull_id: UUID, merged_at: datetime) -> None:
    """Add the entities that a pull has just created to its set's count, in the pull's transaction."""
    kept, entity = tables.entity_set, tables.entity.c
    # The set's index is ordered by time, so only new entities are read.
    created = transaction.execute(
        sa.select(sa.func.count()).where(
            _is_set(tables.entity, connector),
            entity.created_at == merged_at,
            entity.pull_id == pull_id,
        )
    ).scalar_one()
    added = insert(transaction, kept).values(
        tenant=connector.tenant,
        vertical=connector.vertical,
        entity_type=connector.entity_type,
        entities=created,
    )
    transaction.execute(
        added.on_conflict_do_update(
            index_elements=[kept.c.tenant, kept.c.vertical, kept.c.entity_type],
            set_={"entities": kept.c.entities + added.excluded.entities},
        )
    )


def _is_set(table: sa.Table, connector: Connector) -> sa.ColumnElement[bool]:
    of = table.c
    return sa.and_(
        of.tenant == connector.tenant, of.vertical == connector.vertical, of.entity_type == connector.entity_type
    )
