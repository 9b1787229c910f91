"""Cypher's tokens, where `:last_pull` stands among them, and the clauses that are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.sources.neo4j.query import parse_cypher, tokens

# Pieces that a tokenizer could misread, in any order.
_HIDING = ["'", '"', "`", "``", "\\", "\\'", "//", "/*", "*/", "\\u0027"]
_OTHER = [" ", "\n", "\x00", "§", "é", ";", ":", "::", "$", "{", "}", "..", "1..3", "1.5e3", "-->", "<-[:A|B]-", ">="]
FRAGMENTS = st.sampled_from([*_HIDING, *_OTHER, ":last_pull", "$last_pull", "n.set", "RETURN"])
HIDDEN = st.lists(st.sampled_from([*"abc .:$,(=\n", "é", " > :last_pull", "$last_pull", "CREATE (n)"])).map("".join)


@given(st.text() | st.lists(FRAGMENTS).map("".join))
def test_the_tokens_of_any_text_are_the_text(text: str) -> None:
    assert text == "".join(token.text for token in tokens(text))


@given(st.text() | st.lists(FRAGMENTS).map("".join))
def test_any_text_is_a_query_of_the_same_length_or_is_rejected(text: str) -> None:
    try:
        parsed = parse_cypher("RETURN " + text)
    except QueryRejected:
        return
    assert parsed.text.replace("$last_pull", ":last_pull") == ("RETURN " + text).replace("$last_pull", ":last_pull")


def _string(quote: str) -> st.SearchStrategy[str]:
    return HIDDEN.map(lambda text: f" = {quote}{text}\\{quote} > :last_pull{quote} AND n.x")


COMMENTS = HIDDEN.map(lambda text: f" /* {text} > :last_pull */ ") | HIDDEN.map(
    lambda text: f" // {text.replace(chr(10), ' ')} > :last_pull\n"
)
QUOTED = HIDDEN.map(lambda text: f" = n.`{text} `` > :last_pull` AND n.x")


@given(st.lists(st.tuples(_string("'") | _string('"') | COMMENTS | QUOTED, st.booleans())))
def test_last_pull_in_a_string_a_comment_or_a_quoted_name_is_never_rewritten(pieces: list[tuple[str, bool]]) -> None:
    query = expected = "MATCH (n) WHERE n.x"
    for hidden, with_placeholder in pieces:
        query += hidden + (" > :last_pull AND n.x" if with_placeholder else "")
        expected += hidden + (" > $last_pull AND n.x" if with_placeholder else "")

    parsed = parse_cypher(query + " = 1 RETURN n")

    assert expected + " = 1 RETURN n" == parsed.text
    assert any(with_placeholder for _, with_placeholder in pieces) == parsed.asked.last_pull


@pytest.mark.parametrize(
    "expression",
    [
        "n.updated_at > :last_pull",
        "n.updated_at>:last_pull",
        "n.updated_at >= /* the last */ :last_pull",
        "n.updated_at > datetime(:last_pull)",
        "localdatetime(:last_pull) < n.updated_at",
        "duration.between(:last_pull, n.updated_at).seconds > 0",
        "duration.between(n.updated_at, :last_pull).seconds < 0",
        "(:last_pull < n.updated_at)",
        "n.updated_at > (:last_pull - duration('PT1H'))",
        ":last_pull < n.updated_at",
        "n.x = 1 AND :last_pull < n.updated_at",
        "n.updated_at > datetime({datetime: :last_pull, timezone: 'Europe/Berlin'})",
        "CASE WHEN :last_pull < n.updated_at THEN true ELSE false END",
    ],
)
def test_last_pull_is_the_parameter_where_no_label_can_stand(expression: str) -> None:
    parsed = parse_cypher(f"MATCH (n) WHERE {expression} RETURN n")

    assert parsed.text == f"MATCH (n) WHERE {expression.replace(':last_pull', '$last_pull')} RETURN n"
    assert parsed.asked.last_pull


@pytest.mark.parametrize(
    "query",
    [
        "MATCH (:last_pull) RETURN 1 AS one",
        "MATCH(:last_pull) RETURN 1 AS one",
        "MATCH (n:last_pull) RETURN n",
        "MATCH (n :last_pull) RETURN n",
        "MATCH (n:last_pull|Other) RETURN n",
        "MATCH (n:Other|last_pull) RETURN n",
        "MATCH ()-[:last_pull]->() RETURN 1 AS one",
        "MATCH ()-[r:last_pull]->() RETURN r",
        "MATCH (n) WHERE n:last_pull RETURN n",
        "MATCH (n) WHERE (n)-[:A]->(:last_pull) RETURN n",
        "MATCH (n) WHERE EXISTS((n)-->(:last_pull)) RETURN n",
        "MATCH (n) WHERE (:last_pull)-->(n) RETURN n",
        "MATCH p = shortestPath((:last_pull)-[*]->(:Other)) RETURN p",
        "MATCH (n) RETURN n.updated_at AS last_pull",
        "MATCH (n) WHERE n.x > :last_pulled RETURN n",
        "MATCH (n) WHERE n.x > : last_pull RETURN n",
    ],
)
def test_last_pull_stays_a_label_or_a_type_where_one_can_stand(query: str) -> None:
    parsed = parse_cypher(query)

    assert parsed.text == query
    assert not parsed.asked.last_pull


@pytest.mark.parametrize("written", ["$last_pull", "$`last_pull`", "$ last_pull"])
def test_cyphers_own_parameter_is_taken_as_it_stands(written: str) -> None:
    query = f"MATCH (n) WHERE n.updated_at > {written} RETURN n"

    assert parse_cypher(query).text == query
    assert parse_cypher(query).asked.last_pull


@pytest.mark.parametrize(
    ("query", "clause"),
    [
        ("CREATE (n) RETURN n", "CREATE"),
        ("match (n) set n.x = 1 return n", "SET"),
        ("MATCH (n) DETACH DELETE n", "DETACH"),
        ("MATCH (n) NODETACH DELETE n", "NODETACH"),
        ("MATCH (n) DELETE n", "DELETE"),
        ("MATCH (n) REMOVE n.x RETURN n", "REMOVE"),
        ("MATCH (n) MERGE (n)-[:A]->(m) RETURN n", "MERGE"),
        ("MATCH (n) INSERT (m) RETURN m", "INSERT"),
        ("UNWIND [1] AS x FOREACH (y IN [x] | CREATE (n)) RETURN x", "FOREACH"),
        ("WITH 1 AS x LOAD/**/CSV FROM 'file:///etc/passwd' AS row RETURN row", "LOAD CSV"),
        ("WITH 1 AS AS WITH AS LOAD CSV FROM 'file:///etc/passwd' AS row RETURN row", "LOAD CSV"),
        ("RETURN '\\\\' + \"'\" AS x UNION CALL db.labels() YIELD label RETURN label AS x", "CALL"),
        ("MATCH (n) CALL { WITH n RETURN 1 AS x } IN TRANSACTIONS RETURN x", "CALL"),
        ("RETURN COLLECT { CALL db.labels() YIELD label RETURN label } AS x", "CALL"),
        ("RETURN 1 AS x UNION USE other RETURN 2 AS x", "USE"),
        ("USE other MATCH (n) RETURN n", "USE"),
        ("LOAD CSV FROM 'https://metadata/' AS row RETURN row", "LOAD"),
        ("DROP DATABASE neo4j", "DROP"),
        ("GRANT ROLE admin TO app", "GRANT"),
        ("SHOW USERS", "SHOW"),
        ("PROFILE MATCH (n) RETURN n", "PROFILE"),
        ("EXPLAIN MATCH (n) RETURN n", "EXPLAIN"),
    ],
)
def test_a_clause_that_does_more_than_match_and_return_is_named(query: str, clause: str) -> None:
    with pytest.raises(QueryRejected, match=rf"\b{clause}\b"):
        parse_cypher(query)


# A server accepts each of these. tests/sources/neo4j/test_reading.py asks one.
HARMLESS = [
    "MATCH (n) RETURN n.set AS x, n.create AS y, n . /**/ delete AS z",
    "RETURN {create: 1, `set`: 2, call: 3}.call AS x",
    "MATCH (n:Set|Call)-[r:CREATE|MERGE]->(:Load&!Remove) RETURN n {.set, .create, use: 1} AS x",
    "MATCH (call:Call) RETURN 1 AS x",
    "WITH 1 AS load RETURN load AS x",
    "RETURN 'CREATE (n) SET n.x = 1' AS x, \"it's\" AS y // DELETE n",
    "RETURN 1 AS `create` /* CALL db.labels() */",
    "OPTIONAL MATCH (n) WHERE EXISTS { MATCH (n)-->(m) WHERE m.x > 1 } RETURN n, COUNT { (n)-->() } AS x",
    "UNWIND [1, 2] AS x WITH x ORDER BY x SKIP 1 LIMIT 1 RETURN x UNION ALL RETURN 3 AS x;",
    "RETURN [1, 2, 3][0..2] AS x, 1.5 AS y, 0x1F AS z, 1e3 AS w",
    "WITH {b: 1} AS `a\\u0041` RETURN `aA`.b AS x, '\\u20ac' AS y",
    "MATCH (größe:Maß) RETURN größe.fläche AS x",
]


@pytest.mark.parametrize("query", HARMLESS)
def test_a_clauses_word_may_be_a_property_a_key_a_label_or_text(query: str) -> None:
    assert parse_cypher(query).text == query


@pytest.mark.parametrize("word", ["\\u0043ALL", "C\\u0041LL", "\\uu0043ALL"])
def test_a_clause_cannot_be_spelled_with_escapes(word: str) -> None:
    with pytest.raises(QueryRejected, match=r"U\+005C"):
        parse_cypher(f"MATCH (n) {word} db.labels() YIELD label RETURN label")


@pytest.mark.parametrize(
    "escaped", ["\\u0027", "\\u0022", "\\u005c", "\\u005C'", "\\u0060", "\\u000a", "\\u000D", "\\uu0027"]
)
@pytest.mark.parametrize(
    "query", ["RETURN '{}' AS x", "RETURN 1 AS x // {}", "RETURN 1 AS `{}`", "RETURN 1 /*{}*/ AS x"]
)
def test_an_escape_that_could_end_a_string_or_a_comment_is_rejected(query: str, escaped: str) -> None:
    with pytest.raises(QueryRejected):
        parse_cypher(query.format(escaped))


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "empty"),
        (" // nothing\n ;", "empty"),
        ("RETURN 'a", "not closed"),
        ("RETURN `a", "not closed"),
        ("RETURN 1 /* a", "not closed"),
        ("RETURN 1 AS x; MATCH (n) RETURN n", "one statement"),
        ("FROM items", "must begin with MATCH"),
        ("(n)", "must begin with MATCH"),
        ("MATCH (n) WHERE n.x > $since RETURN n", r"\$since at line 1, column 23"),
        ("RETURN 1\u180eAS x", r"U\+180E"),
        ("RETURN 1 AS x\x00", r"U\+0000"),
    ],
)
def test_a_query_that_cannot_be_one_says_why(query: str, sentence: str) -> None:
    with pytest.raises(QueryRejected, match=sentence):
        parse_cypher(query)


@pytest.mark.parametrize(
    "called",
    [
        "apoc.cypher.runFirstColumnSingle",
        "apoc . /* */ `cypher`.runFirstColumnMany",
        "`apoc.cypher`.runFirstColumn",
        "`ap\\u006fc`.`c\\uuu0079pher`.`run`",
        "APOC.Cypher.runFirstColumn",
    ],
)
def test_functions_that_execute_a_text_are_refused(called: str) -> None:
    with pytest.raises(QueryRejected, match=r"must not call apoc\.cypher"):
        parse_cypher(f"RETURN {called}(\"CALL db.createLabel('Made')\", {{}}) AS id")


def test_other_functions_of_apoc_may_be_called() -> None:
    parse_cypher("RETURN apoc.text.join(['apoc.cypher.', n.cypher], '') AS id")
