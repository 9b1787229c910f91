"""The entities of one set. On PostgreSQL they have a table of their own, a leaf: a partition of `entity`.

Statements name the leaf, because one that goes through `entity` is planned for all sets. A leaf is made by the first
pull into its set, in its final transaction. It is attached at the end of that: to attach locks `entity` against other
attaches, though against no reader, until the transaction ends.

The account that pulls owns no table. Functions of the schema's owner make the leaves (migration 0017).
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.store import tables
from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.tables import SCHEMA


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
    transaction.execute(sa.select(sa.func.qanatix.make_leaf(number)))


def become(transaction: sa.Connection, attempt: int, made: Made) -> None:
    """Make the heap of this attempt, with its rows, the leaf of a set. Call `lock` before, and `attach` last.

    No row is written. Raises IntegrityError if two rows have the same id.
    """
    common = (
        made.set_number,
        made.connector_id,
        *(sa.literal(at, Instant) for at in (made.created_at, made.updated_at)),
    )
    transaction.execute(sa.select(sa.func.qanatix.become_leaf(made.pull_id, attempt, *common)))


def attach(transaction: sa.Connection, number: int) -> None:
    """Make a leaf a partition."""
    transaction.execute(sa.select(sa.func.qanatix.attach_leaf(number)))


def _name(number: int) -> str:
    return f"entity_{number}"
