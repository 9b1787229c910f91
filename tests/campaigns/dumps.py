"""All that a store holds, to tell whether it was left as it was."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import sqlalchemy as sa

from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.tables import metadata


def dump(store: Store) -> dict[str, list[str]]:
    """Every row of every table, in whatever order they are kept."""
    with store.engine.execution_options(reads=True).connect() as connection:
        return {
            table.name: sorted(repr(tuple(row)) for row in connection.execute(sa.select(table)))
            for table in metadata.sorted_tables
        }


@contextmanager
def unwritten(store: Store) -> Iterator[None]:
    """Fails unless the store holds afterwards what it held before; on SQLite every byte of its files.

    But for the index of SQLite's log, where readers note themselves.
    """
    file = Path(store.engine.url.database or "")
    sqlite = store.engine.dialect.name == "sqlite"

    def state() -> tuple[dict[str, list[str]], list[bytes]]:
        return dump(store), [one.read_bytes() for one in (file, file.with_name(f"{file.name}-wal"))] if sqlite else []

    # Whoever closes a file last moves its log into it.
    with closing(sqlite3.connect(file)) if sqlite else nullcontext() as kept:
        if kept is not None:
            kept.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        before = state()
        yield
        assert state() == before


def empty(store: Store) -> None:
    """Delete all that it holds."""
    with store.engine.begin() as transaction:
        for table in reversed(metadata.sorted_tables):
            transaction.execute(table.delete())
