"""`:until` in a query of MySQL's: the end of a window, and without one an end that no row is behind."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.sources import open_source, source_of
from qanatix_pipelines.sources.mysql.zone import Change, Zone
from qanatix_pipelines.watermarks import Watermark, Window
from tests.servers import Server
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.mysql.server import execute

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)
# Of each kind of column the value of a row before AT and of one after it, and conditions.
STAMPED = [
    ("timestamp(6) NULL", "2026-07-01 11:59:59.9", "2030-01-01", "at <= :until"),
    ("timestamp(6) NULL", "2026-07-01 11:59:59.9", "2030-01-01", "at < :until"),
    ("timestamp(6) NULL", "2026-07-01 11:59:59.9", "2030-01-01", "at BETWEEN :last_pull AND :until"),
    ("timestamp NULL", "2026-07-01 11:59:59", "2030-01-01",
     "at <= CONVERT_TZ(:until, '+00:00', @@time_zone) + INTERVAL 1 HOUR"),
    ("datetime", "2026-07-01 11:59:59", "2030-01-01", "at <= :until"),
    ("datetime", "2026-07-01 11:59:59", "2030-01-01", "at <= CONVERT_TZ(:until, '+00:00', '+00:00')"),
    ("date", "2026-07-01", "2030-01-01", "at <= DATE(:until)"),
    ("bigint", "1782907199", "2000000000", "at <= UNIX_TIMESTAMP(:until)"),
    ("varchar(30)", "2026-07-01 11:59:59", "2030-01-01 00:00:00", "at <= :until"),
]  # fmt: skip
# The last row that there can be, of columns that are only compared.
LAST = {
    "timestamp(6) NULL": "2038-01-19 03:14:07.999999",
    "datetime(6)": "9999-12-31 23:59:59.999999",
    "date": "9999-12-31",
    "varchar(30)": "9999-12-31 23:59:59",
}
# Local time goes back by an hour.
BACK = datetime(2026, 11, 1, 6, tzinfo=UTC)


def ids(
    config: dict[str, object], query: str, until: Watermark | None = None, since: Watermark | None = None
) -> list[int]:
    async def read() -> list[int]:
        window = Window(since, overlap=0, integer=isinstance(since, int), until=until)
        async with open_source("mysql", config).read(query, window=window, batch_size=10) as reading:
            return [number async for batch in reading.batches for number in batch.frame["id"]]

    return asyncio.run(read())


@pytest.fixture
def filled(mysql_server: Server) -> Callable[..., dict[str, object]]:
    """Fills a table of stamps, indexed or not. Gives a config."""

    def fill(kind: str, *stamps: str, indexed: bool = False) -> dict[str, object]:
        rows = ", ".join(f"({number}, '{stamp}')" for number, stamp in enumerate(stamps, start=1))
        execute(
            mysql_server.address,
            "SET sql_notes = 0, time_zone = '+00:00'",
            "DROP TABLE IF EXISTS stamps",
            f"CREATE TABLE stamps (id int, at {kind}{', KEY (at)' if indexed else ''})",
            f"INSERT INTO stamps VALUES {rows}",
        )
        return MySQLHarness(mysql_server).config

    return fill


@pytest.mark.parametrize(("kind", "before", "later", "condition"), STAMPED)
@pytest.mark.parametrize(("until", "expected"), [(AT, [1]), (None, [1, 2])])
def test_a_window_ends_there_and_without_an_end_no_row_is_behind_it(
    filled: Callable[..., dict[str, object]],
    kind: str,
    before: str,
    later: str,
    condition: str,
    until: datetime | None,
    expected: list[int],
) -> None:
    config = filled(kind, before, later)

    assert ids(config, f"SELECT id FROM stamps WHERE {condition} ORDER BY id", until) == expected


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("kind", LAST)
@pytest.mark.parametrize(
    "condition", ["at <= :until", "at BETWEEN :last_pull AND :until", "at > :last_pull AND at <= :until"]
)
def test_the_last_row_that_there_can_be_is_before_an_end_that_is_none(
    filled: Callable[..., dict[str, object]], kind: str, condition: str, *, indexed: bool
) -> None:
    config = filled(kind, LAST[kind], indexed=indexed)

    assert ids(config, f"SELECT id FROM stamps WHERE {condition}") == [1]


@pytest.mark.parametrize(
    ("kind", "greatest"),
    [("int", 2**31 - 1), ("bigint unsigned", 2**64 - 1), ("decimal(20)", 2**64 - 1), ("double", 2**53)],
)
@pytest.mark.parametrize("indexed", [False, True])
def test_an_integer_cursors_window_ends_there(
    filled: Callable[..., dict[str, object]], kind: str, greatest: int, *, indexed: bool
) -> None:
    config = filled(kind, "3", "4", "5", str(greatest), indexed=indexed)
    query = "SELECT id FROM stamps WHERE at > :last_pull AND at <= :until ORDER BY id"

    assert ids(config, query, 4, 3) == [2]
    assert ids(config, query, 10**50, 3) == [2, 3, 4]
    assert ids(config, query, None, 3) == [2, 3, 4]


@pytest.mark.parametrize("minutes", range(-90, 100, 10))
@pytest.mark.parametrize(
    "zone",
    [
        ("America/New_York", Zone(-4 * 3600, (Change(int(BACK.timestamp()), -5 * 3600),))),
        ("America/New_York", Zone(-5 * 3600, (Change(int((BACK - timedelta(days=238)).timestamp()), -4 * 3600),
                                             Change(int(BACK.timestamp()), -5 * 3600)))),
    ],
)  # fmt: skip
def test_no_earlier_row_has_a_later_local_time(zone: tuple[str, Zone], minutes: int) -> None:
    """Around the end of summer time, for each row of the ten hours before."""
    name, told = zone
    end = BACK + timedelta(minutes=minutes)
    rows = [end - timedelta(minutes=10 * step) for step in range(60)]

    greatest = told.greatest(end.replace(tzinfo=None))

    assert all(row.astimezone(ZoneInfo(name)).replace(tzinfo=None) <= greatest for row in rows)
    assert greatest - end.astimezone(ZoneInfo(name)).replace(tzinfo=None) <= timedelta(hours=1)


def test_a_query_that_says_until_alone_has_no_watermark(mysql_server: Server) -> None:
    async def read() -> object:
        source = open_source("mysql", MySQLHarness(mysql_server).config)
        async with source.read("SELECT 1 WHERE NOW() <= :until", window=Window(), batch_size=1) as reading:
            return reading.watermark

    assert asyncio.run(read()) is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT 1 AS id,\n  nme FROM (SELECT 1) AS t WHERE NOW() < :until", "line 2, column 3, 'nme'"),
        ("SELECT 1 AS id WHERE NOW() > :last_pull AND NOW() < :until AND AND", "column 64"),
    ],
)
def test_what_is_wrong_is_told_in_the_users_words(mysql_server: Server, query: str, said: str) -> None:
    with pytest.raises(QueryRejected) as refused:
        ids(MySQLHarness(mysql_server).config, query)

    assert said in str(refused.value)


def test_what_a_query_asks_for_is_told() -> None:
    asked = source_of("mysql").check_query("SELECT 1 WHERE NOW() > :until")

    assert (asked.last_pull, asked.until) == (False, True)
