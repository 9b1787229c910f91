"""What MySQL and MariaDB tell of a result's columns, and all that one row of theirs may hold."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import ResultUnusable
from qanatix_pipelines.pull import PullOutcome
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.rejections import Reason, Rejection
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.watermarks import Window
from tests.servers import Server, new_password
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.mysql.server import execute, parts
from tests.types_table import entity_data


def data(server: Server, query: str, config: dict[str, Any] | None = None) -> list[Any]:
    """The data of a query's entities, in the order of their ids."""
    return [json.loads(text) for text in entity_data("mysql", config or MySQLHarness(server).config, query)]


def value(server: Server, expression: str) -> Any:
    (row,) = data(server, f"SELECT {expression} AS v")
    return row["v"]


def of_mariadb(server: Server) -> bool:
    return "MariaDB" in server.version


# JSON


@pytest.fixture
def documents(mysql_server: Server) -> Server:
    """A table of JSON, a view of it, and one of the same names in another database that holds text."""
    execute(
        mysql_server.address,
        "DROP TABLE IF EXISTS docs",
        "CREATE TABLE docs (id int, d json)",
        """INSERT INTO docs VALUES (1, '{"a": [1, true]}')""",
        "CREATE OR REPLACE VIEW of_docs AS SELECT id, d FROM docs",
        "DROP DATABASE IF EXISTS other_db",
        "CREATE DATABASE other_db",
        "CREATE TABLE other_db.docs (id int, d varchar(20))",
        "INSERT INTO other_db.docs VALUES (1, '12345'), (2, 'true'), (3, 'null'), (4, '1e5')",
    )
    return mysql_server


def reader(server: Server, *rights: str) -> dict[str, Any]:
    password = new_password()
    execute(
        server.address,
        "DROP USER IF EXISTS reader@'%'",
        f"CREATE USER reader@'%' IDENTIFIED BY '{password}'",
        *(f"GRANT {right} TO reader@'%'" for right in rights),
    )
    return parts(server.address) | {"user": "reader", "password": password}


@pytest.mark.parametrize("text", ["12345", "true", "null", "1e5"])
def test_text_in_a_column_that_is_called_like_one_of_json_stays_text(documents: Server, text: str) -> None:
    config = reader(documents, "SELECT ON other_db.docs", "SELECT ON qanatix.docs")

    assert {"d": text} in data(documents, "SELECT d FROM other_db.docs", config)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT d FROM docs",
        "SELECT d AS document FROM docs",
        "SELECT d FROM of_docs",
        "SELECT d FROM docs UNION SELECT d FROM docs",
        "SELECT MAX(d) AS d FROM docs",
        "SELECT COALESCE(d, d) AS d FROM docs",
        "SELECT t.d FROM (SELECT DISTINCT d FROM docs) AS t",
        "WITH t AS (SELECT d FROM docs) SELECT d FROM t",
        "SELECT JSON_EXTRACT(d, '$') AS d FROM docs",
        "SELECT JSON_OBJECT('a', JSON_ARRAY(1, true)) AS d",
    ],
)
def test_json_is_json_wherever_it_comes_from_for_who_may_only_select(documents: Server, query: str) -> None:
    config = reader(documents, "SELECT ON qanatix.docs", "SELECT ON qanatix.of_docs")

    (row,) = data(documents, query, config)

    assert list(row.values()) == [{"a": [1, True]}]


@pytest.mark.parametrize(
    "expression", ["JSON_UNQUOTE('\"12\"')", "JSON_VALUE('{\"a\": \"12\"}', '$.a')", "JSON_QUOTE('12')"]
)
def test_text_that_a_function_takes_out_of_json_is_text(mysql_server: Server, expression: str) -> None:
    assert isinstance(value(mysql_server, expression), str)


def test_a_number_of_more_digits_than_python_reads_stays_a_number(mysql_server: Server) -> None:
    if not of_mariadb(mysql_server):
        pytest.skip("MySQL's own JSON keeps no such number")
    digits = "7" * 5000
    execute(
        mysql_server.address,
        "DROP TABLE IF EXISTS docs",
        "CREATE TABLE docs (d json)",
        f"INSERT INTO docs VALUES ('{digits}')",
    )

    (text,) = entity_data("mysql", MySQLHarness(mysql_server).config, "SELECT d FROM docs")

    assert text == f'{{"d":{digits}}}'


