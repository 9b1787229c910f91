"""A place in a query is shown in the user's own words, without what its literals say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.places import Words, last_names, line_and_column
from qanatix_pipelines.sources.neo4j.query import cypher_words
from qanatix_pipelines.sources.sql import parse_sql
from qanatix_pipelines.sources.sql import sql_words as words_of

QUERY = "SELECT id,\n  nme, 'secret' AS x, $$more$$\nFROM \"My table\" p /* secret */ WHERE p.a::int > :last_pull"


def sql_words(query: str, dialect: str) -> Words:
    return words_of(parse_sql(query, dialect), dialect)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("id", " at line 1, column 8, 'id' in \"SELECT id, nme, '...' AS x, '...' FROM …\""),
        ("nme", " at line 2, column 3, 'nme' in \"SELECT id, nme, '...' AS x, '...' FROM \"My table\" p …\""),
        (
            "'secret'",
            " at line 2, column 8, '...' in \"SELECT id, nme, '...' AS x, '...' FROM \"My table\" p WHERE p …\"",
        ),
        (":last", ' at line 3, column 49, \':last_pull\' in "… FROM "My table" p WHERE p.a::int > :last_pull"'),
        ("pull", ' at line 3, column 49, \':last_pull\' in "… FROM "My table" p WHERE p.a::int > :last_pull"'),
    ],
)
def test_a_place_in_sql(at: str, expected: str) -> None:
    assert sql_words(QUERY, "postgres").at(QUERY.index(at)) == expected


def test_a_place_behind_the_end() -> None:
    assert sql_words("SELECT 1 WHERE ", "postgres").at(99) == ' at its end, after "SELECT 1 WHERE"'


def test_mysqls_texts_in_double_quotes_are_not_shown() -> None:
    assert sql_words('SELECT "secret", x', "mysql").at(17) == " at line 1, column 18, 'x' in \"SELECT '...', x\""


def test_a_place_in_cypher() -> None:
    words = cypher_words("MATCH (n:X {a: 'secret'}) // secret\nRETURN m")

    assert words.at_line(2, 8) == " at line 2, column 8, 'm' in \"MATCH (n:X {a: '...'}) RETURN m\""
    assert (words.at_line(3, 1), words.at_line(1, 99), words.at_line(0, 1)) == ("", "", "")


def test_what_cannot_be_printed_is_not_shown_and_long_words_are_cut() -> None:
    assert cypher_words("RETURN `a\u202eb`").at(7).startswith(" at line 1, column 8, `a?b` in ")
    assert "x" * 64 + "…'" in sql_words("SELECT " + "x" * 99, "postgres").at(7)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["nothing", "ITEMS"], " at line 1, column 22, 'items' in"),
        (["Two words"], ' at line 1, column 29, "Two words" in'),
        (["x"], " at 'x'"),  # twice
        (["secret", "...", ""], ""),
    ],
)
def test_a_name_is_one_of_the_querys_own(said: list[str], expected: str) -> None:
    words = sql_words("SELECT 'secret' FROM items, \"Two words\" AS x WHERE x.y", "postgres")

    assert words.at_name(said).startswith(expected)
    assert bool(words.at_name(said)) == bool(expected)


def test_what_a_sentence_may_name_is_its_words_and_its_ends() -> None:
    assert last_names("permission denied for table Two words") == [
        *("words", "words", "Two", "Two words", "table", "table Two words"),
        *("for", "for table Two words", "denied", "denied for table Two words"),
        *("permission", "permission denied for table Two words"),
    ]


@given(st.text(alphabet="ab\n", max_size=30), st.integers(0, 30))
def test_a_line_and_a_column_lead_back(text: str, offset: int) -> None:
    offset = min(offset, len(text))
    line, column = line_and_column(text, offset)

    assert sum(len(part) + 1 for part in text.split("\n")[: line - 1]) + column - 1 == offset


@given(st.text(max_size=60), st.integers(-5, 99))
def test_any_place_of_any_query_is_told_without_a_fault(text: str, offset: int) -> None:
    words = cypher_words(text)

    assert isinstance(words, Words)
    assert words.at(offset).isprintable()
