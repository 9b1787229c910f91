"""`:until` in a query of SQLite: the end of a window, and without one an end that no row is behind."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from qanatix_pipelines.sources import open_source, source_of
from qanatix_pipelines.sources.sqlite.query import GREATEST_TEXT, GREATEST_TIME, bound, parse_sqlite
from qanatix_pipelines.watermarks import Watermark, Window
from tests.servers import new_folder, remove
from tests.sources.sqlite.server import execute

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
# How a stamp is written, and the condition that asks for those up to a time.
STAMPED = [
    ("2026-07-01 11:59:59", "2030-01-01 00:00:00", "at <= :until"),
    ("2026-07-01 11:59:59.9", "2030-01-01 00:00:00", "at < :until"),
    ("2026-07-01 11:59:59", "2030-01-01 00:00:00", "at BETWEEN :last_pull AND :until"),
    ("2026-07-01 11:59:59", "2030-01-01 00:00:00", ":until >= at"),
    ("2026-07-01T11:59:59Z", "2030-01-01T00:00:00Z", "at <= strftime('%Y-%m-%dT%H:%M:%SZ', :until)"),
    ("2026-07-01 11:59:59", "2030-01-01 00:00:00", "at <= datetime(:until, '+0 hours')"),
    (1782907199, 2000000000, "at <= unixepoch(:until)"),
    (1782907199000, 2000000000000, "at <= unixepoch(:until) * 1000"),
    (2461222.99999, 2480000.5, "at <= julianday(:until)"),
]


@pytest.fixture
def file() -> Iterator[Path]:
    folder = new_folder("sqlite", {})
    yield folder / "shop.db"
    remove(folder)


def ids(path: Path, query: str, until: Watermark | None = None, since: Watermark | None = None) -> list[str]:
    async def read() -> list[str]:
        source = open_source("sqlite", {"path": str(path)}, folders=(path.parent,))
        integer = isinstance(since, int)
        window = Window(since, overlap=0, integer=integer, until=until)
        async with source.read(query, window=window, batch_size=10) as reading:
            return [number async for batch in reading.batches for number in batch.frame["id"]]

    return asyncio.run(read())


@pytest.mark.parametrize(("before", "later", "condition"), STAMPED)
@pytest.mark.parametrize(("until", "expected"), [(AT, ["1"]), (None, ["1", "2"])])
def test_a_window_ends_there_and_without_an_end_no_row_is_behind_it(
    file: Path, before: object, later: object, condition: str, until: datetime | None, expected: list[str]
) -> None:
    execute(file, "CREATE TABLE items (id INTEGER, at)", f"INSERT INTO items VALUES (1, {before!r}), (2, {later!r})")

    assert ids(file, f"SELECT id FROM items WHERE {condition} ORDER BY id", until) == expected


@pytest.mark.parametrize("kind", ["TEXT", "NUMERIC", "INTEGER", "REAL", "BLOB", "DATETIME"])
@pytest.mark.parametrize("last", ["'9999-12-31T23:59:59.999Z'", "9e300", "9223372036854775807", "'infinity'"])
def test_whatever_a_column_holds_is_before_an_end_that_is_none(file: Path, kind: str, last: str) -> None:
    execute(file, f"CREATE TABLE items (id INTEGER, at {kind})", f"INSERT INTO items VALUES (1, {last})")

    assert ids(file, "SELECT id FROM items WHERE at <= :until") == ["1"]


@pytest.mark.parametrize(("until", "expected"), [(5, ["4", "5"]), (10**50, ["4", "5", "6"]), (None, ["4", "5", "6"])])
def test_an_integer_cursors_window_ends_there(file: Path, until: int | None, expected: list[str]) -> None:
    numbers = ", ".join(f"({n}, {n})" for n in range(1, 7))
    execute(file, "CREATE TABLE items (id INTEGER, n INTEGER)", f"INSERT INTO items VALUES {numbers}")

    assert ids(file, "SELECT id FROM items WHERE n > :last_pull AND n <= :until", until, 3) == expected


@pytest.mark.parametrize(
    ("condition", "greatest"),
    [
        ("at <= :until", GREATEST_TEXT),
        ("at < :until AND id = 1", GREATEST_TEXT),
        ("at BETWEEN '2020' AND :until", GREATEST_TEXT),
        ("at BETWEEN :last_pull AND :until ORDER BY id", GREATEST_TEXT),
        (":until >= at", GREATEST_TEXT),
        ("at <= datetime(:until, '+1 hour')", GREATEST_TIME),
        ("at <= :until || 'Z'", GREATEST_TIME),
    ],
)
def test_an_end_that_is_none_is_above_all_that_it_is_compared_with(condition: str, greatest: str) -> None:
    query = parse_sqlite(f"SELECT id FROM items WHERE {condition}")

    assert bound(query, None, integer=False)[-1] == greatest


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (AT, "2026-07-01 12:00:00"),
        (AT.replace(microsecond=1), "2026-07-01 12:00:01"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31 23:59:59"),
    ],
)
def test_an_end_is_the_second_that_ends_at_it_or_after_it(until: datetime, expected: str) -> None:
    query = parse_sqlite("SELECT id FROM items WHERE at <= :until")

    assert bound(query, None, until, integer=False) == [expected]


def test_what_a_query_asks_for_is_told() -> None:
    asked = source_of("sqlite").check_query("SELECT 1 WHERE 2 > :until")

    assert (asked.last_pull, asked.until) == (False, True)
