"""Entity sets: which exist, which connector types fill them, and how many entities they have."""

from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.engine import insert
from qanatix_pipelines.store.leaves import Leaf, Made
from qanatix_pipelines.tenants import Tenant


class Numbered(NamedTuple):
    """The number of a set, and how many entities it has."""

    number: int
    entities: int


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
    counted = sa.select(kept.tenant, kept.vertical, kept.entity_type).where(kept.entities > 0)
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


def number_of(engine: sa.Engine, connector: Connector) -> int:
    """The number of the set that a connector fills. It is given one if it has none."""
    with engine.execution_options(reads=True).connect() as connection:
        found = find(connection, connector)
    if found is not None:
        return found.number
    with engine.begin() as transaction:
        names = {"tenant": connector.tenant, "vertical": connector.vertical, "entity_type": connector.entity_type}
        transaction.execute(insert(transaction, tables.entity_set).values(**names).on_conflict_do_nothing())
        made = find(transaction, connector)
    assert made is not None  # noqa: S101
    return made.number


def find(connection: sa.Connection, connector: Connector) -> Numbered | None:
    """The set that a connector fills, as it is kept. None before its first pull."""
    kept = tables.entity_set.c
    own = (
        kept.tenant == connector.tenant,
        kept.vertical == connector.vertical,
        kept.entity_type == connector.entity_type,
    )
    row = connection.execute(sa.select(kept.number, kept.entities).where(*own)).one_or_none()
    return None if row is None else Numbered(*row)


def entities_in(connection: sa.Connection, number: int) -> int:
    """How many entities a set has, as counted by its pulls."""
    kept = tables.entity_set.c
    return int(connection.execute(sa.select(kept.entities).where(kept.number == number)).scalar_one())


def note_change(transaction: sa.Connection, leaf: Leaf, made: Made) -> None:
    """Count what a pull has made, and number the change, on the set and on the pull's receipt.

    It locks the set, so that changes are numbered in the order in which they are committed.
    """
    entity, kept, pull = leaf.table.c, tables.entity_set, tables.pull
    created = sa.select(sa.func.count()).where(
        leaf.own, entity.created_at == made.created_at, entity.pull_id == made.pull_id
    )
    entities = transaction.execute(created).scalar_one()
    changed = (
        kept.update()
        .where(kept.c.number == made.set_number)
        .values(entities=kept.c.entities + entities, changes=kept.c.changes + 1)
        .returning(kept.c.changes)
    )
    change = transaction.execute(changed).scalar_one()
    told = pull.update().where(pull.c.id == made.pull_id)
    transaction.execute(told.values(set_number=made.set_number, change_number=change))
