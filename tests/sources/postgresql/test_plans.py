"""What is expected of a query before its rows, by PostgreSQL's planner: nothing of it runs the query."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qanatix_pipelines.batches import Expected, Plan, Scanned
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.postgresql.plan import MAX_BYTES
from qanatix_pipelines.watermarks import Window
from tests.conftest import new_database, server
from tests.servers.hostile import HostileServers, Line
from tests.sources.postgresql.hostile import COMPLETE, HostilePostgreSQL, message, row
from tests.sources.postgresql.test_settings import run

pytestmark = pytest.mark.server

LAST_WEEK = datetime.now(UTC) - timedelta(days=7)


async def _expected(dsn: str, query: str, window: Window) -> Expected:
    async with open_source("postgresql", {"dsn": dsn}).read(query, window=window, batch_size=10) as reading:
        assert sum([batch.frame.height async for batch in reading.batches]) <= (window.rows or 0)
        assert reading.expected is not None
        return reading.expected


def expected(dsn: str, query: str, *, rows: int = 3, **window: Any) -> Expected:
    return asyncio.run(_expected(dsn, query, Window(rows=rows, **window)))


def plan(dsn: str, query: str, **window: Any) -> Plan:
    found = expected(dsn, query, **window).plan
    assert found is not None
    return found


@pytest.fixture(scope="module")
def shop() -> str:
    """The DSN of a database with 2,000 items, indexed and counted, and a few orders."""
    dsn = new_database(server("postgresql"))
    run(
        dsn,
        "CREATE TABLE items (id int PRIMARY KEY, name text, updated_at timestamptz, day date, plain timestamp)",
        "INSERT INTO items SELECT n, 'Item ' || n, now() - n * interval '1 hour', now(), now() "
        "FROM generate_series(1, 2000) AS n",
        "CREATE INDEX items_by_time ON items (updated_at)",
        "CREATE VIEW changes AS SELECT id, updated_at AS changed_at FROM items",
        "CREATE TABLE orders (id int, item int, at timestamptz, seconds bigint)",
        "INSERT INTO orders SELECT n, n, now(), n FROM generate_series(1, 50) AS n",
        "CREATE INDEX ON orders (seconds)",
        "CREATE SCHEMA other",
        "CREATE TABLE other.items (id int, at timestamptz) PARTITION BY RANGE (id)",
        "CREATE TABLE other.items_1 PARTITION OF other.items FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE other.items_2 PARTITION OF other.items FOR VALUES FROM (100) TO (200)",
        "INSERT INTO other.items SELECT n, now() FROM generate_series(0, 199) AS n",
        "ANALYZE",
    )
    return dsn


def test_a_reading_of_all_rows_expects_nothing(shop: str) -> None:
    async def read() -> Expected | None:
        source = open_source("postgresql", {"dsn": shop})
        async with source.read("SELECT id FROM items", window=Window(), batch_size=10) as reading:
            return reading.expected

    assert asyncio.run(read()) is None


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("SELECT id FROM items", Plan(2000, (Scanned("items", 2000),))),
        ("SELECT id FROM items -- the end", Plan(2000, (Scanned("items", 2000),))),
        ("SELECT id FROM items ORDER BY name", Plan(2000, (Scanned("items", 2000),), sorts=True)),
        ("SELECT id FROM items ORDER BY id", Plan(2000, (Scanned("items", 2000),))),
        ("SELECT id FROM items ORDER BY name LIMIT 5", Plan(5, (Scanned("items", 2000),))),
        ("SELECT id FROM items LIMIT 5", Plan(5)),
        ("SELECT id FROM items WHERE id = 7", Plan(1)),
        ("SELECT count(*) AS id FROM items", Plan(1, (Scanned("items", 2000),))),
        ("SELECT id FROM changes", Plan(2000, (Scanned("items", 2000),))),
        ("SELECT id FROM other.items", Plan(200, (Scanned("other.items", 200),))),
        ("SELECT 1 AS id", Plan(1)),
    ],
)
def test_a_plan_tells_rows_whole_tables_and_sorts(shop: str, query: str, wanted: Plan) -> None:
    assert plan(shop, query) == wanted


def test_a_table_that_nobody_has_counted_has_the_plans_rows(shop: str) -> None:
    run(shop, "CREATE TABLE fresh (n int)", "INSERT INTO fresh VALUES (1)")

    (scanned,) = plan(shop, "SELECT n FROM fresh").whole
    (filtered,) = plan(shop, "SELECT n FROM fresh WHERE n > 0").whole

    assert scanned.rows is not None
    assert scanned.rows > 0
    assert filtered == Scanned("fresh", None)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT id FROM items WHERE updated_at > :last_pull", "items_by_time"),
        ("SELECT id FROM items WHERE updated_at > :last_pull::timestamptz - interval '1 day'", "items_by_time"),
        ("SELECT id FROM changes WHERE changed_at BETWEEN :last_pull AND :until", "items_by_time"),
        ("SELECT id FROM orders WHERE seconds > extract(epoch FROM :last_pull::timestamptz)::bigint",
         "orders_seconds_idx"),
        ("SELECT id FROM orders WHERE at > :last_pull", None),
        ("SELECT id FROM items WHERE day > :last_pull", None),
        ("SELECT id FROM items WHERE updated_at < now() AND plain > :last_pull", None),
        ("SELECT id FROM items WHERE updated_at <= :until", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("since", [None, LAST_WEEK])
def test_the_index_behind_last_pull_is_found_whatever_it_is_bound_to(
    shop: str, since: datetime | None, query: str, index: str | None
) -> None:
    assert plan(shop, query, watermark=since).index == index


def test_the_index_behind_an_integer_cursor_is_found(shop: str) -> None:
    assert plan(shop, "SELECT id FROM items WHERE id > :last_pull", integer=True).index == "items_pkey"


def test_a_plan_is_that_of_the_window(shop: str) -> None:
    query = "SELECT id FROM items WHERE updated_at > :last_pull"

    first, later = plan(shop, query), plan(shop, query, watermark=LAST_WEEK)

    assert first.whole == (Scanned("items", 2000),)
    assert first.rows == 2000
    assert later.whole == ()
    assert later.rows is not None
    assert 100 < later.rows < 300


def test_nothing_is_run(shop: str) -> None:
    """From the fourth row on none could be made."""
    assert plan(shop, "SELECT 1 / (least(id, 4) - 4) AS x FROM items").rows == 2000


def test_nothing_is_left_of_it_in_the_session(shop: str) -> None:
    """What is prepared would outlive the transaction, and a pooler keeps sessions."""
    query = (
        "SELECT (SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'qanatix%') AS prepared, "
        "current_setting('enable_seqscan') AS seqscan FROM items WHERE updated_at > :last_pull"
    )

    async def read() -> list[tuple[object, ...]]:
        async with open_source("postgresql", {"dsn": shop}).read(query, window=Window(rows=1), batch_size=1) as reading:
            return [row async for batch in reading.batches for row in batch.frame.iter_rows()]

    assert asyncio.run(read()) == [(0, "on")]


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ("SELECT id FROM items", ()),
        ("SELECT id FROM items WHERE updated_at > :last_pull AND updated_at <= :until", ("timestamptz",)),
        ("SELECT id FROM items WHERE plain > :last_pull OR day > :last_pull", ("timestamp", "date")),
        ("SELECT id FROM items WHERE plain > :last_pull::timestamptz", ("timestamptz",)),
        ("SELECT id FROM items WHERE day > :last_pull AND day >= :last_pull", ("date",)),
        ("SELECT id FROM items WHERE updated_at <= :until", ()),
    ],
)
def test_the_types_that_last_pull_is_compared_with_are_told(shop: str, query: str, types: tuple[str, ...]) -> None:
    assert expected(shop, query).last_pull_types == types


SCAN = {"Node Type": "Seq Scan", "Schema": "s", "Relation Name": "r", "Plan Rows": 1}


def nested(depth: int) -> str:
    return '[{"Plan": ' + '{"Plans": [' * depth + "]}" * depth + "}]"


class TestHostileServers:
    """A plan is asked for over the wire as the query's rows are, so its answer may be anything."""

    @pytest.mark.parametrize(
        ("said", "wanted"),
        [
            (b"[]", None),
            (b"no JSON", None),
            (b'{"Plan": {}}', None),
            (b'[{"Plan": []}]', None),
            (b'[{"Plan": {}}]', Plan(None)),
            (b'[{"Plan": {"Plan Rows": -1}}]', Plan(None)),
            (b'[{"Plan": {"Plan Rows": 1e400, "Plans": {"a": 1}}}]', Plan(None)),
            (b'[{"Plan": {"Plan Rows": ' + b"9" * 5000 + b"}}]", None),
            (b'[{"Plan": {"Plan Rows": ' + b"9" * 4300 + b"}}]", Plan(None)),
            (json.dumps([{"Plan": {"Plans": [SCAN] * 20_000}}]).encode(), None),
            (b'[{"Plan": {"Node Type": ["Sort"], "Plans": [1, null, "x"]}}]', Plan(None)),
            (nested(500_000).encode(), None),
            (nested(200).encode(), Plan(None)),
            (b" " * (MAX_BYTES - 100) + b'[{"Plan": {"Plan Rows": 7}}]', Plan(7)),
            (b" " * (MAX_BYTES + 1) + b'[{"Plan": {"Plan Rows": 7}}]', None),
            (b" " * 40 * 2**20, None),
        ],
        ids=range(16),
    )
    def test_what_is_no_plan_is_none(self, said: bytes, wanted: Plan | None) -> None:
        async def execute(line: Line, _rows: int, time: int) -> None:
            await line.say((row(said) if time == 1 else row(b"x")) + COMPLETE)

        with HostileServers() as servers:
            port = servers.serve(HostilePostgreSQL(execute=execute))
            found = expected(f"postgresql://reader:secret@127.0.0.1:{port}/shop", "SELECT 1 AS id")

        assert found == Expected((), wanted)

    def test_a_name_is_shown_only_as_far_as_names_go(self) -> None:
        read = {"Node Type": "Seq Scan", "Schema": "s", "Relation Name": "x\x1b[2J" * 5000, "Plan Rows": 1}

        async def execute(line: Line, _rows: int, time: int) -> None:
            said = json.dumps([{"Plan": read}]).encode() if time == 1 else b"x"
            await line.say((row(said) if time < 2 else b"") + COMPLETE)

        with HostileServers() as servers:
            port = servers.serve(HostilePostgreSQL(execute=execute))
            found = expected(f"postgresql://reader:secret@127.0.0.1:{port}/shop", "SELECT 1 AS id").plan

        assert found is not None
        assert len(found.whole[0].table) < 100
        assert found.whole[0].table.isprintable()

    def test_numbers_of_rows_that_are_too_large_together_are_none(self) -> None:
        said = json.dumps([{"Plan": {"Plans": [SCAN | {"Plan Rows": 2**63 - 1}] * 2}}]).encode()

        async def execute(line: Line, _rows: int, time: int) -> None:
            await line.say((row(said) if time == 1 else b"") + COMPLETE)

        with HostileServers() as servers:
            port = servers.serve(HostilePostgreSQL(execute=execute))
            found = expected(f"postgresql://reader:secret@127.0.0.1:{port}/shop", "SELECT 1 AS id").plan

        assert found == Plan(None, (Scanned("s.r", None),))

    def test_a_server_that_knows_no_explain_is_read_all_the_same(self) -> None:
        refusal = message(b"E", b"SERROR\0VERROR\0C42601\0Mno\0\0")

        async def execute(line: Line, _rows: int, time: int) -> None:
            await line.say(refusal if time == 1 else row(b"x") + COMPLETE)

        with HostileServers() as servers:
            port = servers.serve(HostilePostgreSQL(execute=execute))
            found = expected(f"postgresql://reader:secret@127.0.0.1:{port}/shop", "SELECT 1 AS id")

        assert found == Expected((), None)
