"""What a merge reads on PostgreSQL, in pages, for seconds tell of the machine: as many a row at any size.

What the server believes of a table is from its last ANALYZE, which autovacuum does when it comes to it, and from before
the merge.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tenants import Tenant

pytestmark = pytest.mark.parametrize("store_kind", ["postgresql"], indirect=True)

READ_AT = datetime(2026, 3, 7, 12, tzinfo=UTC)
ROWS = 6_000
# An entity that is written costs some ten: both its indexes from the root to a leaf, to look and to write, and itself.
PAGES_A_ROW = 20
_ENTITY = ("entity", "entity_pkey", "entity_by_set")
_STAGED = ("staged", "staged_pkey")


def test_it_asks_the_index_where_a_small_pull_was_analysed(store: Store) -> None:
    _pull(store, _connector(store, "item"), 100)
    _analyse(store)

    assert _pages(store, _connector(store, "item"), ROWS) < PAGES_A_ROW * ROWS


def test_it_asks_the_index_where_a_small_pull_was_not_analysed(store: Store) -> None:
    _pull(store, _connector(store, "item"), 100)

    assert _pages(store, _connector(store, "item"), ROWS) < PAGES_A_ROW * ROWS


def test_it_asks_the_index_of_a_second_set(store: Store) -> None:
    _pull(store, _connector(store, "item"), 100)
    _analyse(store)

    assert _pages(store, _connector(store, "order"), ROWS) < PAGES_A_ROW * ROWS


@pytest.mark.parametrize("analysed", [False, True], ids=["never analysed", "analysed"])
def test_it_asks_the_index_of_a_store_that_was_empty(store: Store, analysed: bool) -> None:
    if analysed:
        _analyse(store)

    assert _pages(store, _connector(store, "item"), ROWS) < PAGES_A_ROW * ROWS


@pytest.mark.parametrize("first", [0, 100], ids=["first pull", "second pull"])
def test_it_asks_the_index_of_a_tenant_that_was_not_there_at_the_last_analyse(store: Store, first: int) -> None:
    _pull(store, _connector(store, "item"), ROWS)
    _analyse(store)
    another = store.of(Tenant("acme"))
    if first:
        _pull(another, _connector(another, "item"), first)

    assert _pages(another, _connector(another, "item"), ROWS) < PAGES_A_ROW * ROWS


def test_it_asks_the_index_after_many_small_pulls_over_one_connection(store: Store) -> None:
    connector = _connector(store, "item")
    for small in range(10):  # a driver keeps the plan of what it was asked for five times, and so does a server
        _pull(store, connector, 10, small)

    assert _pages(store, connector, ROWS) < PAGES_A_ROW * ROWS


def test_a_small_pull_reads_no_rows_that_others_have_staged(store: Store) -> None:
    """What was staged while the server looked is all that it knows of, and that was one pull's alone."""
    small = _staged(store, _connector(store, "item"), 10)
    _analyse(store)
    _staged(store, _connector(store, "item"), ROWS)

    with _counting(store, _STAGED) as pages:
        small.commit(None, READ_AT, time.monotonic())

    assert sum(pages) < 10 * 10


def test_to_ask_for_a_pull_and_to_cancel_it_reads_no_staged_rows(store: Store) -> None:
    _staged(store, _connector(store, "item"), ROWS)
    another = _connector(store, "item")

    with _counting(store, _STAGED) as pages:
        store.pulls.cancel(store.pulls.queue(another.id)[0].id)

    assert sum(pages) < 10


def test_to_count_what_is_new_reads_no_more_than_that(store: Store) -> None:
    """Of a tenant that was not there at the last ANALYZE, any index seems to find its one row as well."""
    _pull(store, _connector(store, "item"), 100)
    _analyse(store)
    another = store.of(Tenant("acme"))
    connector = _connector(another, "item")
    _pull(another, connector, ROWS)

    assert _pages(another, connector, 10, begin=ROWS) < 100 * 10


def test_to_look_for_unchanged_rows_reads_no_other_tenants_entities(store: Store) -> None:
    small = _connector(store, "item")
    _pull(store, small, 10)
    _analyse(store)
    another = store.of(Tenant("acme"))
    _pull(another, _connector(another, "item"), ROWS)

    with _counting(store, _ENTITY) as pages:
        _pull(store, small, 10)

    assert sum(pages) < 10 * 10


@contextmanager
def _counting(store: Store, relations: tuple[str, ...]) -> Iterator[list[int]]:
    """The pages that each transaction of the block has asked for, those that were in memory included."""
    pages: list[int] = []
    asked = sa.text(
        "SELECT sum(pg_stat_get_xact_blocks_fetched(('qanatix.' || name)::regclass)) "
        "FROM unnest(CAST(:names AS text[])) AS name"
    )
    forget = sa.text("SELECT pg_stat_force_next_flush()")  # else what earlier transactions did may count, too

    def count(transaction: sa.Connection) -> None:
        pages.append(int(transaction.execute(asked, {"names": list(relations)}).scalar_one()))
        transaction.execute(forget)

    with store.engine.begin() as transaction:
        transaction.execute(forget)
    for end in ("commit", "rollback"):
        sa.event.listen(store.engine, end, count)
    try:
        yield pages
    finally:
        for end in ("commit", "rollback"):
            sa.event.remove(store.engine, end, count)


def _pages(store: Store, connector: Connector, rows: int, begin: int = 0) -> int:
    """How many pages of entities the commit of a pull of so many rows asks for."""
    pull = _staged(store, connector, rows, begin)
    with _counting(store, _ENTITY) as pages:
        pull.commit(None, READ_AT, time.monotonic())
    return sum(pages)


def _pull(store: Store, connector: Connector, rows: int, begin: int = 0) -> None:
    _staged(store, connector, rows, begin).commit(None, READ_AT, time.monotonic())


def _staged(store: Store, connector: Connector, rows: int, begin: int = 0) -> Ingestion:
    pull = Ingestion(store.engine, connector, store.pulls.begin(connector, "run"))
    pull.stage(_batch(connector, range(begin, begin + rows)), rows)
    return pull


def _batch(connector: Connector, numbers: range) -> EntityBatch:
    def digests(of: str) -> list[bytes]:
        return [sha256(f"{of} {number}".encode()).digest() for number in numbers]

    columns: dict[str, Any] = {
        "id": [digest[:16] for digest in digests(connector.entity_type)],
        "source_id": [str(number) for number in numbers],
        "digest": digests("content"),
        "name": [f"Item {number}" for number in numbers],
        "data": [f'{{"number": {number}, "text": "{"x" * 60}"}}' for number in numbers],
        "alike": [1 for _ in numbers],
    }
    return EntityBatch(pl.DataFrame(columns), [], 0)


def _connector(store: Store, entity_type: str) -> Connector:
    return store.connectors.add(
        NewConnector(
            name="Items",
            connector_type="postgresql",
            vertical="testing",
            entity_type=entity_type,
            connection_config={"dsn": "postgresql://reader:hunter2@db/shop"},
            query="SELECT * FROM items",
        )
    )


def _analyse(store: Store) -> None:
    with store.engine.begin() as transaction:
        transaction.exec_driver_sql("ANALYZE qanatix.entity, qanatix.staged")
