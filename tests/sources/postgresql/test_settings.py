"""PostgreSQL's settings change no result: what `docs/settings/postgresql.md` says of each holds."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest

from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Watermark, Window
from tests.drawn_settings import ROWS, Setting, World, new_world
from tests.settings_table import SettingRow
from tests.sources.postgresql.test_types import OWN_TYPES
from tests.types_table import entity_data, type_rows

LIMITS = [row for row in ROWS if row.widest is not None]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    yield from new_world()


def configure(dsn: str, *settings: str) -> None:
    """Set them for the database. Each as it stands in SQL, `TimeZone = 'UTC'`."""
    run(dsn, *(f"ALTER DATABASE {dsn.rpartition('/')[2]} SET {setting}" for setting in settings))


def run(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def read(dsn: str, query: str, since: Watermark | None = None) -> tuple[list[tuple[Any, ...]], datetime | None]:
    """All rows, and the watermark that the next reading is given."""

    async def rows() -> tuple[list[tuple[Any, ...]], datetime | None]:
        source = open_source("postgresql", {"dsn": dsn})
        async with source.read(query, window=Window(since), batch_size=100) as reading:
            return [row async for batch in reading.batches for row in batch.frame.iter_rows()], reading.watermark

    return asyncio.run(rows())


@pytest.mark.server
@pytest.mark.parametrize("row", [row for row in ROWS if row.tried], ids=lambda row: row.name)
def test_what_a_pull_brings_is_what_psql_prints(world: World, row: SettingRow) -> None:
    """Under each value of the table, made at the database."""
    for value in world.tried[row.name]:
        world.set([Setting(row.name, value, "database")])

        assert world.differences([]) == []


class TestWhatTheServerComputesWith:
    def test_local_times_become_instants_in_the_databases_own_zone(self, database: str) -> None:
        configure(database, "TimeZone = 'America/New_York'")

        rows, _ = read(database, "SELECT '2026-03-07 12:00'::timestamp::timestamptz AS at")

        assert rows == [("2026-03-07T17:00:00Z",)]

    def test_day_and_month_are_in_the_databases_own_order(self, database: str) -> None:
        configure(database, "DateStyle = 'ISO, DMY'")

        assert read(database, "SELECT '03/04/05'::date AS day")[0] == [("2005-04-03",)]

    @pytest.mark.parametrize(
        ("setting", "expression", "expected"),
        [
            ("DateStyle = 'German'", "'2026-03-07'::date::text", "07.03.2026"),
            ("DateStyle = 'SQL, DMY'", "'2026-03-07 12:00'::timestamp::text", "07/03/2026 12:00:00"),
            ("TimeZone = 'Asia/Kolkata'", "'2026-03-07 12:00+00'::timestamptz::text", "2026-03-07 17:30:00+05:30"),
            ("IntervalStyle = 'sql_standard'", "extract(epoch FROM '-1 2:03:04'::interval)::text", "-93784.000000"),
            ("IntervalStyle = 'postgres_verbose'", "'1 day 2 hours'::interval::text", "@ 1 day 2 hours"),
            ("extra_float_digits = 0", "(0.1::float8 + 0.2::float8)::text", "0.3"),
            ("bytea_output = 'escape'", r"'\x61ff'::bytea::text", r"a\377"),
            ("quote_all_identifiers = on", "'pg_class'::regclass::text", '"pg_class"'),
            ("xmlbinary = 'hex'", r"xmlelement(name x, '\x61'::bytea)::text", "<x>61</x>"),
            ("array_nulls = off", "('{NULL}'::text[])[1]", "NULL"),
            ("transform_null_equals = on", "(1 = NULL)::text", "false"),
            ("timezone_abbreviations = 'Australia'", "('2026-01-01 12:00 EST'::timestamptz AT TIME ZONE 'UTC')::text",
             "2026-01-01 02:00:00"),
            ("default_text_search_config = 'english'", "to_tsvector('the cats')::text", "'cat':2"),
        ],
    )  # fmt: skip
    def test_what_the_query_makes_of_a_setting_is_as_the_setting_says(
        self, database: str, setting: str, expression: str, expected: str
    ) -> None:
        configure(database, setting)

        assert read(database, f"SELECT {expression} AS value")[0] == [(expected,)]

    def test_where_a_backslash_escapes_a_string_is_read_as_the_server_reads_it(self, database: str) -> None:
        configure(database, "standard_conforming_strings = off")

        rows, _ = read(database, r"SELECT 'a\\b\' :last_pull' AS value, 1 AS n WHERE now() > :last_pull --'")

        assert rows == [(r"a\b' :last_pull", 1)]

    def test_names_are_looked_for_where_the_users_search_path_says(self, database: str) -> None:
        run(database, "CREATE SCHEMA mine", "CREATE TABLE mine.one AS SELECT 'mine' AS whose",
            "CREATE TABLE public.one AS SELECT 'public' AS whose")  # fmt: skip
        configure(database, "search_path = mine, public")

        assert read(database, "SELECT whose FROM one")[0] == [("mine",)]

    def test_whoever_the_user_is_set_to_become_reads(self, database: str) -> None:
        name = database.rpartition("/")[2]
        password = database.partition("app:")[2].partition("@")[0]
        run(
            database,
            f"CREATE ROLE {name}_reader LOGIN PASSWORD '{password}'",
            f"CREATE ROLE {name}_group",
            f"GRANT {name}_group TO {name}_reader",
            "CREATE TABLE open_to_the_group AS SELECT 1 AS n",
            f"GRANT SELECT ON open_to_the_group TO {name}_group",
            f"ALTER ROLE {name}_reader SET role = {name}_group",
        )

        rows, _ = read(
            database.replace("app:", f"{name}_reader:"), "SELECT n, current_user::text FROM open_to_the_group"
        )

        assert rows == [(1, f"{name}_group")]

    def test_what_we_convert_with_is_not_looked_for_there(self, database: str) -> None:
        """A user's own functions and types may be called as PostgreSQL's, and come first."""
        run(
            database,
            "CREATE SCHEMA mine",
            *(
                f"CREATE FUNCTION mine.{name}({kinds}) RETURNS text LANGUAGE sql AS $$ SELECT 'mine' $$"
                for name, kinds in (
                    ("to_json", "int[]"),
                    ("to_json", "timestamp"),
                    ("to_json", "numeric"),
                    ("timezone", "text, timestamptz"),
                    ("replace", "text, text, text"),
                    ("encode", "bytea, text"),
                    ("concat", "inet"),
                )
            ),
            "CREATE DOMAIN mine.jsonb AS int",
        )
        configure(database, "search_path = mine, pg_catalog")
        query = (
            "SELECT ARRAY[1] AS a, '2026-03-07 12:00+00'::timestamptz AS t, 1.5 AS n, 'ab'::bytea AS b, "
            "'10.0.0.1'::inet AS i, '{\"k\": 1}'::pg_catalog.jsonb AS j"
        )

        assert read(database, query)[0] == [("[1]", "2026-03-07T12:00:00Z", "1.5", "YWI=", "10.0.0.1", '{"k": 1}')]

    def test_types_become_the_same_under_any_settings(self, database: str) -> None:
        """All that the table of types says is no text of psql's, nor of to_json's."""
        run(database, *OWN_TYPES.strip().split(";\n"))
        configure(
            database,
            "TimeZone = 'America/New_York'",
            "DateStyle = 'SQL, DMY'",
            "IntervalStyle = 'sql_standard'",
            "extra_float_digits = -15",
            "bytea_output = 'escape'",
        )
        rows = [row for row in type_rows("postgresql") if "psql" not in row.becomes and "to_json" not in row.becomes]

        (data,) = entity_data(
            "postgresql",
            {"dsn": database},
            f"SELECT {', '.join(f'{row.source} AS c{n:02}' for n, row in enumerate(rows))}",
        )

        assert data == "{" + ",".join(f'"c{n:02}":{row.entity}' for n, row in enumerate(rows)) + "}"


class TestWhatWouldCutOrEndAResult:
    @pytest.mark.parametrize("limit", LIMITS, ids=[row.name for row in LIMITS])
    def test_each_limit_is_at_its_widest(self, database: str, limit: SettingRow) -> None:
        """As the query finds it; null where this server has none of that name."""
        query = f"SELECT current_setting('{limit.name}', true) AS value"
        (known,) = read(database, query)[0]
        if known == (None,):
            assert limit.name == "transaction_timeout"
            return
        configure(database, f"{limit.name} = '{limit.tried[0]}'")

        assert read(database, query)[0] == [(limit.widest,)]

    def test_rows_that_an_index_finds_are_all_there(self, database: str) -> None:
        run(
            database,
            "CREATE TABLE tagged AS SELECT n, ARRAY['a', n::text] AS tags FROM generate_series(1, 20000) n",
            "CREATE INDEX ON tagged USING gin (tags)",
            "ANALYZE tagged",
        )
        configure(database, "gin_fuzzy_search_limit = 10", "enable_seqscan = off")

        assert read(database, "SELECT count(*) AS n FROM tagged WHERE tags @> '{a}'")[0] == [(20000,)]

    def test_what_functions_say_beside_rows_ends_no_pull(self, database: str) -> None:
        """Together it is more than a server may say to us that is no row."""
        run(
            database,
            "CREATE FUNCTION talk(n int) RETURNS int LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE NOTICE '%', repeat('x', 1000000); RETURN n; END $$",
        )

        assert read(database, "SELECT talk(n) AS n FROM generate_series(1, 20) n")[0] == [(n,) for n in range(1, 21)]

    def test_a_batch_may_take_longer_to_store_than_a_transaction_may_be_idle(self, database: str) -> None:
        configure(database, "idle_in_transaction_session_timeout = '20ms'", "statement_timeout = '200ms'")

        async def rows() -> int:
            source = open_source("postgresql", {"dsn": database})
            query = "SELECT n, pg_sleep(0.1)::text AS s FROM generate_series(1, 4) n"
            async with source.read(query, window=Window(), batch_size=2) as reading:
                count = 0
                async for batch in reading.batches:
                    count += batch.frame.height
                    await asyncio.sleep(0.1)  # what storing it takes
                return count

        assert asyncio.run(rows()) == 4
