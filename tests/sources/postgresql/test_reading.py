"""What is particular to PostgreSQL as a source."""

import asyncio
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import polars as pl
import psycopg
import pytest

from qanatix_pipelines.batches import MAX_BATCH_BYTES
from qanatix_pipelines.errors import LoginRefused, QueryRejected, SourceTimeout, SourceUnreachable, TlsFailed
from qanatix_pipelines.rejections import OVERSIZED, Fault
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.postgresql import PostgreSQL
from qanatix_pipelines.sources.postgresql.reading import CLOSE_SECONDS
from qanatix_pipelines.watermarks import Window
from tests.reported import PASSED, tls_status
from tests.servers import Server
from tests.sources.postgresql import server as postgresql

NOON = datetime(2026, 3, 7, 12, tzinfo=UTC)
HOSTILE = [
    "INSERT INTO hostile VALUES (2) RETURNING n",
    "WITH gone AS (DELETE FROM hostile RETURNING n) SELECT * FROM gone",
    "UPDATE hostile SET n = 3 RETURNING n",
    "SELECT n FROM hostile FOR UPDATE",
    "SELECT * INTO copied FROM hostile",
    "SELECT 1; INSERT INTO hostile VALUES (2)",
    "SELECT 1) AS q; COMMIT; INSERT INTO hostile VALUES (2); SELECT * FROM (SELECT 1",
    "COPY hostile TO STDOUT",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "DO $$ BEGIN INSERT INTO hostile VALUES (2); END $$",
    "SET transaction_read_only = off",
    "COMMIT",
    "LISTEN x",
    "LOCK hostile",
    "CREATE TABLE more (n int)",
    "TRUNCATE hostile",
    "CALL nothing()",
    "SELECT set_config('transaction_read_only', 'off', false), nextval('counter')",
]


async def _read(dsn: str, query: str, since: datetime | None = None) -> tuple[list[tuple[Any, ...]], datetime | None]:
    async with open_source("postgresql", {"dsn": dsn}).read(
        query, window=Window(since, overlap=0), batch_size=100
    ) as reading:
        rows = [row async for batch in reading.batches for row in batch.frame.iter_rows()]
        return rows, reading.watermark


def read(dsn: str, query: str, since: datetime | None = None) -> list[tuple[Any, ...]]:
    return asyncio.run(_read(dsn, query, since))[0]


def watermark(dsn: str) -> datetime:
    reached = asyncio.run(_read(dsn, "SELECT 1 AS n WHERE now() > :last_pull"))[1]
    assert reached is not None
    return reached


