"""Columns of any type are read: the server describes what a query returns, and the driver never decodes it."""

import json

import psycopg
import pytest

from qanatix_pipelines.errors import QueryRejected, ResultUnusable
from tests.servers import Server
from tests.sources.postgresql import server as postgresql
from tests.types_table import entity_data

OWN = """
CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE address AS (street text, code citext);
CREATE TYPE person AS (name citext, home address, moods mood[], traits hstore);
CREATE DOMAIN somebody AS person CHECK ((value).name IS NOT NULL);
CREATE DOMAIN few AS int[] CHECK (array_length(value, 1) < 4);
CREATE DOMAIN code AS citext;
CREATE TYPE moods AS RANGE (subtype = mood, multirange_type_name = several_moods);
CREATE SCHEMA hidden; CREATE TYPE hidden.pair AS (n int, c citext);
CREATE TABLE people (id int, who person, codes code[]);
INSERT INTO people VALUES (1, ROW('Ann', ROW('Hill', 'X1'), '{happy}', 'a=>1'), '{A,b}');
"""
BASE = """
CREATE TYPE own;
CREATE FUNCTION own_in(cstring) RETURNS own LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION own_out(own) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE own (INPUT = own_in, OUTPUT = own_out, LIKE = text);
"""
ANN = '{"name":"Ann","home":{"street":"Hill","code":"X1"},"moods":["happy"],"traits":{"a": "1"}}'


@pytest.fixture
def database_with_types(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(OWN)
    with psycopg.connect(postgresql.superuser(database), autocommit=True) as connection:
        connection.execute(BASE)
    return database


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'Ab'::citext", '"Ab"'),
        ("ROW('Hill', 'X1')::address", '{"street":"Hill","code":"X1"}'),
        ("(SELECT who FROM people)", ANN),
        ("(SELECT who::somebody FROM people)", ANN),
        ("(SELECT ARRAY[who, NULL] FROM people)", f"[{ANN},null]"),
        ("(SELECT ARRAY[who::somebody] FROM people)", f"[{ANN}]"),
        ("(SELECT p FROM people p)", f'{{"id":1,"who":{ANN},"codes":["A","b"]}}'),
        ("(SELECT ARRAY[p] FROM people p)", f'[{{"id":1,"who":{ANN},"codes":["A","b"]}}]'),
        ("'{1,2}'::few", "[1,2]"),
        ("ARRAY['{1,2}'::few]", "[[1,2]]"),
        ("'Ab'::code", '"Ab"'),
        ("ARRAY['Ab'::code]", '["Ab"]'),
        ("ARRAY['happy'::mood]", '["happy"]'),
        ("'[sad,happy]'::moods", '"[sad,happy]"'),
        ("'{[sad,sad]}'::several_moods", '"{[sad,sad]}"'),
        ("ARRAY['[sad,happy]'::moods]", '["[sad,happy]"]'),
        ("ROW(1, 'Ab'::citext)", '{"f1":1,"f2":"Ab"}'),
        ("ARRAY[ROW(1, 'a'), ROW(2, 'b')]", '[{"f1":1,"f2":"a"},{"f1":2,"f2":"b"}]'),
        ("ROW(1, 'Ab')::hidden.pair", '{"n":1,"c":"Ab"}'),
        ("ARRAY[ROW(1, 'Ab')::hidden.pair]", '[{"n":1,"c":"Ab"}]'),
        ("'a.b'::ltree", '"a.b"'),
        ("ARRAY['a.b'::ltree]", '["a.b"]'),
        ("'a=>1'::hstore", '"\\"a\\"=>\\"1\\""'),
        ("'x'::own", '"x"'),
        ("ARRAY['x'::own]", '["x"]'),
        ("ROW('x'::own)", '{"f1":"x"}'),
        ("'x'", '"x"'),
        ("pg_sleep(0)", '""'),
        ("'pg_class'::regclass", '"pg_class"'),
        ("'now'::regproc", '"now"'),
        ("'int'::regtype", '"integer"'),
        ("'1 2'::int2vector", '"1 2"'),
        ("'1 2'::oidvector", '"1 2"'),
        ("'c'::\"char\"", '"c"'),
        ("'7'::xid8", '"7"'),
        ("'(0,1)'::tid", '"(0,1)"'),
        ("'x'::cstring", '"x"'),
        ("array_in('{1,2}', 23, -1)", "[1,2]"),
        ("ARRAY['app=r/app'::aclitem]", '["app=r/app"]'),
    ],
)
def test_a_value_of_any_type_is_what_postgresql_makes_of_it(
    database_with_types: str, expression: str, expected: str
) -> None:
    assert entity_data("postgresql", {"dsn": database_with_types}, f"SELECT {expression} AS v") == [
        f'{{"v":{expected}}}'
    ]


def test_a_column_of_arrays_of_any_kind_is_read(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE counted AS SELECT n % 2 AS n, 'x' || n % 2 AS t FROM generate_series(1, 100) n"
        )
        connection.execute("ANALYZE counted")

    query = "SELECT attname, most_common_vals FROM pg_stats WHERE tablename = 'counted' ORDER BY attname"
    rows = [json.loads(text) for text in entity_data("postgresql", {"dsn": database}, query)]

    assert [sorted(row["most_common_vals"]) for row in rows] == [[0, 1], ["x0", "x1"]]


