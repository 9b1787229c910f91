"""What stops until a test lets it go on: a PostgreSQL query's rows in their middle, and a store's merges there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg


@contextmanager
def held(address: str, rows: int, after: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """A query of so many rows, of which those `after` that one wait for a lock, and what lets them go on."""
    lock = uuid4().int % 2**63
    waited = f"CASE WHEN n > {after} THEN pg_advisory_xact_lock_shared({lock})::text END AS waited"
    with psycopg.connect(address, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [lock])
        yield f"SELECT n AS id, 'Item ' || n AS name, {waited} FROM generate_series(1, {rows}) AS n", holder.close


@contextmanager
def held_merges(store: str) -> Iterator[Callable[[], None]]:
    """No entity is written to the PostgreSQL store at this address meanwhile, until this is called."""
    with psycopg.connect(store) as holder:
        holder.execute("LOCK TABLE qanatix.entity IN SHARE MODE")
        yield holder.close
