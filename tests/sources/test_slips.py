"""A placeholder of another tool is refused when a connector is registered; what only resembles one is not."""

import pytest

from qanatix_pipelines.errors import InvalidConnector
from qanatix_pipelines.sources import check_query

SLIPS = [
    *(":updated_since", ":LAST_PULL", ": last_pull", "%(last_pull)s", "%s", "?", "{{ last_pull }}", "{last_pull}"),
    *("${last_pull}", "':last_pull'", "'{{ last_pull }}'", "'%(last_pull)s'", "'${last_pull}'", "':last_pull'::text"),
]
IN_SQL = ["updated_at > {}", "updated_at>{}", "updated_at BETWEEN {} AND now()", "x IN (1, {})", "coalesce({}, 1) < x"]


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize("place", IN_SQL)
@pytest.mark.parametrize("connector_type", ["postgresql", "mysql"])
def test_a_slip_in_sql_is_refused_with_what_to_write(connector_type: str, place: str, slip: str) -> None:
    with pytest.raises(InvalidConnector, match=r"(?s)write :last_pull") as refused:
        check_query(connector_type, "SELECT id FROM items\nWHERE " + place.format(slip))

    assert refused.value.field == ("query",)


@pytest.mark.parametrize(
    "slip",
    [":Until", ": until", "%(until)s", "{{ until }}", "{until}", "${until}", "':until'", "':UNTIL'::text", "$until"],
)
@pytest.mark.parametrize("connector_type", ["postgresql", "mysql", "sqlite"])
def test_a_slip_for_the_end_of_a_window_is_refused_with_what_to_write(connector_type: str, slip: str) -> None:
    with pytest.raises(InvalidConnector, match=r"write :(until|last_pull, or :until), without quotes"):
        check_query(connector_type, f"SELECT id FROM items WHERE updated_at <= {slip}")


@pytest.mark.parametrize("connector_type", ["postgresql", "mysql", "sqlite"])
def test_a_text_that_mentions_until_is_one(connector_type: str) -> None:
    check_query(connector_type, "SELECT until, 'until: x', 'until' FROM t WHERE x LIKE '%until%' AND y <= :until")


@pytest.mark.parametrize(
    ("connector_type", "query", "expected"),
    [
        (
            "postgresql",
            "SELECT id FROM items\nWHERE updated_at > :updated_since",
            "The query has :updated_since at line 2, column 20, which is no placeholder: write :last_pull, without",
        ),
        ("postgresql", "SELECT 1 LIMIT :n", "The query has :n at line 1, column 16"),
        ("postgresql", "SELECT 1 WHERE x > :'last_pull'", "The query has :'...' at line 1, column 20"),
        ("postgresql", 'SELECT 1 WHERE x > ":last_pull"', "The query has :last_pull in quotes at line 1, column 20"),
        ("postgresql", "SELECT 1 WHERE x > $last_pull", "The query has $last_pull at line 1, column 20"),
        ("postgresql", "SELECT 1\nWHERE x > ${last_pull}", "The query has ${last_pull} at line 2, column 11"),
        (
            "postgresql",
            "SELECT 1 WHERE x > $1",
            "The query has $1 at line 1, column 20, which is no placeholder: write",
        ),
        ("neo4j", "MATCH (n) WHERE n.x > $since RETURN n", "The query has $since at line 1, column 23"),
        ("mysql", "SELECT 1 WHERE x > $last_pull", "The query has $last_pull at"),
        ("mysql", "SELECT 1 WHERE x > @last_pull", "The query has @last_pull at"),
        ("mysql", 'SELECT 1 WHERE x > ":last_pull"', "The query has :last_pull in quotes at"),
    ],
)
def test_it_is_told_where_it_stands(connector_type: str, query: str, expected: str) -> None:
    with pytest.raises(InvalidConnector) as refused:
        check_query(connector_type, query)

    assert expected in str(refused.value)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a[1:n], a[:n], a[n:], x::text FROM t WHERE u > :last_pull",
        "SELECT 1 FROM t WHERE b ? 'x' AND c ?| d AND c ?& d AND e @? '$.a' AND j @> '{\"a\": 1}'",
        "SELECT json_object('a' : b, c : d, 'k':v)",
        "SELECT ?- lseg '((0,0),(1,1))', ?| lseg '((0,0),(1,1))'",
        "SELECT 10 % s, 10 %(s), 'a' LIKE '%s'",
        "SELECT 'see :last_pull docs', '{{ last_pull }}/x' FROM t WHERE sku LIKE ':last_pull%'",
        "SELECT substring(x FOR share), overlay(a PLACING b FROM 1 FOR update), 'FOR UPDATE', t.share FROM t share",
        "SELECT ':warning:', 'http://host:80', '{{ name }}', 'why?', '12:30', 'x :y'",
        "SELECT $$ :x $$, $t$ ? $t$, E'\\' :y'",
        "SELECT x -- ? :x\n/* :y {{ z }} */",
        'SELECT ":x", "a?" FROM t',
        "SELECT now() > :last_pull::timestamptz - interval '1 day', (:last_pull)",
        "SELECT f(a := 1, b => 2)",
        "WITH x AS (SELECT 1) SELECT delete FROM x",
        "WITH x AS (SELECT count(*) update FROM t) SELECT * FROM x",
    ],
)
def test_what_is_postgresqls_own_is_let_be(query: str) -> None:
    check_query("postgresql", query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT @a := 1, @a, (@row := @row + 1) AS id",
        "SELECT {d '2020-01-01'}, {fn NOW()}, $x, `:x`, `a?`",
        "SELECT 1 % s, 10 %(s) FROM t WHERE u > :last_pull AND x LIKE '%s'",
        "SELECT \":warning:\", 'why?' # :x ?\n",
        "WITH x AS (SELECT 1) SELECT INSERT('abc', 1, 1, 'x'), REPLACE('a', 'b', 'c') FROM x",
    ],
)
def test_what_is_mysqls_own_is_let_be(query: str) -> None:
    check_query("mysql", query)


