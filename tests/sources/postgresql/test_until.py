"""`:until` in a query of PostgreSQL: the end of a window, and without one an end that no row is behind."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.sources import check_query, open_source, source_of
from qanatix_pipelines.watermarks import Watermark, Window
from tests.conftest import new_database, server
from tests.sources.postgresql.test_settings import configure, run

pytestmark = pytest.mark.server

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
# Each type of a stamp, the value of a row a second before AT in the zone of America/New_York, and conditions.
STAMPED = [
    ("timestamptz", "2026-07-01 11:59:59+00", "stamp <= :until"),
    ("timestamptz", "2026-07-01 11:59:59+00", "stamp < :until"),
    ("timestamptz", "2026-07-01 11:59:59+00", "stamp BETWEEN :last_pull AND :until"),
    ("timestamptz", "2026-07-01 11:59:59+00", "stamp <= :until::timestamptz + interval '0 hours'"),
    ("timestamptz", "2026-07-01 11:59:59+00", "stamp <@ tstzrange(:last_pull, :until)"),
    ("timestamp", "2026-07-01 07:59:59", "stamp <= :until"),
    ("timestamp", "2026-07-01 11:59:59", "stamp <= :until::timestamptz AT TIME ZONE 'UTC'"),
    ("timestamp", "2026-07-01 11:59:59", "stamp AT TIME ZONE 'UTC' <= :until"),
    ("date", "2026-07-01", "stamp <= :until"),
    ("bigint", "1782907199", "stamp <= extract(epoch FROM :until::timestamptz)"),
    ("int", "1782907199", "stamp <= extract(epoch FROM :until::timestamptz)::int"),
    ("text", "2026-07-01 07:59:59", "stamp <= to_char(:until::timestamptz, 'YYYY-MM-DD HH24:MI:SS')"),
    ("int", "20260701", "stamp <= to_char(:until::timestamptz, 'YYYYMMDD')::int"),
]  # fmt: skip
# Of those types that have it, the row that is behind all others.
LAST = {
    "timestamptz": "infinity",
    "timestamp": "infinity",
    "date": "infinity",
    "int": "2145916800",
    "bigint": str(2**63 - 1),
    "text": "9998-12-31",
}


@pytest.fixture(scope="module")
def zoned() -> str:
    """The DSN of a database in the zone of New York."""
    dsn = new_database(server("postgresql"))
    configure(dsn, "TimeZone = 'America/New_York'")
    return dsn


def fill(dsn: str, kind: str, rows: str, column: str = "stamp") -> None:
    run(
        dsn,
        "DROP TABLE IF EXISTS items",
        f"CREATE TABLE items (id int, {column} {kind})",
        f"INSERT INTO items {rows}",
    )


def ids(dsn: str, query: str, until: Watermark | None = None, since: Watermark | None = None) -> list[int]:
    async def read() -> list[int]:
        integer = isinstance(until, int) or isinstance(since, int) or "n <=" in query
        window = Window(since, overlap=0, integer=integer, until=until)
        async with open_source("postgresql", {"dsn": dsn}).read(query, window=window, batch_size=10) as reading:
            return [number async for batch in reading.batches for number in batch.frame["id"]]

    return asyncio.run(read())


@pytest.mark.parametrize(("kind", "before", "condition"), STAMPED)
def test_a_window_ends_there(zoned: str, kind: str, before: str, condition: str) -> None:
    later = "2030-01-01" if kind not in ("int", "bigint") else "2000000000" if len(before) == 10 else "20300101"
    fill(zoned, kind, f"VALUES (1, '{before}'), (2, '{later}')")

    assert ids(zoned, f"SELECT id FROM items WHERE {condition}", AT) == [1]


@pytest.mark.parametrize(("kind", "before", "condition"), STAMPED)
def test_without_an_end_no_row_is_behind_it(zoned: str, kind: str, before: str, condition: str) -> None:
    last = "20380101" if len(before) == 8 else LAST[kind]
    if "<@" in condition or ("stamp <" in condition and "<=" not in condition):
        last = "9999-12-31"  # what ends before infinity leaves infinity out
    fill(zoned, kind, f"VALUES (1, '{before}'), (2, '{last}')")

    assert ids(zoned, f"SELECT id FROM items WHERE {condition} ORDER BY id") == [1, 2]


@pytest.mark.parametrize("kind", ["smallint", "int", "bigint", "numeric"])
@pytest.mark.parametrize(("until", "expected"), [(5, [4, 5]), (10**50, [4, 5, 6]), (None, [4, 5, 6])])
def test_an_integer_cursors_window_ends_there(zoned: str, kind: str, until: int | None, expected: list[int]) -> None:
    fill(zoned, kind, "SELECT n, n FROM generate_series(1, 6) n", "n")

    assert ids(zoned, "SELECT id FROM items WHERE n > :last_pull AND n <= :until ORDER BY id", until, 3) == expected


def test_an_integer_that_is_computed_with_has_room(zoned: str) -> None:
    assert ids(zoned, "SELECT 1 AS id FROM (SELECT 1 AS n) AS t WHERE n <= :until::int + 1") == [1]


def test_rows_of_the_hour_before_the_clocks_went_back_are_in_the_window(zoned: str) -> None:
    """At 05:30 UTC the clock showed 01:30, and an hour later it shows that again."""
    fill(zoned, "timestamp", "VALUES (1, '2026-11-01 01:30'), (2, '2026-11-01 01:59'), (3, '2026-11-01 04:30')")

    until = datetime(2026, 11, 1, 6, 10, tzinfo=UTC)

    assert ids(zoned, "SELECT id FROM items WHERE stamp <= :until ORDER BY id", until) == [1, 2]


def test_an_end_may_be_told_in_any_zone(zoned: str) -> None:
    query = "SELECT 1 AS id WHERE '2026-07-01 12:00:00+00'::timestamptz = :until"

    assert ids(zoned, query, AT.astimezone(tz=None) + timedelta(0)) == [1]


def test_a_query_that_says_until_alone_has_no_watermark(zoned: str) -> None:
    async def read() -> Any:
        query = "SELECT 1 AS id WHERE now() <= :until"
        async with open_source("postgresql", {"dsn": zoned}).read(query, window=Window(), batch_size=1) as reading:
            return reading.watermark

    assert asyncio.run(read()) is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1 AS id WHERE 'a'::text < :until", ":until stands where the source expects the type text"),
        ("SELECT 1 AS id WHERE 5 < :until", ":until stands where the source expects the type int4"),
        ("SELECT 1 AS id WHERE :until IS NULL", "and :until likewise"),
        ("SELECT 1 AS id,\n  nme WHERE now() < :until", "line 2, column 3, 'nme'"),
        ("SELECT 1 AS id WHERE now() > :last_pull AND now() < :until AND nme", "column 64, 'nme'"),
    ],
)
def test_what_is_wrong_is_told_in_the_users_words(zoned: str, query: str, said: str) -> None:
    with pytest.raises(QueryRejected) as refused:
        ids(zoned, query)

    assert said in str(refused.value)


def test_what_a_query_asks_for_is_told() -> None:
    asked = source_of("postgresql").check_query("SELECT 1 WHERE now() > :until")

    assert (asked.last_pull, asked.until) == (False, True)


def test_an_arrays_slice_is_none() -> None:
    check_query("postgresql", "SELECT a[1: until], x::until FROM t")
