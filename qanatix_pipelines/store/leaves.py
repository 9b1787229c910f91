"""The entities of one set. On PostgreSQL they have a table of their own, a leaf: a partition of `entity`.

Statements name the leaf, because one that goes through `entity` is planned for all sets. A leaf is made by the first
pull into its set, in its final transaction. It is attached at the end of that: to attach locks `entity` against other
attaches, though against no reader, until the transaction ends.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.store import tables
from qanatix_pipelines.store.tables import FROM_SOURCE, SCHEMA

# What of an entity is the same for all that a pull makes, and its type on PostgreSQL.
_OF_THE_PULL = {
    "set_number": "integer",
    "connector_id": "uuid",
    "pull_id": "uuid",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}


@dataclass(frozen=True)
class Made:
    """What the entities have in common that a pull makes."""

    set_number: int
    connector_id: UUID
    pull_id: UUID
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Leaf:
    """The entities of the set of this number: those of `table` that are its `own`."""

    number: int
    table: sa.Table

    @property
    def own(self) -> sa.ColumnElement[bool]:
        return self.table.c.set_number == self.number

    @property
    def key(self) -> list[sa.Column[Any]]:
        """The columns of the unique index by which an entity is found."""
        of = self.table.c
        return [of.id] if self.table is not tables.entity else [of.id, of.set_number]


@lru_cache(maxsize=1024)
def _leaf(number: int) -> sa.Table:
    return tables.entity.to_metadata(sa.MetaData(), name=_name(number))


def leaf_of(connection: sa.Connection, number: int) -> Leaf:
    """Where the entities of a set are. On PostgreSQL, only if it `exists`."""
    table = _leaf(number) if connection.dialect.name == "postgresql" else tables.entity
    return Leaf(number, table)


def exists(connection: sa.Connection, number: int) -> bool:
    """Whether the set has a place for its entities: on SQLite always."""
    if connection.dialect.name != "postgresql":
        return True
    return is_table(connection, _name(number))


def is_table(connection: sa.Connection, name: str) -> bool:
    """Whether the schema has such a table.

    The catalog is asked itself: `to_regclass` may not know of a table that was made while this transaction waited.
    """
    there = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = %s AND tablename = %s)"
    return bool(connection.exec_driver_sql(there, (SCHEMA, name)).scalar())


def lock(transaction: sa.Connection, number: int) -> None:
    """Wait for another pull that makes the leaf of this set, and have others wait."""
    kept = tables.entity_set.c.number
    transaction.execute(sa.select(kept).where(kept == number).with_for_update()).all()


def make(transaction: sa.Connection, number: int) -> None:
    """Make the leaf of a set, with no entities. Call `lock` before, and `attach` last."""
    name = f"{SCHEMA}.{_name(number)}"
    transaction.exec_driver_sql(f"CREATE TABLE {name} (LIKE {SCHEMA}.entity, {_check(number)})")
    _index(transaction, number)


def become(transaction: sa.Connection, heap: sa.Table, made: Made) -> None:
    """Make a heap with its rows the leaf of a set. Call `lock` before, and `attach` last.

    No row is written: PostgreSQL keeps the value of a column that is added beside the table (PostgreSQL documentation,
    ALTER TABLE, Notes). Raises IntegrityError if two rows have the same id.
    """
    values = {name: getattr(made, name) for name in _OF_THE_PULL}
    added = [f"ADD {name} {kind} NOT NULL DEFAULT '{values[name]}'" for name, kind in _OF_THE_PULL.items()]
    fixed = [f"ALTER {name} DROP DEFAULT" for name in _OF_THE_PULL]
    for change in (
        f"{', '.join(added)}, ADD {_check(made.set_number)}",
        ", ".join(fixed),
        f"RENAME TO {_name(made.set_number)}",
    ):
        table = heap.fullname
        transaction.exec_driver_sql(f"ALTER TABLE {table} {change}")
    _index(transaction, made.set_number)
    # Else the server would know nothing of the leaf until autovacuum comes to it.
    transaction.exec_driver_sql(f"ANALYZE {SCHEMA}.{_name(made.set_number)} (id, created_at, pull_id)")


def attach(transaction: sa.Connection, number: int) -> None:
    """Make a leaf a partition. Its constraint spares the server to read it for that."""
    name = f"{SCHEMA}.{_name(number)}"
    transaction.exec_driver_sql(f"ALTER TABLE {SCHEMA}.entity ATTACH PARTITION {name} FOR VALUES IN ({number})")


def _index(transaction: sa.Connection, number: int) -> None:
    name = _name(number)
    for kind, suffix, columns in (
        ("UNIQUE INDEX", "id", "id"),
        ("INDEX", "created", '"created_at", "row"'),  # by which sets are listed
        ("INDEX", "pull", '"pull_id", "row"'),  # by which changes are told
    ):
        transaction.exec_driver_sql(f"CREATE {kind} {name}_{suffix} ON {SCHEMA}.{name} ({columns})")


def _name(number: int) -> str:
    return f"entity_{number}"


def _check(number: int) -> str:
    return f"CONSTRAINT {_name(number)}_set CHECK (set_number = {number})"


assert set(FROM_SOURCE) | set(_OF_THE_PULL) == set(tables.entity.c.keys())  # noqa: S101
