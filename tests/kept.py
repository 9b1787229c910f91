"""What a store keeps, read off its tables."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.store import tables
from qanatix_pipelines.store.opening import Store

_set = tables.entity_set.c
_OF_SET = (_set.tenant, _set.vertical, _set.entity_type)


def entities() -> sa.Select[Any]:
    """All entities, with what their set is called."""
    entity = tables.entity
    return sa.select(entity, *_OF_SET).join_from(entity, tables.entity_set, entity.c.set_number == _set.number)


def staged(connection: sa.Connection) -> set[UUID]:
    """The pulls that have left staged rows. On SQLite those are nowhere else than in their process."""
    if connection.dialect.name == "sqlite":
        return set()
    names = connection.exec_driver_sql("SELECT relname FROM pg_class WHERE relname ~ '^attempt_'").scalars()
    rows = connection.execute(sa.select(tables.staged.c.pull_id)).scalars()
    return {UUID(name.split("_")[1]) for name in names} | set(rows)


def staged_in(store: Store) -> set[UUID]:
    with store.engine.execution_options(reads=True).connect() as connection:
        return staged(connection)


def drop_leaves(engine: sa.Engine, *, but: Collection[int] = ()) -> None:
    """Drop the tables of all other sets: the next pull into each makes its own."""
    if engine.dialect.name == "postgresql":
        with engine.begin() as transaction:
            found = "SELECT relname FROM pg_class WHERE relname ~ '^entity_[0-9]+$' AND relkind = 'r'"
            for name in transaction.exec_driver_sql(found).scalars().all():
                if int(name.removeprefix("entity_")) not in but:
                    transaction.exec_driver_sql(f"DROP TABLE {tables.SCHEMA}.{name}")
