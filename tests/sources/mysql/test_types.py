"""docs/types/mysql.md, row by row, on both kinds of server."""

import json
import re

import pytest

from tests.servers import Server
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.mysql.server import execute
from tests.types_table import TypeRow, entity_data, type_rows

COLUMN = re.compile(r"column `(?P<type>.+)`, (?P<value>.+)")


def entity(server: Server, query: str) -> str:
    """The data of the one entity that the query gives."""
    (data,) = entity_data("mysql", MySQLHarness(server).config, query)
    return data


@pytest.mark.parametrize("row", type_rows("mysql"), ids=lambda row: f"{row.type}: {row.source}")
def test_a_type_becomes_what_its_documentation_says(row: TypeRow, mysql_server: Server) -> None:
    only = next((kind for kind in ("MySQL", "MariaDB") if f"({kind})" in row.type), None)
    if only is not None and (only == "MariaDB") != ("MariaDB" in mysql_server.version):
        pytest.skip(f"a type of {only}'s")
    query = f"SELECT {row.source} AS v"
    if column := COLUMN.fullmatch(row.source):
        execute(
            mysql_server.address,
            "SET SESSION sql_mode = '', SESSION time_zone = '+00:00'",
            "DROP TABLE IF EXISTS types",
            f"CREATE TABLE types (v {column['type']} NULL)",
            f"INSERT INTO types VALUES ({column['value']})",
        )
        query = "SELECT v FROM types"

    data = entity(mysql_server, query)

    assert data == f'{{"v":{row.entity}}}'
    json.loads(data)


def test_every_type_may_be_null(mysql_server: Server) -> None:
    numbers = ["int", "bigint unsigned", "decimal(5,2)", "float", "double", "bit(3)", "year"]
    kinds = [*numbers, "date", "datetime", "timestamp", "time", "text", "blob", "json", "enum('x')"]
    columns = {f"c{n}": f"{kind} NULL" for n, kind in enumerate(kinds)}
    declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    execute(
        mysql_server.address,
        "DROP TABLE IF EXISTS nulls",
        f"CREATE TABLE nulls ({declared})",
        "INSERT INTO nulls (c0) VALUES (NULL)",
    )

    data = json.loads(entity(mysql_server, "SELECT * FROM nulls"))

    assert data == dict.fromkeys(columns)
