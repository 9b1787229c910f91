"""How a file is read: one snapshot, beside writers, read-only, without a trace; and what is told where it fails."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qanatix_pipelines.batches import Named, Reading
from qanatix_pipelines.connectors import ConnectorSettings, Watch
from qanatix_pipelines.egress import DEVELOPMENT
from qanatix_pipelines.entities import maker_of
from qanatix_pipelines.errors import QueryRejected, ResultUnusable, SourceError, SourceFailed, SourceUnreachable
from qanatix_pipelines.rejections import Reason
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.sqlite.reading import KEY
from qanatix_pipelines.sources.sqlite.session import MAX_VALUE_BYTES
from qanatix_pipelines.watch import look
from qanatix_pipelines.watermarks import Watermark, Window
from tests.conftest import server
from tests.servers import new_folder, remove
from tests.sources.sqlite.harness import SQLiteHarness
from tests.sources.sqlite.server import execute

pytestmark = pytest.mark.slow


@pytest.fixture
def items_harness() -> SQLiteHarness:
    harness = SQLiteHarness(server("sqlite"))
    harness.fill(3)
    return harness


@pytest.fixture
def file() -> Iterator[Path]:
    """The path of a file in a folder of its own, which is open."""
    folder = new_folder("sqlite", {})
    yield folder / "shop.db"
    remove(folder)


@asynccontextmanager
async def reading(path: Path, query: str, window: Window | None = None, **named: str) -> AsyncIterator[Reading]:
    source = open_source("sqlite", {"path": str(path)}, folders=(path.parent,))
    source.named = Named(**named)
    async with source.read(query, window=window or Window(), batch_size=100) as read:
        yield read


def keys(path: Path, query: str, window: Window | None = None) -> list[str]:
    async def read() -> list[str]:
        async with reading(path, query, window) as result:
            return [key async for batch in result.batches for key in batch.frame[KEY]]

    return asyncio.run(read())


def refused(path: Path, query: str = "SELECT * FROM items", window: Window | None = None) -> SourceError:
    async def read() -> None:
        async with reading(path, query, window) as result:
            async for _ in result.batches:
                pass

    with pytest.raises(SourceError) as caught:
        asyncio.run(read())
    return caught.value


def since(start: Watermark) -> Window:
    return Window(start, overlap=0, integer=isinstance(start, int))


def beside(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir()}


class TestSnapshots:
    def test_a_writer_in_wal_mode_neither_waits_nor_is_seen(self, file: Path) -> None:
        execute(file, "PRAGMA journal_mode = wal", "CREATE TABLE items (id)")
        fill = "INSERT INTO items WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i FROM n"

        async def read() -> int:
            with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as writer:
                writer.execute(fill)
                rows = 0
                async with reading(file, "SELECT id FROM items") as result:
                    async for batch in result.batches:
                        writer.execute("DELETE FROM items WHERE id > 150")
                        writer.execute(fill)
                        rows += batch.frame.height
                return rows

        assert asyncio.run(read()) == 300

    def test_a_file_in_wal_mode_that_nobody_writes_is_read_without_a_trace(self, file: Path) -> None:
        execute(file, "PRAGMA journal_mode = wal", "CREATE TABLE items (id)", "INSERT INTO items VALUES (1)")

        assert keys(file, "SELECT id FROM items") == ["1"]
        assert beside(file) == {"shop.db"}

    def test_a_file_that_was_taken_for_still_and_is_written_meanwhile_fails_and_may_be_tried_again(
        self, file: Path
    ) -> None:
        execute(file, "PRAGMA journal_mode = wal", "CREATE TABLE items (id)", "INSERT INTO items VALUES (1)")
        more = "items.id FROM items, json_each('[1,2,3,4,5,6,7,8]')"  # than waits between the child and us

        async def read() -> None:
            async with reading(file, f"SELECT hex(zeroblob(2000000)) AS body, {more}") as result:
                execute(file, "INSERT INTO items VALUES (2)")  # and its log is written back as it closes
                async for _ in result.batches:
                    pass

        with pytest.raises(SourceFailed, match="changed or replaced") as caught:
            asyncio.run(read())
        assert caught.value.transient

    def test_what_was_committed_into_the_log_alone_is_read(self, file: Path) -> None:
        execute(file, "PRAGMA journal_mode = wal", "CREATE TABLE items (id)")
        with closing(sqlite3.connect(file, isolation_level=None)) as writer:
            writer.execute("INSERT INTO items VALUES (1)")

            assert keys(file, "SELECT id FROM items") == ["1"]

    def test_a_writer_of_a_rolled_back_journal_waits_until_the_reading_is_over(self, file: Path) -> None:
        execute(file, "CREATE TABLE items (id)", "INSERT INTO items VALUES (1)")

        async def read() -> None:
            with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as writer:
                async with reading(file, "SELECT id FROM items"):
                    with pytest.raises(sqlite3.OperationalError, match="locked"):
                        writer.execute("INSERT INTO items VALUES (2)")
                writer.execute("INSERT INTO items VALUES (2)")

        asyncio.run(read())

    def test_another_readers_locks_in_this_process_outlive_a_reading(self, file: Path) -> None:
        """POSIX takes them all away from a process that closes the file anywhere: SQLite sees to that, and we do."""
        execute(file, "CREATE TABLE items (id)", "INSERT INTO items VALUES (1)")
        with closing(sqlite3.connect(file, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM items").fetchall()

            keys(file, "SELECT id FROM items")

            import subprocess
            import sys

            script = (
                f"import sqlite3; c = sqlite3.connect({str(file)!r}, timeout=0, isolation_level=None); "
                "c.execute('BEGIN EXCLUSIVE')"
            )
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
            assert "database is locked" in done.stderr

    def test_a_locked_file_is_told_and_may_be_tried_again(self, file: Path) -> None:
        execute(file, "CREATE TABLE items (id)")
        with closing(sqlite3.connect(file, isolation_level=None)) as writer:
            writer.execute("BEGIN EXCLUSIVE")

            error = refused(file)

        assert isinstance(error, SourceUnreachable)
        assert "locked by a program that writes" in str(error)
        assert error.transient

    def test_what_a_writer_left_that_died_is_told_and_not_touched(self, file: Path) -> None:
        alive = file.with_name("alive.db")
        execute(alive, "CREATE TABLE items (id, name)")
        fill = "INSERT INTO items WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, "
        execute(alive, fill + "hex(zeroblob(500)) FROM n")
        with closing(sqlite3.connect(alive, isolation_level=None)) as writer:
            writer.execute("PRAGMA cache_size = 5")
            writer.execute("BEGIN")
            writer.execute("UPDATE items SET name = 'changed'")
            for name in ("alive.db", "alive.db-journal"):
                file.with_name(name.replace("alive", "shop")).write_bytes(file.with_name(name).read_bytes())
        journal = file.with_name("shop.db-journal").read_bytes()

        error = refused(file)

        assert "A program ended while it wrote the file" in str(error)
        assert file.with_name("shop.db-journal").read_bytes() == journal


class TestRights:
    @pytest.mark.parametrize(
        "query",
        [
            "WITH new AS (SELECT 1) DELETE FROM items",
            "WITH new AS (SELECT 1) INSERT INTO items SELECT * FROM new",
            "WITH new AS (SELECT 1) UPDATE items SET id = 1",
            "SELECT load_extension('/tmp/x')",
            "SELECT fts3_tokenizer('simple')",
            "SELECT * FROM pragma_user_version(7)",
            "SELECT * FROM pragma_database_list",
            "SELECT * FROM pragma_integrity_check",
            "SELECT * FROM pragma_wal_checkpoint",
            "SELECT writefile('/tmp/x', 'y')",
            "SELECT readfile('/etc/passwd')",
        ],
    )
    def test_a_query_can_only_read(self, items_harness: SQLiteHarness, query: str) -> None:
        before = items_harness.path.read_bytes()

        assert isinstance(refused(items_harness.path, query), QueryRejected)
        assert items_harness.path.read_bytes() == before

    def test_a_second_statement_is_refused_whatever_the_check_of_the_text_says(
        self, items_harness: SQLiteHarness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from qanatix_pipelines.sources.sql import SqlQuery

        monkeypatch.setattr("qanatix_pipelines.sources.sqlite.reading.parse_sqlite", lambda text: SqlQuery((text,)))

        for query in (
            "SELECT 1; DELETE FROM items",
            "ATTACH '/tmp/x.db' AS x",
            "DELETE FROM items",
            "COMMIT",
            "VACUUM",
        ):
            assert isinstance(refused(items_harness.path, query), SourceError), query
        assert execute(items_harness.path, "SELECT count(*) FROM items") == [(3,)]

    def test_a_view_that_calls_what_a_pull_may_not_is_refused(self, file: Path) -> None:
        execute(file, "CREATE VIEW items AS SELECT load_extension('/tmp/x') AS id")

        assert isinstance(refused(file), QueryRejected)

    @pytest.mark.parametrize(
        "query",
        [
            "SELECT count(*) AS id FROM pragma_table_info('items')",
            "SELECT count(*) AS id FROM sqlite_master",
            "SELECT max(rowid) AS id FROM items",
            "SELECT count(*) AS id FROM json_each('[1, 2]')",
        ],
    )
    def test_what_only_tells_of_the_database_is_read(self, items_harness: SQLiteHarness, query: str) -> None:
        assert len(keys(items_harness.path, query)) == 1


class TestTables:
    @pytest.mark.parametrize(
        ("statements", "query", "expected"),
        [
            (["CREATE TABLE t (id TEXT PRIMARY KEY) WITHOUT ROWID", "INSERT INTO t VALUES ('a')"], "", ["a"]),
            (["CREATE TABLE t (n, id AS (n * 2))", "INSERT INTO t VALUES (4)"], "", ["8"]),
            (["CREATE VIEW t AS SELECT 5 AS id"], "", ["5"]),
            (
                ["CREATE VIRTUAL TABLE t USING fts5(id)", "INSERT INTO t VALUES ('one two')"],
                "SELECT id FROM t WHERE t MATCH 'two'",
                ["one two"],
            ),
            (["CREATE TABLE t (ID)", "INSERT INTO t VALUES (7)"], "", ["7"]),
        ],
    )
    def test_every_kind_of_table_is_read(
        self, file: Path, statements: list[str], query: str, expected: list[str]
    ) -> None:
        execute(file, *statements)

        assert identified(file, query or "SELECT * FROM t") == expected

    def test_two_columns_of_one_name_are_refused(self, items_harness: SQLiteHarness) -> None:
        assert isinstance(refused(items_harness.path, "SELECT id, id FROM items"), ResultUnusable)


def identified(path: Path, query: str, **changes: Any) -> list[str | None]:
    """The keys of the entities that the rows become."""
    settings = {"name": "n", "connector_type": "sqlite", "vertical": "v", "entity_type": "e", "query": query} | changes
    connector = ConnectorSettings.model_validate(settings)

    async def read() -> list[str | None]:
        source = open_source("sqlite", {"path": str(path)}, folders=(path.parent,))
        source.named = Named(connector.id_column, connector.name_column or Named.name, connector.cursor_column)
        async with source.read(query, window=Window(), batch_size=100) as result:
            maker = maker_of(connector, result)
            assert result.columns is not None
            maker.check(result.columns)
            return [key async for batch in result.batches for key in maker.make(batch).frame["source_id"]]

    return asyncio.run(read())


class TestKeys:
    def test_they_are_compared_as_sqlite_compares_them(self, items_harness: SQLiteHarness) -> None:
        query = (
            "SELECT column1 AS id FROM (VALUES (1), (1.0), ('1'), (x'31'), (9007199254740993), (9007199254740992.0))"
        )

        one, whole, text, blob, integer, real = identified(items_harness.path, query)

        assert one == whole
        assert len({one, text, blob}) == 3
        assert integer != real

    def test_a_text_like_a_blobs_key_is_not_it(self, items_harness: SQLiteHarness) -> None:
        query = """SELECT column1 AS id FROM (VALUES (x'31'), ('{"blob":"MQ=="}'))"""

        first, second = identified(items_harness.path, query)

        assert first != second

    def test_names_have_no_case(self, items_harness: SQLiteHarness) -> None:
        assert identified(items_harness.path, "SELECT 1 AS Sku", id_column="SKU") == ["1"]


class TestLastPull:
    AT = datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("kind", "stamp", "condition"),
        [
            ("TEXT", "datetime({})", "at > :last_pull"),
            ("DATETIME", "datetime({})", "at > :last_pull"),
            ("", "strftime('%Y-%m-%d %H:%M:%f', {})", "at > :last_pull"),
            ("TEXT", "strftime('%Y-%m-%dT%H:%M:%SZ', {})", "datetime(at) > :last_pull"),
            ("TEXT", "strftime('%Y-%m-%dT%H:%M:%SZ', {})", "at > strftime('%Y-%m-%dT%H:%M:%SZ', :last_pull)"),
            ("INTEGER", "unixepoch({})", "at > unixepoch(:last_pull)"),
            ("DATETIME", "unixepoch({}) * 1000", "at > unixepoch(:last_pull) * 1000"),
            ("REAL", "julianday({})", "at > julianday(:last_pull)"),
        ],
    )
    def test_rows_from_that_second_on_are_read_and_earlier_ones_not(
        self, file: Path, kind: str, stamp: str, condition: str
    ) -> None:
        times = ("0001-01-01 00:00:00", "2026-01-02 03:04:03", "2026-01-02 03:04:05", "2026-01-02 03:04:06")
        execute(file, f"CREATE TABLE items (id, at {kind})")
        for number, moment in enumerate(times):
            execute(file, f"INSERT INTO items VALUES ({number}, {stamp.format(repr(moment))})")
        query = f"SELECT id FROM items WHERE {condition} ORDER BY id"

        assert keys(file, query) == ["0", "1", "2", "3"]
        assert keys(file, query, since(self.AT)) == ["2", "3"]

    def test_a_text_is_compared_with_a_first_pulls_least_in_a_column_of_any_kind(self, file: Path) -> None:
        execute(file, "CREATE TABLE items (id, a TEXT, b NUMERIC, c)")
        execute(file, "INSERT INTO items VALUES (1, '-4713-11-24', '2026-01-01', '2026-01-01')")

        query = "SELECT id FROM items WHERE a > :last_pull AND b > :last_pull AND c > :last_pull"

        assert keys(file, query) == ["1"]

    @pytest.mark.parametrize("window", [Window(), Window(AT, overlap=0)])
    def test_a_text_that_is_compared_with_numbers_is_told_before_it_loses_rows(
        self, file: Path, window: Window
    ) -> None:
        execute(file, "CREATE TABLE items (id, at INTEGER)", "INSERT INTO items VALUES (1, unixepoch())")

        error = refused(file, "SELECT id FROM items WHERE at > :last_pull", window)

        assert isinstance(error, QueryRejected)
        assert "unixepoch(:last_pull)" in str(error)

    def test_nothing_is_told_where_there_is_nothing(self, file: Path) -> None:
        execute(file, "CREATE TABLE items (id, at INTEGER)")

        assert keys(file, "SELECT id FROM items WHERE at > :last_pull") == []

    def test_an_integer_is_an_integer(self, file: Path) -> None:
        execute(file, "CREATE TABLE items (id)", "INSERT INTO items VALUES (-9223372036854775807), (5), (6)")
        query = "SELECT id FROM items WHERE id > :last_pull"

        assert keys(file, query, Window(integer=True)) == ["-9223372036854775807", "5", "6"]
        assert keys(file, query, since(5)) == ["6"]

    def test_the_watermark_is_the_machines_clock_before_the_snapshot(self, items_harness: SQLiteHarness) -> None:
        async def read() -> datetime | None:
            async with reading(items_harness.path, items_harness.since) as result:
                return result.watermark

        before = datetime.now(UTC)
        watermark = asyncio.run(read())

        assert watermark is not None
        assert before <= watermark <= before + timedelta(seconds=60)


class TestFaults:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("SELECT nme FROM items", "line 1, column 8, 'nme' in \"SELECT nme FROM items\": there is no such column"),
            ("SELECT i.nme FROM items i", "'nme' in \"SELECT i.nme FROM items i\": there is no such column"),
            ("SELECT * FROM itms", "'itms' in \"SELECT * FROM itms\": there is no such table or view"),
            ("SELECT upcase(name) FROM items", "'upcase' in \"SELECT upcase(name) FROM items\": there is no such func"),
            ("SELECT id FROM items, items two", "'id' in \"SELECT id FROM items, items two\": more than one table"),
            ("SELECT id FROM items WHERE", 'at its end, after "SELECT id FROM items WHERE": more should follow'),
            ("SELECT id,, name FROM items", "what comes there is not SQL as SQLite reads it"),
            ("SELECT lower(1, 2)", "'lower' in \"SELECT lower(1, 2)\": it takes another number"),
            ("SELECT max(sum(id)) FROM items", "'sum' in \"SELECT max(sum(id)) FROM items\": an aggregate cannot"),
            ("SELECT json('secret{')", "a text that the query reads as JSON is none"),
            ("SELECT abs(-9223372036854775808)", "does not fit into 64 bits"),
            (
                "SELECT * FROM items WHERE name = 'secret' AND x = 1",
                "'x' in \"… * FROM items WHERE name = '...' AND x = 1\"",
            ),
            ("SELECT @@secret", "what comes there is not SQL"),
        ],
    )
    def test_a_query_is_told_by_its_place_and_what_is_wrong_there(
        self, items_harness: SQLiteHarness, query: str, expected: str
    ) -> None:
        error = refused(items_harness.path, query)

        assert isinstance(error, QueryRejected)
        assert expected in str(error)
        assert not error.transient

    def test_a_value_over_the_limit_ends_the_pull_and_says_so(self, items_harness: SQLiteHarness) -> None:
        error = refused(items_harness.path, f"SELECT zeroblob({MAX_VALUE_BYTES + 1}) AS id")

        assert isinstance(error, SourceFailed)
        assert "larger than 64 MiB" in str(error)

    def test_a_watched_column_that_is_not_there_is_no_text(self, items_harness: SQLiteHarness) -> None:
        source = open_source("sqlite", items_harness.config, **items_harness.allowed)
        settings = {"name": "n", "connector_type": "sqlite", "vertical": "v", "entity_type": "e"}
        connector: Any = ConnectorSettings.model_validate(settings | {"query": items_harness.everything})

        with pytest.raises(QueryRejected, match="has no column 'nope'"):
            look(connector, Watch(cursor_column="nope"), source, DEVELOPMENT)


class TestRows:
    def faults(self, path: Path, query: str) -> tuple[int, dict[int, tuple[Reason, str | None]]]:
        async def read() -> tuple[int, dict[int, tuple[Reason, str | None]]]:
            async with reading(path, query) as result:
                (batch,) = [batch async for batch in result.batches]
                return batch.frame.height, {n: (fault.reason, fault.column) for n, fault in batch.faults.items()}

        return asyncio.run(read())

    def test_a_text_that_is_no_utf8_rejects_its_row(self, items_harness: SQLiteHarness) -> None:
        query = "SELECT id, CASE id WHEN 2 THEN CAST(x'ff61' AS TEXT) ELSE name END AS name FROM items"

        assert self.faults(items_harness.path, query) == (3, {1: (Reason.NOT_UTF8, "name")})

    def test_the_key_of_such_a_row_is_told_if_it_is_another_column(self, items_harness: SQLiteHarness) -> None:
        async def read() -> list[str | None]:
            async with reading(items_harness.path, "SELECT 7 AS id, CAST(x'ff' AS TEXT) AS v") as result:
                return [key async for batch in result.batches for key in batch.frame[KEY]]

        assert asyncio.run(read()) == ["7"]

    @pytest.mark.parametrize("size", [5, 20])
    def test_what_counts_is_a_whole_row(self, items_harness: SQLiteHarness, size: int) -> None:
        columns = ", ".join(f"zeroblob({size * 2**20}) AS c{n}" for n in range(4))

        height, faults = self.faults(items_harness.path, f"SELECT {columns}")

        assert (height, faults) == (1, {0: (Reason.ROW_TOO_LARGE, None)})
