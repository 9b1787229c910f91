"""What is expected of a query before its rows, by SQLite's planner: nothing of it runs the query."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qanatix_pipelines.batches import Expected, Plan, Scanned
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.compared import Compared, Table
from qanatix_pipelines.sources.sqlite.plan import expected as read_plan
from qanatix_pipelines.watermarks import Window
from tests.servers import new_folder, remove
from tests.sources.sqlite.server import execute


@pytest.fixture
def file() -> Iterator[Path]:
    folder = new_folder("sqlite", {})
    path = folder / "shop.db"
    execute(
        path,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, updated_at DATETIME, amount)",
        "CREATE INDEX items_by_time ON items (updated_at)",
        "CREATE TABLE orders (code TEXT PRIMARY KEY, item INT, at TEXT) WITHOUT ROWID",
        "CREATE VIEW changes AS SELECT id, updated_at FROM items",
        "INSERT INTO items (name) VALUES ('a'), ('b'), ('c')",
    )
    yield path
    remove(folder)


def expected(path: Path, query: str, **window: Any) -> Expected:
    async def read() -> Expected:
        source = open_source("sqlite", {"path": str(path)}, folders=(path.parent,))
        async with source.read(query, window=Window(rows=3, **window), batch_size=10) as reading:
            assert reading.expected is not None
            return reading.expected

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("SELECT * FROM items", Plan(None, (Scanned("items", None),))),
        ("SELECT i.* FROM items AS i", Plan(None, (Scanned("items", None),))),
        ("SELECT * FROM items ORDER BY name", Plan(None, (Scanned("items", None),), sorts=True)),
        ("SELECT * FROM items ORDER BY id", Plan(None, (Scanned("items", None),))),
        ("SELECT * FROM items ORDER BY name LIMIT 5", Plan(None, (Scanned("items", None),))),
        ("SELECT * FROM items LIMIT 5", Plan(None)),
        ("SELECT * FROM items WHERE id = 7", Plan(None)),
        ("SELECT * FROM items i, orders o", Plan(None, (Scanned("items", None), Scanned("orders", None)))),
        ("SELECT * FROM (SELECT name FROM items GROUP BY name)", Plan(None, (Scanned("items", None),))),
        ("VALUES (1), (2)", Plan(None)),
        ("SELECT * FROM items WHERE updated_at > :last_pull", Plan(None, index="items_by_time")),
        ("SELECT * FROM items WHERE updated_at BETWEEN :last_pull AND :until", Plan(None, index="items_by_time")),
        ("SELECT updated_at FROM items i WHERE :last_pull < i.updated_at", Plan(None, index="items_by_time")),
        ("SELECT * FROM changes WHERE updated_at > :last_pull", Plan(None, index="items_by_time")),
        ("SELECT * FROM items WHERE name > :last_pull", Plan(None, (Scanned("items", None),))),
        ("SELECT * FROM items WHERE updated_at > 1 AND name > :last_pull", Plan(None)),
        ("SELECT * FROM orders WHERE code > :last_pull", Plan(None, index="PRIMARY KEY")),
    ],
)
def test_a_plan_tells_whole_tables_sorts_and_the_index_behind_last_pull(file: Path, query: str, wanted: Plan) -> None:
    assert expected(file, query).plan == wanted


@pytest.mark.parametrize("column", ["id", "rowid"])
def test_the_key_that_is_the_rowid_is_an_index(file: Path, column: str) -> None:
    told = expected(file, f"SELECT * FROM items WHERE {column} > :last_pull", integer=True)

    assert told.plan == Plan(None, index="INTEGER PRIMARY KEY")


def test_a_table_that_was_analyzed_has_its_rows(file: Path) -> None:
    execute(file, "ANALYZE")

    assert expected(file, "SELECT * FROM items").plan == Plan(None, (Scanned("items", 3),))


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ("SELECT * FROM items", ()),
        ("SELECT * FROM items WHERE updated_at > :last_pull AND updated_at <= :until", ("datetime",)),
        ("SELECT * FROM items i JOIN orders o ON o.item = i.id WHERE o.at > :last_pull", ("text",)),
        ("SELECT * FROM items WHERE updated_at > :last_pull OR name > :last_pull", ("datetime", "text")),
        ("SELECT * FROM items WHERE amount > :last_pull", ()),
        ("SELECT * FROM items WHERE date(updated_at) > :last_pull", ()),
    ],
)
def test_the_types_that_last_pull_is_compared_with_are_those_declared(
    file: Path, query: str, types: tuple[str, ...]
) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)

    assert expected(file, query, watermark=since) == Expected(types, expected(file, query, watermark=since).plan)


def test_a_reading_of_all_rows_expects_nothing(file: Path) -> None:
    async def read() -> Expected | None:
        source = open_source("sqlite", {"path": str(file)}, folders=(file.parent,))
        async with source.read("SELECT * FROM items", window=Window(), batch_size=10) as reading:
            return reading.expected

    assert asyncio.run(read()) is None


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        {"steps": 1, "columns": {}, "rows": {}},
        {"steps": [["x", "SCAN a"]], "columns": {}, "rows": {}},
        {"steps": [], "columns": {"a": [["b"]]}, "rows": {}},
        {"steps": [], "columns": {}, "rows": {"a": "many"}},
        {"steps": [], "columns": [], "rows": {}},
    ],
)
def test_what_is_no_plan_is_none(said: object) -> None:
    assert read_plan(said, Compared({"at": (Table("a"),)})) == Expected()


def test_a_step_that_is_none_is_passed_over() -> None:
    steps = [[0, "SCAN"], [0, "X" * 100_000], [0, "SEARCH a USING INDEX b (" + "x>? AND " * 50_000 + "y>?)"]]

    assert read_plan({"steps": steps, "columns": {}, "rows": {}}, Compared()) == Expected((), Plan(None))
