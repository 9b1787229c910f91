"""No text of a query, and no message of a server, takes much longer than its length tells.

Calls of functions are counted, not seconds: a text of twice the length may take about twice as many.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import pytest
from sqlglot import exp

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.places import last_names
from qanatix_pipelines.sources import source_of
from qanatix_pipelines.sources.compared import compared
from qanatix_pipelines.sources.mysql.query import bound as mysql_bound
from qanatix_pipelines.sources.parsed import parsed
from qanatix_pipelines.sources.postgresql.computed import computed
from qanatix_pipelines.sources.sql import MOST_PLACEHOLDERS, SqlQuery, parse_sql
from qanatix_pipelines.sources.sqlite.query import compared_alone

LONGEST = 64 * 1024


def calls(work: Callable[[], Any]) -> int:
    """How many functions were called."""
    counted = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def of_many(n: int, unit: str = "now() > ", between: str = " AND ") -> SqlQuery:
    """A query with more placeholders than one may have now: older ones are kept as they are."""
    return SqlQuery((f"SELECT * FROM t WHERE {unit}", *[f"{between}{unit}"] * (n - 1), ""), ("last_pull",) * n)


def filled(head: str, unit: str, tail: str = "", size: int = LONGEST) -> str:
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


class Zone:
    def least(self, instant: Any) -> Any:
        return instant

    greatest = least


@pytest.mark.slow
def test_all_placeholders_of_a_long_chain_are_tried_as_one_expression() -> None:
    ((expression, places),) = computed(of_many(1500), ["timestamptz"] * 1500)
    assert places == list(range(1500))
    assert expression.count("CAST(") == 1500


@pytest.mark.slow
def test_what_is_computed_is_found_in_a_time_that_grows_with_the_length() -> None:
    few, many = (calls(partial(computed, of_many(n), ["timestamptz"] * n)) for n in (100, 200))
    assert many < 3 * few


def test_what_is_compared_is_found_in_a_time_that_grows_with_the_length() -> None:
    few, many = (calls(partial(compared, of_many(n, "a > "), "mysql")) for n in (100, 200))
    assert many < 3 * few


def test_the_text_around_placeholders_is_of_a_bounded_length() -> None:
    query = of_many(5000)
    assert sum(len(before) for before, _ in query.around()) < 5000 * 600


@pytest.mark.timeout(120)
def test_many_betweens_before_a_placeholder_cost_little() -> None:
    text = filled("SELECT 1 WHERE ", "a BETWEEN 1 AND 2 AND ", "a > :last_pull AND " * 99 + "a > :last_pull")
    query = parse_sql(text, "mysql")
    assert len(mysql_bound(query, None, None, Zone(), integer=False)) == 100
    assert compared_alone(query) == [True] * 100


def test_a_tree_that_takes_too_long_is_none() -> None:
    assert isinstance(parsed("SELECT a[1]", "postgres"), exp.Select)
    assert parsed("SELECT a" + "[1]" * 1000, "postgres", seconds=0.05) is None


def test_what_can_be_read_and_not_be_written_again_computes_nothing() -> None:
    deep = SqlQuery(("SELECT ", "::date" * 2000), ("last_pull",))
    assert parsed(deep.numbered(), "postgres") is not None
    assert computed(deep, ["timestamptz"]) == []


def test_a_query_has_a_bounded_number_of_placeholders() -> None:
    at_most = "SELECT " + ", ".join([":last_pull"] * MOST_PLACEHOLDERS)
    assert parse_sql(at_most, "postgres").placeholders == MOST_PLACEHOLDERS
    with pytest.raises(QueryRejected, match=r"101 times, and at most 100 are bound"):
        parse_sql(f"{at_most}, :until", "postgres")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("connector_type", "query"),
    [
        ("mysql", filled("SELECT 1 ", "# ", "\n/*! */")),
        ("mysql", filled("SELECT 1 ", "-- ", "\n/*! */")),
        ("mysql", filled("SELECT 1 ", "/* */", "/*! */")),
        ("postgresql", filled("WITH ", "a AS (update, 1), ", "a AS (SELECT 1) SELECT 1")),
        ("postgresql", filled("SELECT ", "(")),
        ("postgresql", filled("SELECT ", "$a ")),
        ("sqlite", filled("SELECT ", "/*")),
        ("neo4j", filled("RETURN ", "$ `a")),
        ("neo4j", filled("RETURN ", "\\u")),
        ("mongodb", "{" + ",".join(f'"{n}":1' for n in range(7000)) + ',"z":1,"z":1}'),
        ("mongodb", "[" * 32_000),
        ("mongodb", '{"a":' * 10_000 + "1" + "}" * 10_000),
        ("mongodb", '{"a":' + "[" * 900 + ",".join(['"b"'] * 15_000) + "]" * 900 + "}"),
        ("mongodb", filled("{", ":   ")),
        ("mongodb", filled('{"a":"{', " ", '"}')),
    ],
    ids=lambda value: value if len(value) < 20 else value[:20],
)
def test_the_longest_hostile_query_is_checked_soon(connector_type: str, query: str) -> None:
    # It may be one or not: it is told before the test's time is over.
    with suppress(QueryRejected):
        source_of(connector_type).check_query(query)


def test_a_long_message_of_a_server_gives_few_names() -> None:
    assert len(last_names("a " * 500_000)) <= 2000