class TestLastPull:
    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("timestamptz", "0001-01-01 00:00:00+00 BC"),
            ("timestamp", "0001-01-01 00:00:00 BC"),
            ("date", "0001-01-01 BC"),
        ],
    )
    def test_at_first_it_is_a_time_before_all_zeros(self, database: str, kind: str, expected: str) -> None:
        assert read(database, f"SELECT (:last_pull::{kind})::text AS at") == [(expected,)]

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("timestamptz", "2026-03-07 12:00:00+00"),
            ("timestamp", "2026-03-07 12:00:00"),
            ("date", "2026-03-06"),  # the day itself was not over
        ],
    )
    def test_later_it_is_the_time_as_its_type(self, database: str, kind: str, expected: str) -> None:
        assert read(database, f"SELECT (:last_pull::{kind})::text AS at", NOON) == [(expected,)]

    def test_a_column_without_a_zone_is_compared_in_the_databases_own(self, database: str) -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                f"ALTER DATABASE {database.rpartition('/')[2]} SET timezone = 'America/New_York'".encode()
            )

        assert read(database, "SELECT (:last_pull::timestamp)::text AS at", NOON) == [("2026-03-07 07:00:00",)]

    @pytest.mark.parametrize(
        ("zone", "since", "expected"),
        [
            ("Europe/Berlin", "2025-10-25T21:59:59", "2025-10-25 23:59:59"),
            ("Europe/Berlin", "2025-10-26T00:30:00", "2025-10-26 01:30:00"),  # half an hour later it is 2:00 again
            ("Europe/Berlin", "2025-10-26T01:00:00", "2025-10-26 02:00:00"),
            ("Antarctica/Casey", "2018-03-10T14:30:00", "2018-03-10 22:30:00"),  # set back by three hours at 17:00
        ],
    )
    def test_before_local_time_repeats_it_is_what_the_clocks_will_show(
        self, database: str, zone: str, since: str, expected: str
    ) -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {database.rpartition('/')[2]} SET timezone = '{zone}'".encode())
        at = datetime.fromisoformat(since).replace(tzinfo=UTC)

        assert read(database, "SELECT (:last_pull::timestamp)::text AS at", at) == [(expected,)]

    def test_it_may_stand_for_columns_of_several_types(self, database: str) -> None:
        query = "SELECT 1 AS n WHERE now() > :last_pull AND current_date > :last_pull AND localtimestamp > :last_pull"

        assert read(database, query) == [(1,)]

    def test_where_no_time_is_expected_it_is_refused(self, database: str) -> None:
        with pytest.raises(QueryRejected, match="the type int4"):
            read(database, "SELECT 1 AS n WHERE 5 > :last_pull")

    def test_the_watermark_is_held_back_by_a_transaction_that_is_open(self, database: str) -> None:
        with psycopg.connect(database) as writer:
            began = writer.execute("SELECT now()").fetchone()
            assert began is not None
            held = watermark(database)
        free = watermark(database)

        assert held == began[0] - timedelta(microseconds=1)
        assert free > held

    @pytest.mark.slow
    def test_on_a_replica_that_has_replayed_nothing_the_watermark_stays_where_it_was(self) -> None:
        """Whatever is open there: it is not known how far behind the replica is."""
        server = postgresql.start(replica=True)
        try:
            with psycopg.connect(server.address) as reader:
                reader.execute("SELECT now()")

                _, reached = asyncio.run(_read(server.address, "SELECT 1 AS n WHERE now() > :last_pull"))
        finally:
            server.stop()

        assert reached is None

    def test_what_was_committed_before_the_clock_was_read_is_seen(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Otherwise its stamp would be below the watermark, and no later pull would ask for it."""
        ask = asyncpg.Connection.fetchrow

        async def after_a_commit(connection: asyncpg.Connection, query: str) -> Any:
            await connection.fetchval("SELECT 1")  # what a snapshot that was begun by now would be taken by
            writer.execute("INSERT INTO late SELECT clock_timestamp()")
            return await ask(connection, query)

        with psycopg.connect(database, autocommit=True) as writer:
            writer.execute("CREATE TABLE late (at timestamptz)")
            monkeypatch.setattr(asyncpg.Connection, "fetchrow", after_a_commit)
            seen, reached = asyncio.run(_read(database, "SELECT 1 AS n FROM public.late WHERE at > :last_pull"))
            written = writer.execute("SELECT at FROM late").fetchall()

        assert reached is not None
        assert [at <= reached for (at,) in written] == [True]
        assert seen == [(1,)]

    def test_while_a_transaction_is_prepared_the_watermark_stays_where_it_is(self, database: str) -> None:
        """Nobody knows when it began, so nobody knows how early its rows are stamped."""
        query = "SELECT 1 AS n WHERE now() > :last_pull"
        with psycopg.connect(database, autocommit=True) as writer:
            writer.execute("CREATE TABLE prepared (n int)")
            writer.execute("BEGIN")
            writer.execute("INSERT INTO prepared VALUES (1)")
            writer.execute("PREPARE TRANSACTION 'held'")
            held = [asyncio.run(_read(database, query, since))[1] for since in (None, NOON)]
            writer.execute("ROLLBACK PREPARED 'held'")

        assert held == [None, None]
        assert watermark(database) > NOON


class TestReadingOnly:
    @pytest.fixture
    def hostile(self, database: str) -> str:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("CREATE TABLE hostile (n int)")
            connection.execute("CREATE SEQUENCE counter")
            connection.execute("CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1'")
            connection.execute("INSERT INTO hostile VALUES (1)")
        return database

    @pytest.mark.parametrize("query", HOSTILE)
    def test_a_query_that_would_do_more_than_read_is_rejected(self, hostile: str, query: str) -> None:
        with pytest.raises(QueryRejected):
            read(hostile, query)

        with psycopg.connect(hostile) as connection:
            assert connection.execute("SELECT n FROM hostile").fetchall() == [(1,)]
            tables = connection.execute("SELECT relname FROM pg_class WHERE relname IN ('more', 'copied')").fetchall()
            assert tables == []

    @pytest.mark.parametrize(
        "query",
        [
            "SELECT 1 AS n -- the end",
            "SELECT 1 AS n /* the end */ ;",
            "WITH w AS (SELECT 1 AS n) SELECT * FROM w",
            "VALUES (1)",
            "TABLE one",
            "(SELECT 1 AS n)",
            "SELECT 1 AS n UNION ALL SELECT 1 LIMIT 1",
            'SELECT 1 AS "an ""odd"" %s {0} name"',
        ],
    )
    def test_every_form_of_query_is_read(self, database: str, query: str) -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("CREATE TABLE one AS SELECT 1 AS n")

        assert read(database, query) == [(1,)]


def wide(dsn: str, widths: str, rows: int, *, batch_size: int = 5000) -> list[pl.DataFrame]:
    """The frames of rows `n`, with values `v` of the lengths in `widths`."""

    async def frames() -> list[pl.DataFrame]:
        query = f"SELECT n, repeat('x', {widths}) AS v, {widths} AS width FROM generate_series(1, {rows}) n"
        async with open_source("postgresql", {"dsn": dsn}).read(
            query, window=Window(), batch_size=batch_size
        ) as reading:
            return [batch.frame async for batch in reading.batches]

    return asyncio.run(frames())


class TestWideRows:
    @pytest.mark.parametrize(
        "widths",
        [
            "1000000",
            "CASE WHEN n > 200 THEN 1000000 ELSE 1 END",
            "CASE WHEN n BETWEEN 200 AND 260 THEN 1000000 ELSE 1 END",
            "CASE n % 40 WHEN 0 THEN 16000000 ELSE 100 END",
        ],
        ids=["from the first", "later", "for a while", "now and then"],
    )
    def test_all_come_in_their_order(self, database: str, widths: str) -> None:
        frames = wide(database, widths, 300)

        assert [n for frame in frames for n in frame["n"]] == list(range(1, 301))
        assert all(frame["v"].str.len_bytes().equals(frame["width"].cast(pl.UInt32)) for frame in frames)
        assert max(frame.estimated_size() for frame in frames) < MAX_BATCH_BYTES

    def test_a_batch_is_as_many_as_there_is_room_for(self, database: str) -> None:
        heights = [frame.height for frame in wide(database, "1000000", 100)]

        assert heights == [33, 33, 33, 1]

    def test_narrow_rows_after_wide_ones_fill_their_batches(self, database: str) -> None:
        heights = [frame.height for frame in wide(database, "CASE WHEN n > 40 THEN 1 ELSE 1000000 END", 2540)]

        assert heights == [33, 2507]

    def test_an_error_behind_them_is_told_as_it_is(self, database: str) -> None:
        with pytest.raises(QueryRejected, match="division by zero, SQLSTATE 22012"):
            wide(database, "1000000 * (1 / (120 - n) + 1)", 300)

    def test_nothing_is_waited_for_when_they_are_left_behind(self, database: str) -> None:
        async def take_one_batch() -> None:
            query = "SELECT repeat('x', 1000000) AS v FROM generate_series(1, 300)"
            async with open_source("postgresql", {"dsn": database}).read(
                query, window=Window(), batch_size=5000
            ) as reading:
                assert (await anext(aiter(reading.batches))).frame.height == 33

        async def in_time() -> None:
            async with asyncio.timeout(CLOSE_SECONDS):
                await take_one_batch()

        asyncio.run(in_time())

    def test_what_the_server_computes_behind_them_ends_when_they_are_left_behind(self, database: str) -> None:
        """The server sends nothing, so it does not notice that its client is gone."""
        rows = (
            "SELECT n, repeat('x', 1000000) AS v FROM generate_series(1, 40) n UNION ALL SELECT 41, pg_sleep(60)::text"
        )

        async def take_one_batch() -> None:
            async with open_source("postgresql", {"dsn": database}).read(
                f"{rows} /* left behind */", window=Window(), batch_size=5000
            ) as reading:
                await anext(aiter(reading.batches))

        asyncio.run(take_one_batch())

        left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%left behind%' AND pid <> pg_backend_pid()"
        with psycopg.connect(database, autocommit=True) as connection:
            deadline = time.monotonic() + 30
            while connection.execute(left).fetchone() != (0,) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert connection.execute(left).fetchone() == (0,)

    @pytest.mark.parametrize(
        "value",
        [
            "repeat('x', 17 * 1024 * 1024)",
            "repeat('x', 17 * 1024 * 1024)::varchar",
            "decode(repeat('00', 13 * 1024 * 1024), 'hex')",
            "to_jsonb(repeat('x', 17 * 1024 * 1024))",
            "ARRAY[repeat('x', 9 * 1024 * 1024), repeat('y', 9 * 1024 * 1024)]",
            "ROW(1, repeat('x', 17 * 1024 * 1024))",
        ],
    )
    def test_an_oversized_row_of_any_type_is_left_out(self, database: str, value: str) -> None:
        async def oversized() -> list[Mapping[int, Fault]]:
            query = f"SELECT n, CASE n WHEN 2 THEN {value} END AS v FROM generate_series(1, 3) n"
            async with open_source("postgresql", {"dsn": database}).read(
                query, window=Window(), batch_size=10
            ) as reading:
                batches = [batch async for batch in reading.batches]
            assert [batch.frame.rows() for batch in batches] == [[(1, None), (None, None), (3, None)]]
            return [batch.faults for batch in batches]

        assert asyncio.run(oversized()) == [{1: OVERSIZED}]


class TestRegistering:
    @pytest.mark.parametrize(
        ("query", "sentence"),
        [
            ("DELETE FROM products", "must begin with SELECT, WITH, VALUES or TABLE"),
            ("/* x */ EXPLAIN SELECT 1", "must begin with SELECT, WITH, VALUES or TABLE"),
            ("COPY products TO '/tmp/x'", "must begin with SELECT, WITH, VALUES or TABLE"),
            ("SELECT * FROM products WHERE id = $1", r"\$1 at line 1, column 35, which is no placeholder"),
        ],
    )
    def test_what_can_be_no_query_is_told_then(self, query: str, sentence: str) -> None:
        with pytest.raises(QueryRejected, match=sentence):
            PostgreSQL.check_query(query)

    @pytest.mark.parametrize(
        "query",
        [
            "((SELECT 1)) UNION SELECT 2",
            "-- DELETE\nTABLE products",
            "VALUES (1), (2)",
            "WITH a AS (SELECT 1) TABLE a",
            "SELECT '$1', $$ $1 $$, $a$ $1 $a$, a$1 FROM a",
        ],
    )
    def test_a_query_is_one(self, query: str) -> None:
        assert not PostgreSQL.check_query(query).last_pull


class TestErrors:
    @pytest.mark.parametrize(
        ("expected", "query"),
        [
            (
                "at line 1, column 8, 'nothing' in \"SELECT nothing FROM pg_class\": there is no such column",
                "SELECT nothing FROM pg_class",
            ),
            (
                "at line 1, column 43, 'nothing' in",
                "SELECT 1 WHERE now() > :last_pull AND 1 = nothing",
            ),
            ("at line 1, column 1, 'SELEC' in \"SELEC 1\"", "SELEC 1"),
            ("(division by zero, SQLSTATE 22012)", "SELECT 1 / n AS x FROM generate_series(0, 1) n"),
            ("returns no columns", "SELECT FROM pg_class"),
            ("a parameter of its own", "SELECT $1::timestamptz AS at"),
            ("The source rejected the query (postgres syntax, SQLSTATE 42601)", "EXPLAIN SELECT 1"),
        ],
    )
    def test_a_rejected_query_is_told_what_and_where(self, database: str, expected: str, query: str) -> None:
        with pytest.raises(QueryRejected) as rejected:
            read(database, query)

        assert expected in str(rejected.value)

    def test_the_servers_own_words_are_not_passed_on(self, database: str) -> None:
        with pytest.raises(QueryRejected) as rejected:
            read(database, "SELECT 'a secret of the row'::int AS n")

        assert "secret" not in f"{rejected.value!r}{rejected.value.__cause__}"
        assert rejected.value.__suppress_context__

    def test_a_missing_database_is_told(self, postgresql_server: Server) -> None:
        with pytest.raises(LoginRefused, match="no such database"):
            read(postgresql_server.address.rpartition("/")[0] + "/missing", "SELECT 1 AS n")

    def test_a_query_that_the_server_cancels_is_told(self, database: str) -> None:
        with pytest.raises(SourceTimeout):
            read(database, "SELECT pg_cancel_backend(pg_backend_pid())::text, pg_sleep(60)::text")

    def test_a_connection_that_the_server_ends_is_told(self, database: str) -> None:
        kill = "SELECT pg_terminate_backend(pg_backend_pid())::text AS k"

        with pytest.raises(SourceUnreachable):
            read(database, kill)

    def test_our_own_environment_is_never_sent(
        self, postgresql_server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file has the right password, and yet a wrong one in the DSN is refused."""
        password = postgresql_server.address.partition("app:")[2].partition("@")[0]
        monkeypatch.setitem(os.environ, "PGPASSWORD", password)
        monkeypatch.setitem(os.environ, "PGUSER", "app")

        with pytest.raises(LoginRefused):
            read(postgresql_server.address.replace(password, "wrong"), "SELECT 1 AS n")


@pytest.mark.server
class TestTls:
    @pytest.fixture(scope="class")
    @classmethod
    def encrypted(cls, certificate: tuple[Path, Path]) -> Iterator[Server]:
        server = postgresql.start(tls=certificate)
        yield server
        server.stop()

    QUERY = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"

    def test_required_tls_is_used(self, encrypted: Server) -> None:
        assert read(encrypted.address + "?sslmode=require", self.QUERY) == [(True,)]

    def test_wide_rows_come_over_it_all_and_in_their_order(self, encrypted: Server) -> None:
        frames = wide(encrypted.address + "?sslmode=require", "CASE WHEN n > 200 THEN 1000000 ELSE 1 END", 300)

        assert [n for frame in frames for n in frame["n"]] == list(range(1, 301))

    def test_disabled_tls_is_not(self, encrypted: Server) -> None:
        assert read(encrypted.address + "?sslmode=disable", self.QUERY) == [(False,)]

    @pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
    def test_a_certificate_that_nobody_signed_is_refused(self, encrypted: Server, mode: str) -> None:
        with pytest.raises(TlsFailed, match="could not be verified"):
            read(f"{encrypted.address}?sslmode={mode}", self.QUERY)

    def test_a_certificate_that_this_machine_trusts_is_taken(
        self, encrypted: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert ssl.create_default_context().get_ca_certs()

        assert read(encrypted.address + "?sslmode=verify-full", self.QUERY) == [(True,)]

    def test_a_test_of_the_connector_says_that_it_is_verified(
        self, encrypted: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

        assert tls_status("postgresql", {"dsn": encrypted.address + "?sslmode=verify-full"}, "SELECT 1 AS id") is PASSED

    def test_a_certificate_of_another_host_is_refused(
        self, encrypted: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

        with pytest.raises(TlsFailed):
            read(encrypted.address.replace("127.0.0.1", "localhost") + "?sslmode=verify-full", self.QUERY)

    def test_a_server_without_tls_is_not_spoken_to_in_clear(self, database: str) -> None:
        with pytest.raises(TlsFailed, match="offers no TLS"):
            read(database + "?sslmode=require", "SELECT 1 AS n")
