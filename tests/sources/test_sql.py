""":last_pull is found where it stands for a value, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.sources.sql import parse_sql


def numbered(query: str) -> str:
    return parse_sql(query, dialect="postgres").numbered()


@pytest.mark.parametrize(
    ("expected", "query"),
    [
        ("SELECT * FROM t WHERE u >  $1", "SELECT * FROM t WHERE u > :last_pull"),
        ("SELECT * FROM t WHERE u> $1", "SELECT * FROM t WHERE u>:last_pull;"),
        ("SELECT 1 WHERE a >  $1 OR b >  $2", "SELECT 1 WHERE a > :last_pull OR b > :last_pull"),
        ("SELECT  $1::timestamptz", "SELECT :last_pull::timestamptz"),
        ("SELECT u BETWEEN $1 AND $2 FROM t", "SELECT u BETWEEN:last_pull AND:last_pull FROM t"),
        ("SELECT 1", "SELECT 1 ; ; "),
        ("SELECT 'it''s',  $1", "SELECT 'it''s', :last_pull"),
        ("SELECT u BETWEEN  $1 AND  $2 FROM t", "SELECT u BETWEEN :last_pull AND :until FROM t"),
        ("SELECT  $1::date,  $2", "SELECT :until::date, :until"),
    ],
)
def test_a_placeholder_becomes_a_numbered_parameter(expected: str, query: str) -> None:
    assert numbered(query).rstrip() == expected


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ':last_pull'",
        "SELECT 'it''s :last_pull'",
        "SELECT E'\\' :last_pull'",
        'SELECT ":last_pull" FROM t',
        "SELECT $$ :last_pull $$",
        "SELECT $tag$ :last_pull $tag$",
        "SELECT 1 -- :last_pull",
        "SELECT 1 /* :last_pull /* nested */ :last_pull */",
        "SELECT x::last_pull FROM t",
        "SELECT :last_pull_of_mine",
        "SELECT : last_pull",
        "SELECT :LAST_PULL",
        "SELECT ':until', \":until\", x::until, :until_now, : until, :Until -- :until",
    ],
)
def test_a_text_that_only_looks_like_one_stays(query: str) -> None:
    assert parse_sql(query, dialect="postgres").placeholders == 0
    assert numbered(query) == query


@pytest.mark.parametrize("query", ["SELECT 1; DROP TABLE t", "SELECT 1;;SELECT 2", ";SELECT 1"])
def test_a_second_statement_is_refused(query: str) -> None:
    with pytest.raises(QueryRejected, match="one statement"):
        numbered(query)


@pytest.mark.parametrize("query", ["", "  ", ";", "-- nothing", "/* nothing */"])
def test_an_empty_query_is_refused(query: str) -> None:
    with pytest.raises(QueryRejected, match="empty"):
        numbered(query)


@pytest.mark.parametrize("query", ["SELECT 'oops", 'SELECT "oops', "SELECT $$oops"])
def test_an_unclosed_quote_is_refused(query: str) -> None:
    with pytest.raises(QueryRejected, match="cannot be read as SQL"):
        numbered(query)


PIECES = st.sampled_from(
    ["a", " ", "'x :last_pull'", ":last_pull", ":until", "::last_pull", "-- :until\n", "=", '"q:until"', "(", ")", "\n"]
)


@given(st.lists(PIECES, min_size=1).map("".join))
def test_the_parts_are_the_query_less_its_placeholders(query: str) -> None:
    try:
        parsed = parse_sql(query, dialect="postgres")
    except QueryRejected:
        return
    assert parsed.text == query
    assert parsed.written([f":{name}" for name in parsed.names]) == query


@given(st.lists(PIECES, min_size=1).map("".join))
def test_what_is_around_a_placeholder_is_the_queries_text(query: str) -> None:
    try:
        parsed = parse_sql(query, dialect="postgres")
    except QueryRejected:
        return
    for name, (before, after) in zip(parsed.names, parsed.around(), strict=True):
        assert query.startswith(f"{before}:{name}{after}")


@pytest.mark.parametrize(
    "wrong", ["SELECT a, oops FROM t", "SELECT :last_pull, :until, :last_pull, oops", "SELECT :until, oops", "oops"]
)
def test_a_place_in_the_numbered_text_is_found_again_in_the_users(wrong: str) -> None:
    parsed = parse_sql(wrong, dialect="postgres")

    place = parsed.numbered().index("oops") + 1

    assert parsed.position_in_source(place) == wrong.index("oops") + 1


def test_a_place_behind_the_end_stays_there() -> None:
    parsed = parse_sql("SELECT :last_pull WHERE", dialect="postgres")

    assert parsed.position_in_source(len(parsed.numbered()) + 1) == len("SELECT :last_pull WHERE") + 1
