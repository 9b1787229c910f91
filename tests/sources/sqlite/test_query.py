"""What a query of SQLite's may say, and what its `:last_pull` is bound to."""

from datetime import UTC, datetime

import pytest

from qanatix_pipelines.errors import InvalidConnector, QueryRejected
from qanatix_pipelines.sources import check_connector
from qanatix_pipelines.sources.sqlite import SQLite
from qanatix_pipelines.sources.sqlite.query import LEAST_COMPARED, LEAST_TIME, bound, parse_sqlite

AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


def check(query: str) -> bool:
    check_connector("sqlite", {"path": "/srv/shop.db"}, query)
    return SQLite.check_query(query).last_pull


@pytest.mark.parametrize(
    ("query", "asks"),
    [
        ("SELECT 1", False),
        ("SELECT * FROM items WHERE at > :last_pull", True),
        ("WITH new AS (SELECT 1) SELECT * FROM new;", False),
        ("VALUES (1), (2)", False),
        ("SELECT ':last_pull%' FROM [a:last_pull] -- :last_pull", False),
        ('SELECT "a:last_pull", `b:last_pull` FROM t WHERE a > :last_pull', True),
        ("SELECT a -> '$.x', b ->> 'y' FROM t", False),
        ("SELECT * FROM docs WHERE docs MATCH 'a NEAR b'", False),
        ("SELECT x'00ff', 1e5, 0x1F", False),
    ],
)
def test_what_reads_is_taken(query: str, asks: bool) -> None:
    assert check(query) is asks


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "empty"),
        ("DELETE FROM items", "must begin with SELECT"),
        ("INSERT INTO items VALUES (1)", "must begin with SELECT"),
        ("PRAGMA table_info(items)", "must begin with SELECT"),
        ("ATTACH '/etc/passwd' AS x", "must begin with SELECT"),
        ("EXPLAIN SELECT 1", "must begin with SELECT"),
        ("VACUUM INTO '/tmp/x'", "must begin with SELECT"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT 'a", "cannot be read as SQL"),
        ("SELECT * FROM items WHERE at > ':last_pull'", "in quotes"),
        ("SELECT * FROM items WHERE at > ?", "no placeholder"),
        ("SELECT * FROM items WHERE at > ?1", "no placeholder"),
        ("SELECT * FROM items WHERE at > :since", "no placeholder"),
        ("SELECT * FROM items WHERE at > $last_pull", "no placeholder"),
        ("SELECT * FROM items WHERE at > {{ last_pull }}", "no placeholder"),
    ],
)
def test_what_does_not_or_is_another_tools_is_refused(query: str, expected: str) -> None:
    with pytest.raises(InvalidConnector, match=expected) as caught:
        check(query)

    assert caught.value.field == ("query",)


@pytest.mark.parametrize(
    ("condition", "least"),
    [
        ("at > :last_pull", LEAST_COMPARED),
        ("at >= :last_pull ORDER BY id", LEAST_COMPARED),
        ("(at > :last_pull) AND id = 1", LEAST_COMPARED),
        ("at > :last_pull -- newer", LEAST_COMPARED),
        ("at>:last_pull\nLIMIT 5", LEAST_COMPARED),
        (":last_pull < at", LEAST_COMPARED),
        ("id = 1 AND :last_pull <= at", LEAST_COMPARED),
        ("at > datetime(:last_pull, '-1 hour')", LEAST_TIME),
        ("at > unixepoch(:last_pull)", LEAST_TIME),
        ("at > :last_pull || 'Z'", LEAST_TIME),
        ("at > strftime('%s', :last_pull) * 1000", LEAST_TIME),
    ],
)
def test_a_first_pull_begins_below_all_that_it_is_compared_with(condition: str, least: object) -> None:
    query = parse_sqlite(f"SELECT id FROM items WHERE {condition}")

    assert bound(query, None, integer=False) == [least]


def test_a_later_one_begins_at_a_text_as_sqlite_writes_it_in_utc_a_second_before() -> None:
    query = parse_sqlite("SELECT id FROM items WHERE at > :last_pull OR other > :last_pull")

    assert bound(query, AT, integer=False) == ["2026-01-02 03:04:04", "2026-01-02 03:04:04"]


def test_the_least_time_that_there_is_has_no_second_before_it() -> None:
    query = parse_sqlite("SELECT id FROM items WHERE at > :last_pull")

    assert bound(query, datetime.min.replace(tzinfo=UTC), integer=False) == ["0001-01-01 00:00:00"]


@pytest.mark.parametrize(("start", "expected"), [(None, -(2**63)), (7, 7), (-(2**63) - 5, -(2**63))])
def test_a_number_stays_within_64_bits(start: int | None, expected: int) -> None:
    query = parse_sqlite("SELECT id FROM items WHERE id > :last_pull")

    assert bound(query, start, integer=True) == [expected]


def test_the_greatest_of_a_column_is_asked_by_a_name_that_cannot_be_taken_for_a_text() -> None:
    assert "max(`a``b`)" in SQLite.newest("SELECT 1 -- the end", "a`b")


def test_what_a_query_of_one_is_not_refuses_it() -> None:
    with pytest.raises(QueryRejected):
        SQLite.newest("DELETE FROM items", "id")
