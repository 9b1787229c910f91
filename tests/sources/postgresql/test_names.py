"""Our statements mean PostgreSQL's own functions, types and tables, whatever a user's schema has by these names."""

import asyncio
from datetime import UTC, datetime

import psycopg
import pytest

from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Window
from tests.types_table import entity_data

# Functions, operators, types and catalogs of the user's, with PostgreSQL's names, which are found first.
SHADOWS = r"""
CREATE SCHEMA shadows;
CREATE FUNCTION public.refuse() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'shadow'; END $$;
CREATE FUNCTION public.shadow(named text, taken text, given text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format(
    'CREATE FUNCTION shadows.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L',
    named, taken, given, 'BEGIN PERFORM public.refuse(); RETURN NULL; END'
  );
  RETURN named;
EXCEPTION WHEN OTHERS THEN RETURN NULL;  -- of types that are the server's alone
END $$;
SELECT public.shadow(proname, pg_get_function_arguments(oid), pg_get_function_result(oid)) FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND has_function_privilege(oid, 'EXECUTE');
SELECT public.shadow('concat', one, 'text'), public.shadow('to_json', one, 'json'),
  public.shadow('format', 'text, ' || one, 'text')
FROM unnest(ARRAY['text', 'int4', 'oid', 'name', 'timestamptz', 'jsonb', 'bool']) AS one;
DO $$
DECLARE one record;
BEGIN
  FOR one IN
    SELECT public.shadow('operator_' || oid, format('%s, %s', oprleft::regtype, oprright::regtype),
      oprresult::regtype::text) AS function, oprname, oprleft::regtype AS lefts, oprright::regtype AS rights
    FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprleft <> 0
  LOOP
    IF one.function IS NOT NULL THEN
      EXECUTE format('CREATE OPERATOR shadows.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = shadows.%I)',
        one.oprname, one.lefts, one.rights, one.function);
    END IF;
  END LOOP;
  FOR one IN
    SELECT typname FROM pg_type
    WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r') AND typname NOT LIKE '\_%'
  LOOP
    EXECUTE format('CREATE TYPE shadows.%I AS (shadow pg_catalog.int4)', one.typname);
  END LOOP;
  FOR one IN
    SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
  LOOP
    EXECUTE format('CREATE VIEW shadows.%I AS SELECT public.refuse()', one.relname);
  END LOOP;
END $$;
"""
COLUMNS = {
    "id": "1",
    "at": "'2026-03-07 12:00+02'::timestamptz",
    "local": "'2026-03-07 12:00'::timestamp",
    "day": "'2026-03-07'::date",
    "span": "'1 day'::interval",
    "price": "1.50::numeric",
    "ratio": "0.1::float4",
    "doc": """'{"a": 1}'::jsonb""",
    "bytes": "'\\x00ff'::bytea",
    "tags": "'{a,b}'::text[]",
    "times": "ARRAY['2026-03-07 12:00+02'::timestamptz]",
    "days": "'[2026-03-07,2026-03-09)'::daterange",
    "spans": "'[2026-03-07 12:00,)'::tstzrange",
    "several": "'{[2026-03-07 12:00,)}'::tstzmultirange",
    "pair": "ROW(1, '2026-03-07 12:00+02')::couple",
    "pairs": "ARRAY[ROW(1, '2026-03-07 12:00+02')::couple]",
    "address": "'10.0.0.1'::inet",
    "document": "'<a/>'::xml",
    "kind": "'int4'::regtype",
    "letters": "'ab'::char(4)",
    "guid": "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
    "own": "'x'::own",
}


@pytest.fixture
def shadowed(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TYPE own AS ENUM ('x'); CREATE TYPE couple AS (n int, at timestamptz)")
        columns = ", ".join(f"{value} AS {name}" for name, value in COLUMNS.items())
        connection.execute(f"CREATE TABLE public.things AS SELECT {columns}".encode())
        connection.execute(SHADOWS.encode())
    return database


def search_in_shadows(database: str) -> None:
    name = database.rpartition("/")[2]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET search_path = shadows, pg_catalog, public".encode())


def test_the_shadows_are_found_first(shadowed: str) -> None:
    search_in_shadows(shadowed)

    with psycopg.connect(shadowed, autocommit=True) as connection:
        for query in ("SELECT to_json(1)", "SELECT now()", "SELECT 1 = 1", "SELECT 1::text", "SELECT * FROM pg_type"):
            with pytest.raises(psycopg.Error):
                connection.execute(query.encode())


def test_a_pull_is_the_same_where_a_schema_shadows_all_that_postgresql_has(shadowed: str) -> None:
    query = "SELECT * FROM public.things"
    before = entity_data("postgresql", {"dsn": shadowed}, query)
    search_in_shadows(shadowed)

    assert entity_data("postgresql", {"dsn": shadowed}, query) == before


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
@pytest.mark.parametrize("since", [None, datetime(2026, 3, 7, 12, tzinfo=UTC)])
def test_so_is_last_pull(shadowed: str, kind: str, since: datetime | None) -> None:
    query = f"SELECT (:last_pull::pg_catalog.{kind}) AS at FROM public.things"

    async def read() -> tuple[list[tuple[object, ...]], bool]:
        async with open_source("postgresql", {"dsn": shadowed}).read(
            query, window=Window(since, overlap=0), batch_size=10
        ) as reading:
            return [
                row async for batch in reading.batches for row in batch.frame.iter_rows()
            ], reading.watermark is None

    before = asyncio.run(read())
    search_in_shadows(shadowed)

    assert asyncio.run(read()) == before
