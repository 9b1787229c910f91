"""What is expected of a query before its rows, by MySQL's or MariaDB's planner: nothing of it runs the query."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qanatix_pipelines.batches import Expected, Plan, Scanned
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.mysql.plan import MAX_BYTES
from qanatix_pipelines.sources.mysql.plan import expected as ask_for
from qanatix_pipelines.sources.mysql.query import parse_mysql
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.mysql.server import execute, parts
from tests.sources.mysql.test_reading import user

LAST_WEEK = datetime.now(UTC) - timedelta(days=7)
ITEMS = Scanned("products", 900)

_filled = set[str]()


@pytest.fixture
def shop(mysql_server: Server) -> dict[str, Any]:
    """The config of a reader of a database with 900 products, indexed and counted, and a few sales."""
    address = mysql_server.address
    if address not in _filled:
        numbers = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT"
        execute(
            address,
            "SET sql_notes = 0",
            "DROP TABLE IF EXISTS products, sales",
            "CREATE TABLE products "
            "(id int PRIMARY KEY, name varchar(50), at timestamp(6) NULL, KEY products_by_time (at))",
            "CREATE TABLE sales (id int, product int, at datetime, day date, KEY (product, at))",
            f"INSERT INTO products {numbers} i, CONCAT('x', i), NOW(6) - INTERVAL i HOUR FROM n",
            "INSERT INTO sales SELECT id, id, at, at FROM products LIMIT 20",
            "ANALYZE TABLE products, sales",
            "CREATE OR REPLACE VIEW changes AS SELECT id, at AS changed_at FROM products",
        )
        _filled.add(address)
    return MySQLHarness(mysql_server).config


def expected(config: dict[str, Any], query: str, **window: Any) -> Expected:
    async def read() -> Expected:
        async with open_source("mysql", config).read(query, window=Window(rows=3, **window), batch_size=10) as reading:
            assert sum([batch.frame.height async for batch in reading.batches]) <= 3
            assert reading.expected is not None
            return reading.expected

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("SELECT * FROM products", Plan(900, (ITEMS,))),
        ("SELECT p.* FROM products AS p # the end", Plan(900, (ITEMS,))),
        ("SELECT * FROM products ORDER BY name", Plan(900, (ITEMS,), sorts=True)),
        ("SELECT * FROM products ORDER BY id", Plan(900, (ITEMS,))),
        ("SELECT * FROM products ORDER BY name LIMIT 5", Plan(None, (ITEMS,))),
        ("SELECT * FROM products LIMIT 5", Plan(None)),
        ("SELECT * FROM products WHERE id = 7", Plan(1)),
        ("SELECT COUNT(*) AS id FROM products", Plan(None, (ITEMS,))),
        ("SELECT * FROM changes", Plan(900, (ITEMS,))),
        ("SELECT id FROM products UNION ALL SELECT id FROM sales", Plan(None, (ITEMS, Scanned("sales", 20)))),
        ("SELECT id FROM products UNION SELECT id FROM sales ORDER BY 1",
         Plan(None, (ITEMS, Scanned("sales", 20)), sorts=True)),
        ("WITH few AS (SELECT * FROM sales LIMIT 3) SELECT * FROM few", Plan(3, (Scanned("sales", 20),))),
        ("SELECT s.id FROM sales s JOIN products p ON p.id = s.product", Plan(20, (Scanned("sales", 20),))),
        ("SELECT 1 AS id", Plan(1)),
    ],
)  # fmt: skip
def test_a_plan_tells_rows_whole_tables_and_sorts(shop: dict[str, Any], query: str, wanted: Plan) -> None:
    assert expected(shop, query).plan == wanted


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT id FROM products WHERE at > :last_pull", "products_by_time"),
        ("SELECT id FROM products p WHERE p.at >= :last_pull AND p.at <= :until", "products_by_time"),
        ("SELECT id FROM products WHERE at BETWEEN :last_pull AND :until", "products_by_time"),
        ("SELECT id FROM products WHERE :last_pull < at", "products_by_time"),
        ("SELECT id FROM changes WHERE changed_at > :last_pull", "products_by_time"),
        ("SELECT id FROM products WHERE at > CONVERT_TZ(:last_pull, '+00:00', @@time_zone) - INTERVAL 1 HOUR",
         "products_by_time"),
        ("SELECT id FROM products WHERE DATE(at) > :last_pull", None),
        ("SELECT id FROM products WHERE at < NOW() AND name > :last_pull", None),
        ("SELECT id FROM sales WHERE at > :last_pull", None),
        ("SELECT id FROM products WHERE at <= :until", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("since", [None, LAST_WEEK])
def test_the_index_behind_last_pull_is_found_whatever_it_is_bound_to(
    shop: dict[str, Any], since: datetime | None, query: str, index: str | None
) -> None:
    plan = expected(shop, query, watermark=since).plan

    assert plan is not None
    assert plan.index == index


def test_the_index_behind_an_integer_cursor_is_found(shop: dict[str, Any]) -> None:
    for since in (None, 500):
        plan = expected(shop, "SELECT id FROM products WHERE id > :last_pull", integer=True, watermark=since).plan

        assert plan is not None
        assert plan.index == "PRIMARY"


def test_a_plan_is_that_of_the_window(shop: dict[str, Any]) -> None:
    plan = expected(shop, "SELECT id FROM products WHERE at > :last_pull", watermark=datetime.now(UTC)).plan

    assert plan is not None
    assert plan.rows is not None
    assert plan.rows < 100


def test_nothing_is_run(shop: dict[str, Any]) -> None:
    """From the fourth row on each would take ten minutes."""
    told = expected(shop, "SELECT id, name FROM products WHERE SLEEP(IF(id > 3, 600, 0)) = 0")

    assert told.plan is not None


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ("SELECT id FROM products", ()),
        ("SELECT id FROM products WHERE at > :last_pull AND at <= :until", ("timestamp",)),
        ("SELECT id FROM changes WHERE changed_at > :last_pull", ("timestamp",)),
        ("SELECT s.id FROM sales s, products p WHERE s.at > :last_pull AND s.day > :last_pull", ("date", "datetime")),
        ("SELECT id FROM products WHERE at + INTERVAL 1 DAY > :last_pull", ()),
        ("SELECT id FROM products WHERE at <= :until", ()),
    ],
)
def test_the_types_that_last_pull_is_compared_with_are_told(
    shop: dict[str, Any], query: str, types: tuple[str, ...]
) -> None:
    assert expected(shop, query).last_pull_types == types


def test_a_view_that_the_account_may_not_look_into_is_read_all_the_same(mysql_server: Server, shop: object) -> None:
    assert shop
    database = parts(mysql_server.address)["database"]
    blind = user(mysql_server, "blind", f"SELECT ON {database}.changes")

    told = expected(blind, "SELECT id FROM changes WHERE changed_at > :last_pull")

    assert told == Expected(("timestamp",), None)


class Refused(Exception):
    """What a server says no to."""


def told(said: object, query: str = "SELECT id FROM products WHERE at > :last_pull") -> Expected:
    """What is expected after a server has explained the query so."""

    async def ask(question: str) -> tuple[tuple[Any, ...], ...]:
        if question.startswith("SET"):
            raise Refused
        if question.startswith("EXPLAIN"):
            return said  # type: ignore[return-value]
        return ()

    literals = ["'2026-07-01 12:00:00'"] if ":last_pull" in query else []
    return asyncio.run(ask_for(ask, Refused, parse_mysql(query), literals))


def nested(depth: int) -> bytes:
    return b'{"query_block": ' + b'{"table": ' * depth + b"1" + b"}" * depth + b"}"


TABLE = {"access_type": "ALL", "rows": 1, "table_name": "a"}
WHOLE = (Scanned("a", 10**18),)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ((), None),
        (((1,),), None),
        (((b"no JSON",),), None),
        (((b"[]",),), None),
        (((b'{"query_block": 1}',),), None),
        (((b'{"query_block": {}}', b"more"),), None),
        (((nested(500_000),),), None),
        (((nested(200),),), Plan(1)),
        (((b" " * MAX_BYTES + b'{"query_block": {}}',),), None),
        (((b'{"query_block": {"table": {"access_type": 1, "rows": "many", "table_name": []}}}',),), Plan(None)),
        (((b'{"query_block": {"table": {"access_type": "ALL", "rows": 1e999, "table_name": "a"}}}',),),
         Plan(None, (Scanned("a", None),))),
        (((json.dumps({"query_block": {"table": [TABLE] * 5000}}).encode(),),), None),
        (((json.dumps({"query_block": {"table": [TABLE | {"rows": 1e18}] * 30}}).encode(),),), Plan(None, WHOLE)),
        (((b'{"query_block": {"table": {"access_type": "ALL", "rows": ' + b"9" * 4300 + b', "table_name": "a"}}}',),),
         Plan(None, (Scanned("a", None),))),
        (((b'{"query_block": {"table": [[1, {"table": "x"}], null]}}',),), Plan(1)),
    ],
    ids=range(15),
)  # fmt: skip
def test_what_is_no_plan_is_none(said: object, wanted: Plan | None) -> None:
    assert told(said).plan == wanted


@pytest.mark.parametrize("answer", [((),), ((None,),), ((1, 2),), ((b"\xff\x1b" + b"x" * 5000, b"more"),)])
def test_what_the_server_tells_of_columns_is_shown_only_as_far_as_names_go(answer: tuple[tuple[Any, ...], ...]) -> None:
    async def ask(_question: str) -> tuple[tuple[Any, ...], ...]:
        return answer

    query = parse_mysql("SELECT id FROM products WHERE at > :last_pull")
    types = asyncio.run(ask_for(ask, Refused, query, ["'2026-07-01 12:00:00'"])).last_pull_types

    assert all(len(kind) < 100 and kind.isprintable() for kind in types)


def test_what_a_plan_says_is_never_asked_about_as_it_stands() -> None:
    """A name of it becomes a part of a question only if it is a name."""
    asked: list[str] = []
    evil = "x') OR SLEEP(600) -- "
    table = {
        "table_name": evil,
        "access_type": "ALL",
        "possible_keys": [evil, "good"],
        "attached_condition": f"`{evil}` > '2026-07-01 12:00:00'",
    }

    async def ask(question: str) -> tuple[tuple[Any, ...], ...]:
        asked.append(question)
        is_plan = question.startswith("EXPLAIN")
        return ((json.dumps({"query_block": {"table": table}}).encode(),),) if is_plan else ()

    query = parse_mysql("SELECT `a'b` FROM `x\\'y` WHERE `a'b` > :last_pull")
    asyncio.run(ask_for(ask, Refused, query, ["'2026-07-01 12:00:00'"]))

    assert not [question for question in asked if "SLEEP" in question or "COLUMNS" in question]
