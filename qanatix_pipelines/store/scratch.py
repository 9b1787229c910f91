"""A temporary table of staged rows, on a connection of its own.

It is the connection's own: PostgreSQL drops it when the connection ends, however it ends, and SQLite has it in a file
without a name.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import sqlalchemy as sa

from qanatix_pipelines.store import copying
from qanatix_pipelines.store.staged import Staged, columns

# An INTEGER that is the primary key costs SQLite no index.
_first, *_others = columns()
_TABLE = sa.Table(
    "scratch",
    sa.MetaData(),
    sa.Column(_first.name, sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    *_others,
    prefixes=["TEMPORARY"],
)


class Scratch:
    """Staged rows of one attempt. Its methods raise StoreFull and StoreUnavailable."""

    staged = Staged(_TABLE, sa.true())

    def __init__(self, engine: sa.Engine) -> None:
        # On SQLite a transaction that only `reads` may write a temporary table.
        self.connection = engine.execution_options(reads=True).connect()
        self.connection.detach()  # so it ends when it is closed, and the table with it
        try:
            with self.connection.begin():
                _TABLE.create(self.connection, checkfirst=False)
        except BaseException:
            self.connection.close()
            raise

    def put(self, rows: pl.DataFrame, *, instead: bool = False) -> None:
        """Stage rows, in a transaction of their own, `instead` of those that an earlier try may have staged."""
        with self.connection.begin():
            if instead and rows.height:
                self.connection.execute(_TABLE.delete().where(_TABLE.c.row >= rows["row"][0]))
            copying.put(self.connection, _TABLE, rows)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that writes to other tables, too."""
        self.connection.execution_options(reads=False)
        try:
            with self.connection.begin():
                yield self.connection
        finally:
            self.connection.execution_options(reads=True)

    def close(self) -> None:
        """Forget what was staged."""
        self.connection.close()
