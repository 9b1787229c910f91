"""PostgreSQL's types become what `docs/types/postgresql.md` says, digit for digit."""

from collections.abc import Callable

import psycopg
import pytest

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.pull import PullOutcome
from qanatix_pipelines.store.opening import Store
from tests.conftest import server
from tests.sources.harness import Harness
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.types_table import TypeRow, type_rows

ROWS = type_rows("postgresql")
OWN_TYPES = """
DROP TYPE IF EXISTS mood, pair; DROP DOMAIN IF EXISTS positive;
CREATE TYPE mood AS ENUM ('happy'); CREATE TYPE pair AS (n int, t text);
CREATE DOMAIN positive AS int CHECK (value > 0);
"""


@pytest.fixture
def harness() -> Harness:
    running = server("postgresql")
    with psycopg.connect(running.address) as connection:
        connection.execute(OWN_TYPES)
    return PostgreSQLHarness(running)


def test_every_type_becomes_what_the_table_says(
    harness: Harness,
    register: Callable[..., Connector],
    pulled: Callable[[Connector], PullOutcome],
    store: Store,
) -> None:
    """All rows of the table at once: one query, one pull, one entity."""
    columns = ", ".join(f"{row.source} AS c{number:02}" for number, row in enumerate(ROWS))
    nulls = ", ".join(f"NULL::{_type(row)} AS n{number:02}" for number, row in enumerate(ROWS) if _type(row))

    pulled(register(harness, f"SELECT {columns}, {nulls}"))

    (entity,), _ = store.entities.page(vertical="testing", entity_type="item", limit=2, cursor=None)
    expected = [f'"c{number:02}":{row.entity}' for number, row in enumerate(ROWS)]
    expected += [f'"n{number:02}":null' for number, row in enumerate(ROWS) if _type(row)]
    assert entity.data == "{" + ",".join(expected) + "}"


def test_a_type_that_is_only_called_like_one_of_postgresqls_is_not_one(
    harness: Harness,
    register: Callable[..., Connector],
    pulled: Callable[[Connector], PullOutcome],
    store: Store,
) -> None:
    with psycopg.connect(harness.config["dsn"], autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS own CASCADE")
        connection.execute("CREATE SCHEMA own")
        connection.execute("CREATE TYPE own.json AS ENUM ('broken')")
        connection.execute("CREATE TYPE own.bool AS ENUM ('maybe')")
        connection.execute("CREATE TYPE own.int4 AS (n int)")

    pulled(register(harness, "SELECT 'broken'::own.json AS j, 'maybe'::own.bool AS b, ROW(1)::own.int4 AS i"))

    (entity,), _ = store.entities.page(vertical="testing", entity_type="item", limit=2, cursor=None)
    assert entity.data == '{"b":"maybe","i":{"n":1},"j":"broken"}'


def _type(row: TypeRow) -> str | None:
    """The row's type where its first column is one that can be written as such."""
    name = row.type.partition(",")[0].strip("`")
    return name if name.replace(" ", "").isalpha() and " " not in name.removesuffix(" precision") else None


def test_the_table_is_not_empty() -> None:
    assert len(ROWS) > 40