# BITs


@pytest.fixture
def bits(mysql_server: Server) -> Server:
    execute(
        mysql_server.address,
        "DROP TABLE IF EXISTS bits",
        "CREATE TABLE bits (id int, active bit(1), b8 bit(8), b64 bit(64))",
        "INSERT INTO bits VALUES (1, b'1', b'10000001', 0x8000000000000001)",
        "CREATE OR REPLACE VIEW of_bits AS SELECT id, active, b8, IFNULL(b8, b8) AS computed FROM bits",
    )
    return mysql_server


_OF_ACTIVE = [
    "active",
    "MAX(active)",
    "COALESCE(active, active)",
    "CASE WHEN true THEN active END",
    "IFNULL(active, active)",
    "IF(true, active, active)",
    "(SELECT active FROM bits)",
    "FIRST_VALUE(active) OVER ()",
]


@pytest.mark.parametrize("expression", _OF_ACTIVE)
def test_a_bit_that_is_true_is_1_however_it_is_computed(bits: Server, expression: str) -> None:
    assert data(bits, f"SELECT {expression} AS v FROM bits") == [{"v": 1}]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT b8 AS v FROM bits",
        "SELECT DISTINCT b8 AS v FROM bits",
        "SELECT b8 + 0 AS v FROM bits",
        "SELECT MAX(b8 + 0) AS v FROM bits",
        "SELECT b8 AS v FROM bits ORDER BY id",
        "SELECT b8 AS v FROM qanatix.bits AS b",
    ],
)
def test_a_tables_own_bits_and_numbers_made_of_them_are_read(bits: Server, query: str) -> None:
    assert data(bits, query) == [{"v": 129}]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT MAX(b8) AS v FROM bits",
        "SELECT COALESCE(b8, b8) AS v FROM bits",
        "SELECT (SELECT MAX(b8) FROM bits) AS v",
        "SELECT IF(true, b8, b8) AS v FROM bits",
        "SELECT computed AS v FROM of_bits",
        "SELECT v FROM (SELECT COALESCE(b8, b8) AS v FROM bits) AS t",
        "SELECT MAX(b64) AS v FROM bits",
    ],
)
def test_bits_that_may_be_digits_are_refused_with_what_to_write(bits: Server, query: str) -> None:
    try:
        found = data(bits, query)
    except ResultUnusable as refused:
        assert "'v'" in str(refused)  # noqa: PT017
        assert "+ 0" in str(refused)  # noqa: PT017
    else:
        # Where the server tells, they are read.
        assert found in ([{"v": 129}], [{"v": 2**63 + 1}])


@pytest.mark.parametrize("expression", ["COALESCE(b8, b'0')", "CASE WHEN true THEN b8 ELSE b'1' END"])
def test_what_the_server_makes_a_binary_string_of_is_one(bits: Server, expression: str) -> None:
    """Combined with a literal, which is a binary string, a BIT becomes one, too."""
    assert data(bits, f"SELECT {expression} AS v FROM bits") == [{"v": "gQ=="}]


# Names

