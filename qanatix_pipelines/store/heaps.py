"""Tables of staged rows, one for each attempt of a larger pull, on PostgreSQL.

A heap has no index, so that COPY is fast, and what was staged is dropped at once. The heap of a pull into a set that
has no entities becomes the set's own table (`leaves`); the server does not log changes of any other.
"""

import re
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.receipts import PullStatus, Receipt
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.leaves import is_table
from qanatix_pipelines.store.staged import columns
from qanatix_pipelines.store.tables import SCHEMA

_NAME = re.compile(r"attempt_([0-9a-f]{32})_([0-9]+)")
# How long one waits for a table that a process uses which was just killed: the server notices that soon.
_SWEEP_MS = 100


def heap_of(receipt: Receipt, *, leaf: bool) -> sa.Table:
    """The heap of an attempt. If it is to become a `leaf`, equal rows of the source are a row each."""
    return sa.Table(
        f"attempt_{receipt.id.hex}_{receipt.attempt}",
        sa.MetaData(schema=SCHEMA),
        *columns(alike=not leaf),
        prefixes=[] if leaf else ["UNLOGGED"],
    )


def make(transaction: sa.Connection, heap: sa.Table, *, again: bool) -> None:
    """Make a heap. It may be there already if an earlier try was made, and only its answer lost."""
    heap.create(transaction, checkfirst=again)


def holds(transaction: sa.Connection, heap: sa.Table, rows: int) -> bool:
    """Whether a heap has so many rows. After a crash PostgreSQL empties tables whose changes it does not log."""
    return (
        is_table(transaction, heap.name)
        and transaction.execute(sa.select(sa.func.count()).select_from(heap)).scalar() == rows
    )


def sweep(engine: sa.Engine) -> None:
    """Drop the heaps of attempts that are over. One that is still in use is left to the next time.

    Raises StoreUnavailable.
    """
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        found = {name: match for name in _heaps(connection) if (match := _NAME.fullmatch(name))}
        pull = tables.pull.c
        ids = {UUID(match[1]) for match in found.values()}
        running = sa.select(pull.id, pull.attempt).where(pull.id.in_(ids), pull.status == PullStatus.RUNNING)
        live = {(id_.hex, str(attempt)) for id_, attempt in connection.execute(running)} if found else set()
    for name, match in found.items():
        if match.groups() not in live:
            drop(engine, name)


def drop(engine: sa.Engine, name: str) -> None:
    """Drop a heap, unless it is in use. Raises StoreUnavailable."""
    with engine.begin() as transaction:
        transaction.exec_driver_sql(
            f"DO $$ BEGIN SET LOCAL lock_timeout = {_SWEEP_MS}; DROP TABLE IF EXISTS {SCHEMA}.{name}; "
            "EXCEPTION WHEN lock_not_available THEN NULL; END $$"
        )


def _heaps(connection: sa.Connection) -> list[str]:
    named = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r' AND relname ^@ %s"
    return list(connection.exec_driver_sql(named, (SCHEMA, "attempt_")).scalars())
