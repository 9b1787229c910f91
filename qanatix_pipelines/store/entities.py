"""Queries for entities. Pulls write them, by `merge`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.errors import NotFound
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.pages import cut, newest_first
from qanatix_pipelines.store.tenants import OfTenant
from qanatix_pipelines.tenants import Tenant


@dataclass(frozen=True)
class Entity:
    """An entity in the store. `data` is JSON text, with every digit that its source gave."""

    id: UUID
    tenant: Tenant
    vertical: str
    entity_type: str
    source_id: str | None
    name: str | None
    data: str
    connector_id: UUID
    pull_id: UUID
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Excerpt:
    """The beginning of an entity, for a preview."""

    name: str | None
    source_id: str | None
    updated_at: datetime
    data: str


@dataclass(frozen=True)
class CountedSet:
    """An entity set, and how many entities it has."""

    vertical: str
    entity_type: str
    entities: int


_FIELDS = [tables.entity.c[field] for field in Entity.__dataclass_fields__]


class EntityStore(OfTenant):
    """One tenant's entities. Those of other tenants are as if they did not exist."""

    def __init__(self, engine: sa.Engine, tenant: Tenant) -> None:
        super().__init__(tenant)
        self._reader = engine.execution_options(reads=True)

    def get(self, entity_id: UUID) -> Entity:
        """Raises NotFound."""
        table = tables.entity.c
        query = sa.select(*_FIELDS).where(table.tenant == self.tenant, table.id == entity_id)
        with self._reader.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound("entity")
        return Entity(**row._mapping)  # noqa: SLF001

    def page(
        self, *, vertical: str | None, entity_type: str | None, limit: int, cursor: str | None
    ) -> tuple[Sequence[Entity], str | None]:
        """At most `limit` entities, newest first, and the cursor of the next page, None after the last.

        Raises WrongCursor if the cursor is not one of ours.
        """
        table = tables.entity.c
        ours = sa.select(*_FIELDS).where(table.tenant == self.tenant)
        query = newest_first(ours, tables.entity, limit, cursor)
        if vertical is not None:
            query = query.where(table.vertical == vertical)
        if entity_type is not None:
            query = query.where(table.entity_type == entity_type)
        with self._reader.connect() as connection:
            found = [Entity(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001
        return cut(found, limit)

    def newest(self, vertical: str, entity_type: str, limit: int, characters: int) -> list[Excerpt]:
        """At most `limit` entities of a set, newest first, with the first `characters` characters of their data."""
        table = tables.entity.c
        query = (
            sa.select(
                table.name,
                table.source_id,
                table.updated_at,
                sa.func.substr(sa.cast(table.data, sa.Text), 1, characters).label("data"),
            )
            .where(table.tenant == self.tenant, table.vertical == vertical, table.entity_type == entity_type)
            .order_by(table.created_at.desc(), table.id.desc())
            .limit(limit)
        )
        with self._reader.connect() as connection:
            return [Excerpt(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001

    def count(self, vertical: str, entity_type: str) -> int:
        """How many entities a set has. Pulls keep the count, so this takes the same time at any size."""
        kept = tables.entity_set.c
        query = sa.select(kept.entities).where(
            kept.tenant == self.tenant, kept.vertical == vertical, kept.entity_type == entity_type
        )
        with self._reader.connect() as connection:
            return connection.execute(query).scalar() or 0

    def sets(self) -> list[CountedSet]:
        """The sets that have an entity or a connector, sorted. Pulls keep the counts."""
        kept, connector = tables.entity_set.c, tables.connector.c
        counted = sa.select(kept.vertical, kept.entity_type, kept.entities).where(kept.tenant == self.tenant)
        filled = sa.select(connector.vertical, connector.entity_type).where(connector.tenant == self.tenant).distinct()
        with self._reader.connect() as connection:
            counts = dict.fromkeys(connection.execute(filled), 0)
            counts |= {(vertical, kind): count for vertical, kind, count in connection.execute(counted)}
        return [CountedSet(*names, count) for names, count in sorted(counts.items())]