@pytest.mark.parametrize(
    "slip", [":updated_since", "%(last_pull)s", "?", "{{ last_pull }}", "{last_pull}", "':last_pull'"]
)
def test_a_slip_in_cypher_is_refused_with_what_to_write(slip: str) -> None:
    with pytest.raises(InvalidConnector, match="write :last_pull, without quotes"):
        check_query("neo4j", f"MATCH (n:Item) WHERE n.updated_at > {slip} RETURN n")


@pytest.mark.parametrize("parameter", ["$updated_since", "$last_pul"])
def test_another_parameter_in_cypher_is_refused(parameter: str) -> None:
    with pytest.raises(InvalidConnector, match=r"nothing binds it: write \$last_pull for .*, or \$until for"):
        check_query("neo4j", f"MATCH (n:Item) WHERE n.updated_at > {parameter} RETURN n")


@pytest.mark.parametrize(
    "query",
    [
        "MATCH (:A)-[:B]->(c:C), (:D) WHERE c.x > :last_pull AND c:C RETURN {a: 1}, c {.x, y: 1}, 5 % c.s",
        "MATCH (n:last_pull) RETURN n",
        "MATCH (n)-[:A|B*1..2]->() WHERE n.x IS :: INTEGER RETURN [x IN n.c WHERE x > 1 | x]",
        "MATCH (a)-[:R]->{2}(b) WHERE exists {(:A)} RETURN a",
        "MATCH p = shortestPath((:A)-[*]-(:B)) RETURN p",
        "MATCH (n) WHERE n.x = ':warning:' RETURN n // :x ?",
    ],
)
def test_what_is_cyphers_own_is_let_be(query: str) -> None:
    check_query("neo4j", query)


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ('{"at": {"$gt": ":last_pul"}}', r"at at.\$gt"),
        ('{"at": {"$gt": ":updated_since"}}', r"at at.\$gt"),
        ('{"filter": {"at": {"$gte": "{{ since }}"}}}', r"at filter.at.\$gte"),
        ('{"at": {"$gt": "$last_pull"}}', r"at at.\$gt"),
        ('{"at": "${last_pull}"}', "at at"),
        ('{"$expr": {"$gt": ["$at", ":lastPull"]}}', r"at \$expr.\$gt"),
        ('{"at": {"$gt": {"$date": ":last_pull"}}}', r"within \$date: write it alone"),
        ('{"at": {"$gt": {"$date": "{{ since }}"}}}', r"at at.\$gt.\$date"),
    ],
)
def test_a_slip_in_a_filter_is_refused_with_where(query: str, where: str) -> None:
    with pytest.raises(InvalidConnector, match=where) as refused:
        check_query("mongodb", query)

    assert '":last_pull"' in str(refused.value)


@pytest.mark.parametrize(
    "query",
    [
        '{"at": {"$gt": ":last_pull"}}',
        '{"mood": ":smile", "tags": {"$in": [":a", "<b>", "{c}"]}}',
        '{"$expr": {"$gt": ["$at", "$last_pull"]}}',
        '{"path": {"$gt": "/a:b"}, "price": "$5"}',
        '{"at": {"$gt": {"$date": "2026-03-07T12:00:00Z"}}}',
    ],
)
def test_what_is_a_text_in_a_filter_is_let_be(query: str) -> None:
    check_query("mongodb", query)


@pytest.mark.parametrize("connector_type", ["postgresql", "mysql"])
@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("WITH gone AS (DELETE FROM items RETURNING *) SELECT * FROM gone", "DELETE at line 1, column 15"),
        (
            "WITH a AS (SELECT 1), b AS (\n  INSERT INTO items VALUES (1) RETURNING *) TABLE b",
            "INSERT at line 2, column 3",
        ),
        ("WITH a AS MATERIALIZED (UPDATE items SET id = 1 RETURNING *) SELECT 1", "UPDATE at line 1"),
        ("WITH a AS (MERGE INTO items USING x ON true WHEN MATCHED THEN DELETE) SELECT 1", "MERGE at line 1"),
        ("WITH a AS (SELECT 1) DELETE FROM items", "DELETE at line 1, column 22"),
        ("DELETE FROM items", "begins with DELETE: a pull only reads"),
        ("EXPLAIN SELECT 1", "begins with EXPLAIN"),
    ],
)
def test_a_query_that_would_write_is_told_that_it_must_only_read(connector_type: str, query: str, word: str) -> None:
    with pytest.raises(InvalidConnector, match=r"must only read|a pull only reads") as refused:
        check_query(connector_type, query)

    assert word in str(refused.value)


