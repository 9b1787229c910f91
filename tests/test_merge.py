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
from qanatix_pipelines.store import leaves
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store
from tests import kept

pytestmark = pytest.mark.parametrize("store_kind", ["postgresql"], indirect=True)

READ_AT = datetime(2026, 3, 7, 12, tzinfo=UTC)
ROWS = 6_000
# An entity that is written costs some ten: both its indexes from the root to a leaf, to look and to write, and itself.
PAGES_A_ROW = 20
_STAGED = ("staged", "staged_by_pull")


def test_it_asks_the_index_where_a_small_pull_was_analysed(store: Store) -> None:
    _pull(store, _connector(store, "item"), 100)
    _analyse(store)

    assert _pages(store, _connector(store, "item"), ROWS) < PAGES_A_ROW * ROWS


def test_it_asks_the_index_where_a_small_pull_was_not_analysed(store: Store) -> None:
    _pull(store, _connector(store, "item"), 100)

    assert _pages(store, _connector(store, "item"), ROWS) < PAGES_A_ROW * ROWS


def test_it_asks_the_index_of_a_first_pull_that_was_small(store: Store) -> None:
    assert _pages(store, _connector(store, "item"), ROWS) < PAGES_A_ROW * ROWS


def test_it_asks_the_index_after_many_small_pulls_over_one_connection(store: Store) -> None:
    connector = _connector(store, "item")
    for small in range(10):  # a driver keeps the plan of what it was asked for five times, and so does a server
        _pull(store, connector, 10, small)

    assert _pages(store, connector, ROWS) < PAGES_A_ROW * ROWS


def test_a_pull_of_few_rows_does_not_read_a_large_set(store: Store) -> None:
    connector = _connector(store, "item")
    _pull(store, connector, ROWS)
    _analyse(store)

    assert _pages(store, connector, 10, begin=ROWS - 5) < 100 * 10


@pytest.mark.usefixtures("in_heaps")
def test_a_first_pull_of_many_rows_is_written_no_second_time(store: Store) -> None:
    """Its heap becomes the set's table: what the server reads is for three indexes, and to count."""
    first = _staged(store, _connector(store, "item"), ROWS)
    with store.engine.connect() as connection:
        heap = "SELECT pg_relation_size(oid) / 8192 FROM pg_class WHERE relname ~ '^attempt_'"
        pages = int(connection.exec_driver_sql(heap).scalar_one())

    first.commit(None, READ_AT, time.monotonic())

    with store.engine.connect() as connection:
        leaf = "SELECT pg_relation_size('qanatix.entity_1') / 8192"
        assert connection.exec_driver_sql(leaf).scalar_one() == pages


@pytest.mark.usefixtures("in_heaps")
@pytest.mark.parametrize("changed", [False, True], ids=["unchanged", "changed"])
def test_a_pull_of_as_many_rows_as_the_set_has_is_joined(
    store: Store, changed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qanatix_pipelines.store.merge._MANY", ROWS)
    monkeypatch.setattr("qanatix_pipelines.store.unchanged.MOST_ENTITIES", 0)
    connector = _connector(store, "item")
    _pull(store, connector, ROWS)
    plans: list[str] = []
    pull = _staged(store, connector, ROWS, content="changed" if changed else "content")

    def explained(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith(("UPDATE qanatix.entity_1 ", "INSERT INTO qanatix.entity_1 ")):
            told = connection.connection.cursor().execute(f"EXPLAIN {statement}", parameters)
            plans.append("\n".join(line for (line,) in told.fetchall()))

    sa.event.listen(store.engine, "before_cursor_execute", explained)
    ended = pull.commit(None, READ_AT, time.monotonic())
    sa.event.remove(store.engine, "before_cursor_execute", explained)

    assert ended.records_ingested == (ROWS if changed else 0)
    assert [("Hash" in plan, "Nested Loop" in plan) for plan in plans] == [(True, False)] * 2


def test_a_small_pull_reads_no_rows_that_others_have_staged(store: Store) -> None:
    """They have all been deleted, and the server has not cleared them away."""
    with store.engine.begin() as transaction:
        transaction.exec_driver_sql("ALTER TABLE qanatix.staged SET (autovacuum_enabled = off)")
    _pull(store, _connector(store, "item"), ROWS)
    small = _staged(store, _connector(store, "order"), 10)

    with _counting(store, _STAGED) as pages:
        small.commit(None, READ_AT, time.monotonic())

    assert sum(pages) < 20 * 10


def test_no_reader_waits_while_a_set_is_made(store: Store) -> None:
    """Nor does one that goes on keep a set from being made."""
    _pull(store, _connector(store, "item"), 10)
    with store.engine.connect() as reader, store.engine.begin() as making:
        assert reader.execute(kept.entities()).all()
        leaves.make(making, 99)
        leaves.attach(making, 99)

        reader.exec_driver_sql("SET lock_timeout = 100")
        assert len(reader.execute(kept.entities()).all()) == 10
        assert store.entities.page(vertical=None, entity_type=None, limit=1, cursor=None)[0]


@contextmanager
def _counting(store: Store, relations: tuple[str, ...]) -> Iterator[list[int]]:
    """The pages that each transaction of the block has asked for, those that were in memory included."""
    pages: list[int] = []
    asked = sa.text(
        "SELECT sum(pg_stat_get_xact_blocks_fetched(to_regclass('qanatix.' || name))) "
        "FROM unnest(CAST(:names AS text[])) AS name"
    )
    forget = sa.text("SELECT pg_stat_force_next_flush()")  # else what earlier transactions did may count, too

    def count(transaction: sa.Connection) -> None:
        pages.append(int(transaction.execute(asked, {"names": list(relations)}).scalar_one() or 0))
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
    with _counting(store, ("entity_1", "entity_1_id", "entity_1_created", "entity_1_pull")) as pages:
        pull.commit(None, READ_AT, time.monotonic())
    return sum(pages)


def _pull(store: Store, connector: Connector, rows: int, begin: int = 0) -> None:
    _staged(store, connector, rows, begin).commit(None, READ_AT, time.monotonic())


def _staged(store: Store, connector: Connector, rows: int, begin: int = 0, content: str = "content") -> Ingestion:
    pull = Ingestion(store.engine, connector, store.pulls.begin(connector, "run"))
    pull.stage(_batch(connector, range(begin, begin + rows), content), rows)
    return pull


def _batch(connector: Connector, numbers: range, content: str) -> EntityBatch:
    def digests(of: str) -> list[bytes]:
        return [sha256(f"{of} {number}".encode()).digest() for number in numbers]

    columns: dict[str, Any] = {
        "id": [digest[:16] for digest in digests(connector.entity_type)],
        "source_id": [str(number) for number in numbers],
        "digest": digests(content),
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
        transaction.exec_driver_sql("ANALYZE qanatix.entity_1, qanatix.staged")