ODD_NAMES = ["", "*", "^.*$", "^a", "a b", "{}", "c0", "c1", "$", 'q"q', "q`q", "%", "é€", "literal", "%s"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_column_may_be_called_anything(mysql_server: Server, name: str) -> None:
    quoted = name.replace("`", "``")
    column = f"'x' AS `{quoted}`" if name else "''"

    (row,) = data(mysql_server, f"SELECT 1 AS id, {column}, 2 AS z")

    assert row == {"id": 1, name: "x" if name else "", "z": 2}


def test_columns_of_odd_names_stand_beside_each_other(mysql_server: Server) -> None:
    names = [name for name in ODD_NAMES if name]
    columns = ", ".join(f"{place} AS `{name.replace('`', '``')}`" for place, name in enumerate(names))

    (row,) = data(mysql_server, f"SELECT {columns}, ''")

    assert row == {name: place for place, name in enumerate(names)} | {"": ""}


def test_a_name_of_polars_patterns_is_pulled(
    mysql_server: Server, register: Callable[..., Connector], pulled: Callable[[Connector], PullOutcome], store: Store
) -> None:
    outcome = pulled(register(MySQLHarness(mysql_server), "SELECT 1 AS id, '', 2 AS `*`, 3 AS `^.*$`"))

    assert outcome.receipt.records_ingested == 1
    (entity,), _ = store.entities.page(vertical="testing", entity_type="item", limit=10, cursor=None)
    assert json.loads(entity.data) == {"id": 1, "": "", "*": 2, "^.*$": 3}


# Keys: names have no case here


def test_the_key_and_the_name_are_found_whatever_their_case(
    mysql_server: Server, register: Callable[..., Connector], pulled: Callable[[Connector], PullOutcome], store: Store
) -> None:
    pulled(register(MySQLHarness(mysql_server), "SELECT 7 AS `ID`, 'n' AS `Name`"))

    (entity,), _ = store.entities.page(vertical="testing", entity_type="item", limit=10, cursor=None)
    assert (entity.source_id, entity.name) == ("7", "n")
    assert json.loads(entity.data) == {"ID": 7}


def test_columns_that_a_connector_names_are_found_whatever_their_case(
    mysql_server: Server, register: Callable[..., Connector], pulled: Callable[[Connector], PullOutcome], store: Store
) -> None:
    query = "SELECT 7 AS `Key`, 'n' AS `Title`, 5 AS `Seq` WHERE 5 > :last_pull"
    connector = register(MySQLHarness(mysql_server), query, id_column="key", name_column="TITLE", cursor_column="seq")

    pulled(connector)

    (entity,), _ = store.entities.page(vertical="testing", entity_type="item", limit=10, cursor=None)
    assert (entity.source_id, entity.name) == ("7", "n")
    assert store.connectors.get(connector.id).watermark == 5


def test_a_name_of_the_same_case_goes_first(mysql_server: Server) -> None:
    async def spelled() -> str:
        source = open_source("mysql", MySQLHarness(mysql_server).config)
        async with source.read("SELECT 1 AS `ID`, 2 AS `id`", window=Window(), batch_size=1) as reading:
            return reading.spelled("id")

    assert asyncio.run(spelled()) == "id"


# What a row may hold


def test_a_row_with_text_that_is_no_utf8_is_rejected_by_itself(
    mysql_server: Server,
    register: Callable[..., Connector],
    pulled: Callable[[Connector], PullOutcome],
    rejected: Callable[[Receipt], list[Rejection]],
) -> None:
    """Half of a surrogate pair, which UCS-2 can hold."""
    execute(
        mysql_server.address,
        "SET SESSION sql_mode = ''",
        "DROP TABLE IF EXISTS halves",
        "CREATE TABLE halves (id int, t varchar(9) CHARACTER SET ucs2)",
        "INSERT INTO halves VALUES (1, _ucs2 x'D800'), (2, 'sound')",
    )

    receipt = pulled(register(MySQLHarness(mysql_server), "SELECT id, t FROM halves")).receipt

    assert (receipt.records_ingested, receipt.records_rejected) == (1, 1)
    assert rejected(receipt) == [Rejection(1, "1", Reason.NOT_UTF8, "t")]


@pytest.mark.parametrize(
    ("declared", "written", "read"),
    [
        ("varchar(9) CHARACTER SET latin1", "x'E9'", "é"),
        ("varchar(9) CHARACTER SET utf8mb3", "'é€'", "é€"),
        ("varchar(9) CHARACTER SET utf16", "'😀'", "😀"),
        ("varchar(9) CHARACTER SET sjis", "'テ'", "テ"),
        ("datetime", "'0000-01-01'", "0000-01-01T00:00:00"),
        ("date", "'0000-00-00'", "0000-00-00"),
        ("time(6)", "'-838:59:59'", "-838:59:59.000000"),
        ("time", "'-00:00:01'", "-00:00:01"),
        ("double", "-0e0", -0.0),
        ("year", "0", 0),
        ("enum('x')", "'other'", ""),
        ("set('a', 'b')", "''", ""),
        ("decimal(5, 2)", "-0.001", 0.0),
        ("char(3)", "''", ""),
        ("text", "'a\\0b'", "a\0b"),
    ],
)
def test_an_odd_value_becomes_what_it_is(mysql_server: Server, declared: str, written: str, read: Any) -> None:
    execute(
        mysql_server.address,
        "SET NAMES utf8mb4",
        "SET SESSION sql_mode = ''",
        "DROP TABLE IF EXISTS odd",
        f"CREATE TABLE odd (v {declared})",
        f"INSERT INTO odd VALUES ({written})",
    )

    assert data(mysql_server, "SELECT v FROM odd") == [{"v": read}]


# Expressions that take a column of any type and give one of its values.
_COMPUTED = [
    "MAX({0})",
    "COALESCE({0}, {0})",
    "IF(true, {0}, {0})",
    "CASE WHEN true THEN {0} END",
    "(SELECT {0} FROM odd)",
    "GREATEST({0}, {0})",
    "NULLIF({0}, NULL)",
    "FIRST_VALUE({0}) OVER ()",
]


@pytest.mark.parametrize("computed", _COMPUTED)
@pytest.mark.parametrize(
    ("declared", "written", "read"),
    [
        ("enum('x', 'y')", "'y'", "y"),
        ("set('a', 'b')", "'a,b'", "a,b"),
        ("decimal(8, 2) zerofill", "12.5", 12.5),
        ("double(8, 2) zerofill", "12.5", 12.5),
        ("float zerofill", "12.5", 12.5),
        ("int zerofill", "7", 7),
        ("year", "2026", 2026),
        ("varbinary(3)", "x'00ff'", "AP8="),
        ("time(1)", "'-01:02:03.4'", "-01:02:03.4"),
        ("date", "'2026-01-02'", "2026-01-02"),
        ("bigint unsigned", "18446744073709551615", 2**64 - 1),
    ],
)
def test_a_value_is_the_same_however_it_is_computed(
    mysql_server: Server, declared: str, written: str, read: Any, computed: str
) -> None:
    execute(
        mysql_server.address,
        "DROP TABLE IF EXISTS odd",
        f"CREATE TABLE odd (v {declared})",
        f"INSERT INTO odd VALUES ({written})",
    )

    assert data(mysql_server, f"SELECT {computed.format('v')} AS v FROM odd") == [{"v": read}]


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_decimal_keeps_all_its_65_digits(mysql_server: Server, sign: str) -> None:
    digits = f"{sign}{'9' * 35}.{'8' * 29}7"

    (text,) = entity_data(
        "mysql", MySQLHarness(mysql_server).config, f"SELECT CAST('{digits}' AS DECIMAL(65, 30)) AS v"
    )

    assert text == f'{{"v":{digits}}}'


@pytest.mark.parametrize("depth", [30, 100])
def test_nested_json_is_kept(mysql_server: Server, depth: int) -> None:
    if of_mariadb(mysql_server) and depth > 30:
        pytest.skip("MariaDB takes JSON of up to 32 levels")
    nested = "[" * depth + "]" * depth

    (text,) = entity_data(
        "mysql",
        MySQLHarness(mysql_server).config,
        f"SELECT JSON_COMPACT('{nested}') AS v"
        if of_mariadb(mysql_server)
        else f"SELECT CAST('{nested}' AS JSON) AS v",
    )

    assert text == f'{{"v":{nested}}}'


def test_text_of_json_that_no_reader_could_read_rejects_its_row_alone(
    mysql_server: Server,
    register: Callable[..., Connector],
    pulled: Callable[[Connector], PullOutcome],
    rejected: Callable[[Receipt], list[Rejection]],
) -> None:
    if not of_mariadb(mysql_server):
        pytest.skip("MySQL's own JSON holds none")
    nested = "[" * 60_000 + "]" * 60_000
    execute(
        mysql_server.address,
        "SET SESSION check_constraint_checks = 0",
        "DROP TABLE IF EXISTS docs",
        "CREATE TABLE docs (id int, d json)",
        f"INSERT INTO docs VALUES (1, '{nested}'), (2, '[]')",
    )

    outcome = pulled(register(MySQLHarness(mysql_server), "SELECT id, d FROM docs"))

    assert (outcome.receipt.records_ingested, outcome.receipt.records_rejected) == (1, 1)
    assert [rejection.reason for rejection in rejected(outcome.receipt)] == [Reason.NOT_JSON]