@pytest.mark.parametrize("lock", ["UPDATE", "SHARE", "NO KEY UPDATE OF t", "KEY SHARE", "update SKIP LOCKED"])
@pytest.mark.parametrize("query", ["SELECT 1 FROM t\n  FOR {}", "SELECT * FROM (SELECT 1\n  FOR {}) AS x"])
def test_a_query_that_would_lock_rows_is_told_where(query: str, lock: str) -> None:
    with pytest.raises(InvalidConnector, match="must not lock rows, as it does at line 2, column 3: leave FOR UPDATE"):
        check_query("postgresql", query.format(lock))


@pytest.mark.parametrize(
    ("query", "key", "advice"),
    [
        ('{"limit": 5}', "limit", "leave it out"),
        ('{"updated_at": {"$gt": ":last_pull"}, "limit": 5}', "limit", "leave it out"),
        ('{"a": 1, "limit": {"$numberInt": "5"}}', "limit", "leave it out"),
        ('{"a": 1, "skip": 5}', "skip", "leave it out"),
        ('{"a": 1, "hint": {"a": 1}}', "hint", "leave it out"),
        ('{"a": 1, "hint": "a_1"}', "hint", "leave it out"),
        ('{"a": 1, "collation": {"locale": "de"}}', "collation", "leave it out"),
        ('{"query": {"a": 1}}', "query", 'written {"filter"'),
        ('{"aggregate": "c", "pipeline": []}', "aggregate", "write the filter alone"),
        ('{"pipeline": [{"$match": {"a": 1}}]}', "pipeline", "write the filter alone"),
        ('{"find": "orders"}', "find", "named in connection_config"),
    ],
)
def test_an_option_where_a_filter_should_be_is_refused_with_what_to_write(query: str, key: str, advice: str) -> None:
    with pytest.raises(InvalidConnector, match=f"has the key {key}") as refused:
        check_query("mongodb", query)

    assert advice in str(refused.value)
    assert f'A filter on a field called {key} is written {{"filter": {{"{key}": ...}}}}.' in str(refused.value)


def test_an_option_beside_a_filter_is_told_as_itself() -> None:
    with pytest.raises(InvalidConnector) as refused:
        check_query("mongodb", '{"filter": {}, "limit": 5}')

    assert (
        'A pull has no limit: leave it out. A filter on a field called limit is written {"filter": {"limit": ...}}.'
        in str(refused.value)
    )


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ('{"updated_at": {"gt": ":last_pull"}}', "updated_at"),
        ('{"filter": {"updated_at": {"gt": ":last_pull", "lt": 5}}}', "filter.updated_at"),
        ('{"$and": [{"a": {"gt": ":last_pull"}}]}', "$and.a"),
    ],
)
def test_an_operator_without_its_dollar_is_told(query: str, place: str) -> None:
    with pytest.raises(InvalidConnector) as refused:
        check_query("mongodb", query)

    assert f'has gt at {place}.gt, where it would be a field\'s name: write the operator "$gt".' in str(refused.value)


def test_last_pull_without_quotes_in_a_filter_is_told() -> None:
    with pytest.raises(InvalidConnector, match="`:last_pull` goes in quotes here"):
        check_query("mongodb", '{"updated_at": {"$gt": :last_pull}}')


@pytest.mark.parametrize(
    "query",
    [
        '{"limit": {"$gt": 5}, "query": "x", "find": 1, "pipeline": "main", "hint": "see there", "collation": "de"}',
        '{"filter": {"limit": 5, "find": "x"}}',
        '{"gt": ":last_pull", "range": {"gt": 5}, "a.gt": ":last_pull", "seen": {"gt": ":last_pull", "by": 1}}',
        '{"tags": {"$elemMatch": {"gt": ":last_pull"}}}',
    ],
)
def test_fields_that_are_called_like_options_or_operators_are_let_be(query: str) -> None:
    check_query("mongodb", query)


def test_a_select_that_would_make_a_table_is_told_so() -> None:
    with pytest.raises(InvalidConnector, match=r"SELECT \.\.\. INTO would write a table"):
        check_query("postgresql", "SELECT * INTO copied FROM items")


@pytest.mark.parametrize("query", ["'postgresql://reader:secret@db/shop'", "($$secret$$)", "('secret')"])
def test_a_text_in_the_place_of_a_query_is_not_repeated(query: str) -> None:
    with pytest.raises(InvalidConnector, match=r"begins with '\.\.\.'") as refused:
        check_query("postgresql", query)

    assert "secret" not in str(refused.value)


def test_a_column_may_be_called_into() -> None:
    check_query("postgresql", "SELECT 1 AS into, t.into FROM t")
