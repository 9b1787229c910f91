"""docs/types/sqlite.md, row by row."""

import json
import re

import pytest

from tests.conftest import server
from tests.sources.sqlite.harness import SQLiteHarness
from tests.sources.sqlite.server import execute
from tests.types_table import TypeRow, entity_data, type_rows

COLUMN = re.compile(r"column `(?P<type>.*)`, (?P<value>.+)")


@pytest.fixture
def files_harness() -> SQLiteHarness:
    harness = SQLiteHarness(server("sqlite"))
    harness.fill(0)
    return harness


def entities(harness: SQLiteHarness, query: str) -> list[str]:
    return entity_data("sqlite", harness.config, query, **harness.allowed)


@pytest.mark.parametrize("row", type_rows("sqlite"), ids=lambda row: f"{row.type}: {row.source}")
def test_a_type_becomes_what_its_documentation_says(row: TypeRow, files_harness: SQLiteHarness) -> None:
    query = f"SELECT {row.source} AS v"
    if column := COLUMN.fullmatch(row.source):
        execute(
            files_harness.path,
            "DROP TABLE IF EXISTS types",
            f"CREATE TABLE types (v {column['type']})",
            f"INSERT INTO types VALUES ({column['value']})",
        )
        query = "SELECT v FROM types"

    (data,) = entities(files_harness, query)

    assert data == f'{{"v":{row.entity}}}'
    json.loads(data)


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_text_of_a_database_in_utf_16_is_the_same(files_harness: SQLiteHarness, encoding: str) -> None:
    path = files_harness.path.with_name(f"{encoding}.db")
    execute(path, f"PRAGMA encoding = '{encoding}'", "CREATE TABLE texts (v)", "INSERT INTO texts VALUES ('é😀')")

    assert entity_data("sqlite", {"path": str(path)}, "SELECT v FROM texts", **files_harness.allowed) == ['{"v":"é😀"}']


def test_values_of_every_type_may_stand_in_one_column(files_harness: SQLiteHarness) -> None:
    query = "SELECT column1 AS v FROM (VALUES (1), (1.5), ('1'), (x'31'), (NULL))"

    assert entities(files_harness, query) == ['{"v":1}', '{"v":1.5}', '{"v":"1"}', '{"v":"MQ=="}', '{"v":null}']
