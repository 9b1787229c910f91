"""Queries for entities. Pulls write them, by `merge`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.errors import NotFound
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.listing import found_in, newest_of, position, written
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


class Counted(NamedTuple):
    """How many entities a set has, and how many pulls have changed it."""

    entities: int
    changes: int


@dataclass(frozen=True)
class CountedSet:
    """An entity set, and how many entities it has."""

    vertical: str
    entity_type: str
    entities: int


_OF_THE_SET = ("tenant", "vertical", "entity_type")
_FIELDS = [field for field in Entity.__dataclass_fields__ if field not in _OF_THE_SET]


class EntityStore(OfTenant):
    """One tenant's entities. Those of other tenants are as if they did not exist."""

    def __init__(self, engine: sa.Engine, tenant: Tenant) -> None:
        super().__init__(tenant)
        self._reader = engine.execution_options(reads=True)

    def get(self, entity_id: UUID) -> Entity:
        """Raises NotFound."""
        with self._reader.connect() as connection:
            sets = self._sets(connection)
            row = connection.execute(found_in(connection, list(sets), entity_id)).first()
        if row is None:
            raise NotFound("entity")
        return self._entity(row, sets)

    def page(
        self, *, vertical: str | None, entity_type: str | None, limit: int, cursor: str | None
    ) -> tuple[Sequence[Entity], str | None]:
        """At most `limit` entities, newest first, and the cursor of the next page, None after the last.

        Raises WrongCursor if the cursor is not one of ours.
        """
        after = None if cursor is None else position(cursor)
        with self._reader.connect() as connection:
            sets = self._sets(connection, vertical, entity_type)
            rows = connection.execute(newest_of(connection, list(sets), limit + 1, after)).all() if sets else []
        page = [self._entity(row, sets) for row in rows[:limit]]
        return page, written(rows[limit - 1]) if len(rows) > limit else None

    def newest(self, vertical: str, entity_type: str, limit: int, characters: int) -> list[Excerpt]:
        """At most `limit` entities of a set, newest first, with the first `characters` characters of their data."""
        with self._reader.connect() as connection:
            sets = self._sets(connection, vertical, entity_type)
            if not sets:
                return []
            found = newest_of(connection, list(sets), limit, None).subquery().c
            data = sa.func.substr(found.data, 1, characters).label("data")
            query = sa.select(found.name, found.source_id, found.updated_at, data)
            query = query.order_by(found.created_at.desc(), found.row.desc(), found.id.desc())
            return [Excerpt(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001

    def counted(self, vertical: str, entity_type: str) -> Counted:
        """What pulls have counted of a set, so this takes the same time at any size."""
        kept = tables.entity_set.c
        query = sa.select(kept.entities, kept.changes).where(
            kept.tenant == self.tenant, kept.vertical == vertical, kept.entity_type == entity_type
        )
        with self._reader.connect() as connection:
            row = connection.execute(query).one_or_none()
        return Counted(0, 0) if row is None else Counted(*row)

    def sets(self) -> list[CountedSet]:
        """The sets that have an entity or a connector, sorted. Pulls keep the counts."""
        kept, connector = tables.entity_set.c, tables.connector.c
        counted = sa.select(kept.vertical, kept.entity_type, kept.entities).where(
            kept.tenant == self.tenant, kept.entities > 0
        )
        filled = sa.select(connector.vertical, connector.entity_type).where(connector.tenant == self.tenant).distinct()
        with self._reader.connect() as connection:
            counts = dict.fromkeys(connection.execute(filled), 0)
            counts |= {(vertical, kind): count for vertical, kind, count in connection.execute(counted)}
        return [CountedSet(*names, count) for names, count in sorted(counts.items())]

    def _sets(
        self, connection: sa.Connection, vertical: str | None = None, entity_type: str | None = None
    ) -> dict[int, tuple[str, str]]:
        """The vertical and type of each of our sets that has entities, by its number. The largest comes first."""
        kept = tables.entity_set.c
        query = sa.select(kept.number, kept.vertical, kept.entity_type)
        query = query.where(kept.tenant == self.tenant, kept.entities > 0)
        if vertical is not None:
            query = query.where(kept.vertical == vertical)
        if entity_type is not None:
            query = query.where(kept.entity_type == entity_type)
        query = query.order_by(kept.entities.desc())  # it is the likeliest to have an id
        return {number: (vertical, kind) for number, vertical, kind in connection.execute(query)}

    def _entity(self, row: Any, sets: dict[int, tuple[str, str]]) -> Entity:
        vertical, entity_type = sets[row.set_number]
        kept = {field: getattr(row, field) for field in _FIELDS}
        return Entity(tenant=self.tenant, vertical=vertical, entity_type=entity_type, **kept)
