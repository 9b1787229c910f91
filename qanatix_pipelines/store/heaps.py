"""Tables of staged rows, one for each attempt of a larger pull, on PostgreSQL.

A heap has no index, so that COPY is fast, and what was staged is dropped at once. The heap of a pull into a set that
has no entities becomes the set's own table (`leaves`); the server does not log changes of any other. Functions of the
schema's owner make and drop heaps (migration 0017).
"""

import re
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.receipts import PullStatus
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.leaves import is_table
from qanatix_pipelines.store.staged import columns
from qanatix_pipelines.store.tables import SCHEMA

_NAME = re.compile(r"attempt_([0-9a-f]{32})_([0-9]+)")


@dataclass(frozen=True)
class Heap:
    """The heap of an attempt of a pull. If it is to become a `leaf`, equal rows of the source are a row each."""

    pull_id: UUID
    attempt: int
    leaf: bool

    @cached_property
    def table(self) -> sa.Table:
        name = f"attempt_{self.pull_id.hex}_{self.attempt}"
        return sa.Table(name, sa.MetaData(schema=SCHEMA), *columns(alike=not self.leaf))


def make(transaction: sa.Connection, heap: Heap) -> None:
    """Make a heap. It may be there already if an earlier try was made, and only its answer lost."""
    transaction.execute(sa.select(sa.func.qanatix.make_heap(heap.pull_id, heap.attempt, heap.leaf)))


def holds(transaction: sa.Connection, heap: Heap, rows: int) -> bool:
    """Whether a heap has so many rows. After a crash PostgreSQL empties tables whose changes it does not log."""
    return (
        is_table(transaction, heap.table.name)
        and transaction.execute(sa.select(sa.func.count()).select_from(heap.table)).scalar() == rows
    )


def drop(transaction: sa.Connection, pull_id: UUID, attempt: int) -> None:
    """Drop a heap, unless it is in use: for that one waits a tenth of a second."""
    transaction.execute(sa.select(sa.func.qanatix.drop_heap(pull_id, attempt)))


def sweep(engine: sa.Engine) -> None:
    """Drop the heaps of attempts that are over. One that is still in use is left to the next time.

    Raises StoreUnavailable.
    """
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        found = {(UUID(match[1]), int(match[2])) for name in _heaps(connection) if (match := _NAME.fullmatch(name))}
        pull = tables.pull.c
        own = sa.tuple_(pull.id, pull.attempt).in_(found)
        running = sa.select(pull.id, pull.attempt).where(own, pull.status == PullStatus.RUNNING)
        live = set(map(tuple, connection.execute(running))) if found else set()
    for pull_id, attempt in found - live:
        with engine.begin() as transaction:
            drop(transaction, pull_id, attempt)


def _heaps(connection: sa.Connection) -> list[str]:
    named = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r' AND relname ^@ %s"
    return list(connection.exec_driver_sql(named, (SCHEMA, "attempt_")).scalars())