@pytest.mark.parametrize("newest", [False, True], ids=["the system's", "the newest"])
def test_each_type_that_a_server_has_is_read_where_the_server_takes_it(
    *, newest: bool, postgresql_server: Server
) -> None:
    """A type that the server does not take is told as a rejected query, with the place."""
    server = postgresql.start(wheel_only=True) if newest else postgresql_server
    try:
        with psycopg.connect(server.address, autocommit=True) as connection:
            listed = connection.execute(
                "SELECT format_type(oid, NULL) FROM pg_type "
                "WHERE typtype <> 'c' OR typnamespace <> 'pg_catalog'::regnamespace"
            )
            taken = [name for (name,) in listed.fetchall() if _is_taken(connection, name)]
        columns = ", ".join(f"NULL::{name} AS c{place}" for place, name in enumerate(taken))

        (text,) = entity_data("postgresql", {"dsn": server.address}, f"SELECT {columns}")
    finally:
        if newest:
            server.stop()

    assert len(taken) > 100
    assert set(json.loads(text).values()) == {None}


def _is_taken(connection: psycopg.Connection[tuple[object, ...]], name: str) -> bool:
    try:
        connection.execute(f"SELECT NULL::{name}".encode())
    except psycopg.Error:
        return False
    return True


@pytest.mark.parametrize("row", [False, True], ids=["columns", "rows"])
def test_each_catalog_of_a_server_is_read(postgresql_server: Server, *, row: bool) -> None:
    """Such a view holds values of types that occur nowhere else."""
    with psycopg.connect(postgresql_server.address) as connection:
        listed = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace = "
            "'pg_catalog'::regnamespace AND has_table_privilege(oid, 'SELECT') ORDER BY 1"
        ).fetchall()
    for (name,) in listed:
        assert isinstance(
            entity_data(
                "postgresql",
                {"dsn": postgresql_server.address},
                f"SELECT {'t' if row else '*'} FROM {name} t LIMIT 5",
            ),
            list,
        )


def rows_of(database: str, query: str) -> list[str]:
    return entity_data("postgresql", {"dsn": database}, query)


@pytest.mark.parametrize("number", ["1" + 131_071 * "0", "0." + 16_382 * "1" + "9"], ids=["before", "behind the point"])
@pytest.mark.parametrize("form", ["{}", "ARRAY[{}]", "ROW({})", "to_json({})", "to_jsonb({})"])
def test_the_longest_numbers_keep_all_their_digits(database: str, number: str, form: str) -> None:
    head, digit, length = number[:-1].rstrip(number[-2]), number[-2], len(number)
    written = f"('{head}' || repeat('{digit}', {length - len(head) - 1}) || '{number[-1]}')::numeric"

    (text,) = rows_of(database, f"SELECT {form.format(written)} AS n")

    assert number in text


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (r"""'{"a":"\u0000"}'::json""", r'{"a":"\u0000"}'),
        (r"""'{"a":"\ud800"}'::json""", r'{"a":"\ud800"}'),
        ("""'{"a":1,"a":2}'::json""", '{"a":1,"a":2}'),
        ("'1e400'::json", "1e400"),
        ("'-infinity'::date", '"-infinity"'),
        ("ARRAY['infinity'::timestamptz]", '["infinity"]'),
        ("ROW('-infinity'::timestamp)", '{"f1":"-infinity"}'),
        ("'294276-12-31 23:59:59.999999'::timestamp", '"294276-12-31T23:59:59.999999"'),
        ("'24:00'::time", '"24:00:00"'),
        ("'[0:1]={1,2}'::int[]", "[1,2]"),
        ("'[2:3][-1:0]={{1,2},{3,4}}'::int[]", "[[1,2],[3,4]]"),
        ("'{}'::int[]", "[]"),
        ("ROW()", "{}"),
        ("NULL::record", "null"),
        ("''::char(3)", '"   "'),
        ("'1e-320'::float8", "1e-320"),
        (r"E'\u0001\u007f\ufffe'", '"\\u0001\x7f\ufffe"'),
    ],
)
def test_an_odd_value_is_read_as_it_is(database: str, expression: str, expected: str) -> None:
    assert rows_of(database, f"SELECT {expression} AS v") == [f'{{"v":{expected}}}']


@pytest.mark.parametrize("nested", ["repeat('[', 6000) || repeat(']', 6000)"])
def test_json_that_is_nested_too_deeply_is_its_rows_fault(database: str, nested: str) -> None:
    query = f"SELECT n AS id, CASE n WHEN 2 THEN ({nested})::json END AS doc FROM generate_series(1, 3) n"

    assert rows_of(database, query) == ['{"doc":null,"id":1}', '{"doc":null,"id":3}']


@pytest.mark.parametrize("value", ["1", "'x'", "now()"])
def test_as_many_columns_as_postgresql_has_are_read(database: str, value: str) -> None:
    columns = ", ".join(f"{value} AS c{place}" for place in range(1664))

    (text,) = rows_of(database, f"SELECT {columns}")

    assert len(json.loads(text)) == 1664


def test_columns_of_any_name_are_read(database: str) -> None:
    names = ["*", "^.*$", "?column?", "{0}", "%s", "$1", "a\\b", "é", "\n", " ", "q", "c1", "n" * 63]
    columns = ", ".join(f'{place} AS "{name}"' for place, name in enumerate(names))

    (text,) = rows_of(database, f"SELECT {columns}")

    assert json.loads(text) == {name: place for place, name in enumerate(names)}


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("SELECT FROM pg_class", "returns no columns"),
        ("SELECT 1, 2", r"more than one column called '\?column\?'"),
        ("SELECT 1 AS a, 2 AS a WHERE now() > :last_pull", "more than one column called 'a'"),
        (f"SELECT 1 AS {'n' * 64}, 2 AS {'n' * 65}", "more than one column called 'nnn"),
    ],
)
def test_columns_that_cannot_be_told_apart_are_told(database: str, query: str, sentence: str) -> None:
    with pytest.raises((QueryRejected, ResultUnusable), match=sentence):
        rows_of(database, query)
