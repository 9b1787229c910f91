"""Staged rows: what a pull has read so far, where nobody else sees it."""

from typing import Any, NamedTuple

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from qanatix_pipelines.store.tables import FROM_SOURCE, entity


class Staged(NamedTuple):
    """The staged rows of one attempt: those of `table` that are its `own`."""

    table: sa.Table
    own: sa.ColumnElement[bool]

    @property
    def alike(self) -> sa.ColumnElement[int]:
        """How many equal rows of the source a row stands for."""
        return self.table.c.alike if "alike" in self.table.c else sa.literal(1)


def columns(*, alike: bool = True) -> list[sa.Column[Any]]:
    """The columns of a table of staged rows. Without `alike` equal rows of the source are a row each."""
    found: list[sa.Column[Any]] = [
        sa.Column(name, entity.c[name].type, nullable=entity.c[name].nullable) for name in FROM_SOURCE
    ]
    return [*found, sa.Column("alike", sa.BigInteger, nullable=False)] if alike else found


def newest(transaction: sa.Connection, staged: Staged) -> tuple[sa.Subquery, sa.ColumnElement[bool]]:
    """A subquery of staged rows, and which of them to take: the newest of each entity."""
    of = staged.table.c
    own = sa.select(staged.table).where(staged.own)
    latest = of.row.desc()
    if transaction.dialect.name == "postgresql":
        return own.ext(distinct_on(of.id)).order_by(of.id, latest).subquery(), sa.true()
    age = sa.func.row_number().over(partition_by=of.id, order_by=latest)
    rows = own.add_columns(age.label("age")).subquery()
    return rows, rows.c.age == 1


def numbered(entities: pl.DataFrame, first: int, *, alike: bool = True) -> pl.DataFrame:
    """The entities of a batch as rows to stage, numbered from `first`."""
    if not alike and entities["alike"].max() not in (None, 1):
        each = pl.int_range(pl.len(), dtype=pl.UInt32).repeat_by("alike").explode()
        entities = entities[entities.select(each).to_series()]
    rows = entities.with_columns(row=pl.int_range(first, first + pl.len()))
    return rows.select(*FROM_SOURCE, *(["alike"] if alike else []))
