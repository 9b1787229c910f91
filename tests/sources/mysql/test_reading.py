"""What is particular to MySQL and MariaDB, on both."""

import asyncio
import datetime as dt
import json
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncmy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.batches import MAX_BATCH_BYTES, Batch
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import (
    InvalidConnector,
    LoginRefused,
    QueryRejected,
    SourceError,
    SourceFailed,
    SourceUnreachable,
    TlsFailed,
)
from qanatix_pipelines.pull import PullOutcome
from qanatix_pipelines.sources import check_connector, open_source
from qanatix_pipelines.sources.mysql import reading as mysql_reading
from qanatix_pipelines.sources.mysql.query import parse_mysql
from qanatix_pipelines.sources.sql import SqlQuery
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.watermarks import Window
from tests.reported import PASSED, tls_status
from tests.servers import Server, new_password
from tests.servers.debian import DownloadFailed
from tests.sources.mysql.harness import USER, MySQLHarness
from tests.sources.mysql.hostile import CLEAR_PASSWORD, OK, hostile_server, local_infile
from tests.sources.mysql.server import execute, parts, start_mariadb, start_mysql97

MIB = 2**20
CONFIG = {"host": "db.internal", "user": "reader", "password": "secret", "database": "shop"}


@pytest.fixture
def items(mysql_server: Server) -> MySQLHarness:
    return MySQLHarness(mysql_server)


async def _rows(config: dict[str, Any], query: str, since: dt.datetime | None = None) -> list[dict[str, Any]]:
    async with open_source("mysql", config).read(query, window=Window(since, overlap=0), batch_size=1000) as reading:
        return [row async for batch in reading.batches for row in batch.frame.iter_rows(named=True)]


def rows(config: dict[str, Any], query: str, since: dt.datetime | None = None) -> list[dict[str, Any]]:
    return asyncio.run(_rows(config, query, since))


def reach(config: dict[str, Any]) -> Any:
    """The watermark of a reading. None if it does not move."""

    async def read() -> Any:
        async with open_source("mysql", config).read("SELECT :last_pull", window=Window(), batch_size=1) as reading:
            return reading.watermark

    return asyncio.run(read())


def started(start: Callable[..., Server], **options: Any) -> Server:
    try:
        return start(**options)
    except DownloadFailed as reason:
        pytest.skip(str(reason))


def user(server: Server, name: str, *grants: str) -> dict[str, Any]:
    """The config of a new user with these privileges."""
    password = new_password()
    execute(
        server.address,
        f"DROP USER IF EXISTS {name}@'%'",
        f"CREATE USER {name}@'%' IDENTIFIED BY '{password}'",
        *(f"GRANT {grant} TO {name}@'%'" for grant in grants),
    )
    return parts(server.address) | {"user": name, "password": password}


def who_sees(server: Server) -> dict[str, Any]:
    """The config of a user that sees all transactions."""
    config = user(server, "seeing", f"SELECT ON {parts(server.address)['database']}.*")
    execute(server.address, "GRANT PROCESS ON *.* TO seeing@'%'")
    return config


# connection_config


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"read_default_file": "/etc/my.cnf"}, "read_default_file", "is not an option of mysql"),
        ({"unix_socket": "/run/mysqld.sock"}, "unix_socket", "host, port, user, password, database, tls"),
        ({"local_infile": True}, "local_infile", "is not an option"),
        ({"init_command": "SET @x = 1"}, "init_command", "is not an option"),
        ({"port": 0}, "port", "greater than or equal to 1"),
        ({"port": 65_536}, "port", "less than or equal to 65535"),
        ({"port": "3306"}, "port", "must be a whole number"),
        ({"host": ""}, "host", "must not be empty"),
        ({"host": "a" * 64 + ".example"}, "host", "name or an address"),
        ({"user": ""}, "user", "must not be empty"),
        ({"user": "a\x00b"}, "user", "control characters"),
        ({"password": ""}, "password", "must not be empty"),
        ({"password": "pass\x00word"}, "password", "control characters"),
        ({"password": "\ud800"}, "password", "surrogates"),
        ({"database": ""}, "database", "must not be empty"),
        ({"tls": "preferred"}, "tls", "'disabled', 'required' or 'verify'"),
    ],
)
def test_a_config_is_refused_by_its_field(changes: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InvalidConnector, match=said) as refused:
        check_connector("mysql", CONFIG | changes, "SELECT 1")

    assert refused.value.field == ("connection_config", field)
    assert "secret" not in str(refused.value)


# The query


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO items VALUES (1)",
        "DELETE FROM items",
        "SET @x = 1",
        "CALL p()",
        "SHOW TABLES",
        "EXPLAIN SELECT 1",
        "HANDLER items OPEN",
        "SELECT 1; COMMIT; INSERT INTO items VALUES (0, 'written', now())",
        "SELECT * FROM items INTO OUTFILE '/tmp/x'",
        "SELECT * INTO DUMPFILE '/tmp/x' FROM items",
        "SELECT 1 INTO @x",
        "(SELECT 1) INTO @x",
        "WITH a AS (SELECT 1) SELECT * FROM a INTO @x",
        "SELECT LOAD_FILE('/etc/passwd')",
        "SELECT load_file ('/etc/passwd')",
        "SELECT `load_file`('/etc/passwd')",
        "SELECT LOAD_FILE /* */ ('/etc/passwd')",
        "SELECT 1 FOR UPDATE",
        "SELECT 1 FOR /* */ SHARE",
        "SELECT 1 LOCK IN SHARE MODE",
        "SELECT 1 /*! INTO @x */",
        "SELECT 1 /*!50000 INTO @x */",
        "SELECT 1 /*M! INTO @x */",
        "/*! SELECT 1 */",
        "SELECT 1 /* /* */ INTO @x -- */",
        "SELECT 1--1 INTO @x",
        "SELECT 1.0INTO @x",
        "SELECT 1.INTO @x",
        "SELECT .5INTO @x",
        "SELECT 1.5e+3INTO @x",
        "SELECT \\NINTO @x",
        "SELECT id FROM items WHERE id > .5FOR UPDATE",
        "",
        "-- nothing",
        "SELECT 'not closed",
    ],
)
def test_a_query_that_is_none_is_refused_when_it_is_registered(query: str) -> None:
    with pytest.raises(InvalidConnector) as refused:
        check_connector("mysql", CONFIG, query)

    assert refused.value.field == ("query",)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1;",
        "select 1 -- a remark; of INTO\n",
        "SELECT 1 # a remark",
        "/* LOAD_FILE(1) */ SELECT ';INTO' AS `into`, \"/*! x */\"",
        "(SELECT 1) UNION (SELECT 2)",
        "WITH a AS (SELECT 1) SELECT /*+ NO_MERGE(a) */ * FROM a",
        "SELECT load_file FROM files",
        "SELECT 1--1",
        "SELECT 1.5e-3, .5, 1., 0x1F, '\\N', `2nd`, t1.id FROM t1",
    ],
)
def test_a_query_is_accepted(query: str) -> None:
    check_connector("mysql", CONFIG, query)


@given(st.text(alphabet="% :?s()'\"`\\a-/*#\n", max_size=20))
def test_writing_a_value_gives_back_what_the_user_wrote(text: str) -> None:
    """The value is written into the text, and nothing else is changed, whatever stands around it."""
    try:
        statement = parse_mysql(f"SELECT {text} :last_pull")
    except QueryRejected:
        return
    written = statement.written(["<value>"] * statement.placeholders)

    assert written == f"SELECT {text} " + ("<value>" if statement.placeholders else ":last_pull")


def test_a_percent_sign_is_one_with_and_without_last_pull(items: MySQLHarness) -> None:
    wanted = {"a": "100%", "b": "%s", "c": 1, "d": 1}
    query = "SELECT '100%' AS a, '%s' AS b, 'abc' LIKE '%b%' AS c, 7 % 2 AS d"

    assert rows(items.config, query) == [wanted]
    assert rows(items.config, f"{query} FROM (SELECT 1) AS t WHERE now() > :last_pull") == [wanted]


def test_last_pull_is_a_datetime_to_the_microsecond_in_utc(items: MySQLHarness) -> None:
    since = dt.datetime(2026, 1, 2, 4, 4, 5, 678901, tzinfo=dt.timezone(dt.timedelta(hours=1)))

    (row,) = rows(items.config, "SELECT CAST(:last_pull AS DATETIME(6)) AS a, ':last_pull' AS b", since)

    assert row == {"a": "2026-01-02T03:04:05.678901", "b": ":last_pull"}


@pytest.mark.parametrize("column", ["dt", "dt6", "ts", "ts6", "d"])
@pytest.mark.parametrize(
    "bound",
    [
        ":last_pull",
        "DATE(:last_pull)",
        ":last_pull - INTERVAL 1 HOUR",
        ":last_pull /* the hour that comes twice */ - INTERVAL 1 HOUR",
        "(:last_pull) - INTERVAL 1 HOUR",
        "DATE(:last_pull) - INTERVAL 1 DAY",
        "CONVERT_TZ(:last_pull, '+00:00', 'SYSTEM')",
        "CONVERT_TZ(:last_pull, '+00:00', '-05:00')",
    ],
)
def test_the_first_pull_sees_every_row_that_has_a_time(items: MySQLHarness, column: str, bound: str) -> None:
    execute(
        items.server.address,
        "SET SESSION sql_mode = '', SESSION time_zone = '+00:00'",
        "DROP TABLE IF EXISTS times",
        "CREATE TABLE times (id int, dt datetime, dt6 datetime(6), ts timestamp NULL, ts6 timestamp(6) NULL, d date)",
        "INSERT INTO times VALUES (1, '1001-01-01', '1001-01-01', '1970-01-01 00:00:01', '1970-01-01 00:00:01', "
        "'1001-01-01'), (2, '9999-12-31', '9999-12-31', '2038-01-19 03:14:07', '2038-01-19 03:14:07', '9999-12-31')",
    )

    seen = rows(items.config, f"SELECT id FROM times WHERE {column} > {bound}")

    assert [row["id"] for row in seen] == [1, 2]


@pytest.mark.parametrize("column", ["dt", "dt6", "d"])
@pytest.mark.parametrize(
    "condition",
    [
        "{} > :last_pull",
        "({}>:last_pull)",
        "id > 9 OR {} >= :last_pull ORDER BY id",
        "{} >= DATE(:last_pull) AND id < 9",
        "{} > CONVERT_TZ(:last_pull, '+00:00', '+09:00') OR {} < '1000-01-01'",
    ],
)
def test_the_first_pull_sees_the_zero_of_other_systems(items: MySQLHarness, column: str, condition: str) -> None:
    execute(
        items.server.address,
        "DROP TABLE IF EXISTS times",
        "CREATE TABLE times (id int, dt datetime, dt6 datetime(6), d date, KEY (dt), KEY (dt6), KEY (d))",
        *(
            f"INSERT INTO times VALUES ({n}, '{at}', '{at}', '{at}')"
            for n, at in enumerate(("0001-01-01", "1970-01-01"))
        ),
    )
    query = f"SELECT id FROM times WHERE {condition.replace('{}', column)}"

    for _ in range(2):
        assert sorted(row["id"] for row in rows(items.config, query)) == [0, 1]


@pytest.mark.parametrize("column", ["dt", "ts", "d"])
def test_a_zero_date_is_no_time_and_found_by_a_condition_of_its_own(items: MySQLHarness, column: str) -> None:
    execute(
        items.server.address,
        "SET SESSION sql_mode = ''",
        "DROP TABLE IF EXISTS times",
        "CREATE TABLE times (id int, dt datetime, ts timestamp NULL, d date, KEY (dt), KEY (ts), KEY (d))",
        "INSERT INTO times VALUES (1, '0000-00-00', '0000-00-00', '0000-00-00')",
    )

    assert rows(items.config, f"SELECT id FROM times WHERE {column} > :last_pull") == []
    assert rows(items.config, f"SELECT id FROM times WHERE {column} > :last_pull OR {column} = 0") == [{"id": 1}]


def test_the_first_pull_sees_unix_times(items: MySQLHarness) -> None:
    assert rows(items.config, "SELECT 1 AS n WHERE 0 <= COALESCE(UNIX_TIMESTAMP(:last_pull), 0)") == [{"n": 1}]


# Reading only


def test_statements_that_would_write_are_refused_by_the_server_itself(
    items: MySQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the tokenizer: what the session, the transaction and the protocol refuse."""
    monkeypatch.setattr(mysql_reading, "parse_mysql", lambda query, _modes=frozenset(): SqlQuery((query,)))
    items.fill(3)
    statements = [
        "SELECT 1; COMMIT; INSERT INTO items VALUES (0, 'written', now())",
        "SELECT 1; SET SESSION TRANSACTION READ WRITE; COMMIT; INSERT INTO items VALUES (0, 'written', now())",
        "INSERT INTO items VALUES (0, 'written', now())",
        "/*!50000 INSERT INTO items VALUES (0, 'written', now()) */",
        "WITH a AS (SELECT 1 AS id) DELETE FROM items",
        "UPDATE items SET name = 'written'",
        "SELECT * FROM items FOR UPDATE",
        "DROP TABLE items",
        "TRUNCATE items",
        "CREATE TABLE must_not_be (n int)",
        "ALTER TABLE items ADD COLUMN must_not_be int",
        "SELECT * FROM items INTO OUTFILE '/tmp/qanatix-must-not-be'",
        "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE items",
    ]

    for statement in statements:
        with pytest.raises(QueryRejected):
            rows(items.config, statement)

    assert [row["name"] for row in rows(items.config, items.everything)] == ["Item 1", "Item 2", "Item 3"]
    with pytest.raises(QueryRejected):
        rows(items.config, "SELECT * FROM must_not_be")


def test_a_function_that_writes_is_refused(items: MySQLHarness) -> None:
    items.fill(1)
    execute(
        items.server.address,
        "DROP FUNCTION IF EXISTS writes",
        "CREATE FUNCTION writes() RETURNS int DETERMINISTIC MODIFIES SQL DATA "
        "BEGIN INSERT INTO items VALUES (0, 'written', now()); RETURN 1; END",
    )

    with pytest.raises(QueryRejected, match="must only read"):
        rows(items.config, "SELECT writes()")

    assert len(rows(items.config, items.everything)) == 1


def test_nothing_is_read_from_a_source_that_runs_several_statements(
    items: MySQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection tries it, and notices if the driver's flag was not taken back."""
    monkeypatch.setattr(mysql_reading, "CLIENT", SimpleNamespace(SSL=mysql_reading.CLIENT.SSL, MULTI_STATEMENTS=0))

    with pytest.raises(SourceFailed, match="more than one statement at a time"):
        rows(items.config, "SELECT 1")


def test_a_pull_reads_one_snapshot(items: MySQLHarness) -> None:
    """Rows that are committed after the snapshot are not seen, though the query runs on."""
    items.fill(3)

    async def read() -> int:
        query = "SELECT id, name FROM items ORDER BY id"
        async with open_source("mysql", items.config).read(query, window=Window(), batch_size=1) as reading:
            count = 0
            async for batch in reading.batches:
                await asyncio.to_thread(execute, items.server.address, "UPDATE items SET name = 'changed'")
                assert "changed" not in batch.frame["name"].to_list()
                count += batch.frame.height
            return count

    assert asyncio.run(read()) == 3


def test_a_slow_reader_does_not_gather_the_whole_result(items: MySQLHarness) -> None:
    """100 MB are sent, in batches of 1 MB. While a batch is stored, the driver receives nothing."""
    size, count, batch_size = 10_000, 10_000, 100
    digits = "(SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 UNION SELECT 6 "
    digits += "UNION SELECT 7 UNION SELECT 8 UNION SELECT 9)"
    query = f"SELECT repeat('x', {size}) AS v FROM {digits} a, {digits} b, {digits} c, {digits} d"

    async def read() -> int:
        seen = 0
        async with open_source("mysql", items.config).read(query, window=Window(), batch_size=batch_size) as reading:
            async for batch in reading.batches:
                for _ in range(50):
                    await asyncio.sleep(0)
                seen += batch.frame.height
        return seen

    tracemalloc.start()
    try:
        assert asyncio.run(read()) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 20_000_000


def _batches(config: dict[str, Any], query: str, batch_size: int = 50_000) -> list[Batch]:
    async def read() -> list[Batch]:
        async with open_source("mysql", config).read(query, window=Window(), batch_size=batch_size) as reading:
            return [batch async for batch in reading.batches]

    return asyncio.run(read())


# The greatest value that fits into one packet beside a number of one digit.
GREATEST = 2**24 - 2 - 6


def test_what_one_packet_has_no_room_for_is_left_out_wherever_it_stands(items: MySQLHarness) -> None:
    lengths = {1: 17 * MIB, 2: 40 * MIB, 5: GREATEST + 1, 6: GREATEST, 9: 17 * MIB}
    cases = " ".join(f"WHEN {n} THEN {length}" for n, length in lengths.items())
    items.fill(9)

    batches = _batches(
        items.config, f"SELECT id, repeat('x', CASE id {cases} ELSE id END) AS body FROM items ORDER BY id"
    )

    oversized = [place + 1 for place in _places(batches)]
    bodies = [body and len(body) for batch in batches for body in batch.frame["body"]]
    assert oversized == [1, 2, 5, 9]
    assert bodies == [None, None, 3, 4, None, GREATEST, 7, 8, None]


def test_packets_are_counted_on_beyond_an_oversized_row(items: MySQLHarness) -> None:
    """Packets are numbered by one byte, and an oversized row of 40 MiB takes three packets."""
    items.fill(600)

    batches = _batches(items.config, items.with_body(40 * MIB, item=300))

    assert _places(batches) == [299]
    assert [n for batch in batches for n in batch.frame["id"]] == [*range(1, 300), None, *range(301, 601)]


def test_rows_that_become_wide_come_all_and_in_their_order(items: MySQLHarness) -> None:
    items.fill(300)

    batches = _batches(items.config, items.with_bodies("CASE WHEN id BETWEEN 200 AND 260 THEN 1000000 ELSE 1 END"))

    assert [n for batch in batches for n in batch.frame["id"]] == list(range(1, 301))
    assert max(batch.frame.estimated_size() for batch in batches) < MAX_BATCH_BYTES
    assert len(batches) == 2


def _places(batches: list[Batch]) -> list[int]:
    """The places of oversized rows in the whole result."""
    first, places = 0, []
    for batch in batches:
        places += [first + place for place in sorted(batch.faults)]
        first += batch.frame.height
    return places


# The watermark


def test_a_transaction_that_is_open_holds_the_watermark_back_for_who_may_see_it(items: MySQLHarness) -> None:
    items.fill(1)
    seeing = who_sees(items.server)
    blind = user(items.server, "blind", f"SELECT ON {parts(items.server.address)['database']}.*")

    began, held, not_held = asyncio.run(_while_a_transaction_is_open(items.server, seeing, blind))

    assert held <= began
    assert held > began - dt.timedelta(seconds=10)
    assert not_held > began
    assert reach(seeing) > began


def test_a_transaction_that_has_just_begun_holds_the_watermark_back(items: MySQLHarness) -> None:
    items.fill(1)
    seeing, address = who_sees(items.server), items.server.address

    # The server keeps its list of transactions for a tenth of a second.
    execute(address, "SELECT count(*) FROM information_schema.innodb_trx")
    reached, stamp = asyncio.run(_while_a_row_is_stamped(items, seeing))

    assert reached < stamp


def test_a_transaction_that_no_list_shows_yet_holds_the_watermark_where_it_was(items: MySQLHarness) -> None:
    """Somebody reads the list so often that the server never renews it."""
    items.fill(1)
    seeing = who_sees(items.server)
    ended = threading.Event()

    def read_the_list() -> None:
        while not ended.is_set():
            execute(
                items.server.address, *["SELECT count(*) FROM information_schema.innodb_trx", "DO SLEEP(0.02)"] * 20
            )

    with ThreadPoolExecutor(2) as threads:
        reading = [threads.submit(read_the_list) for _ in range(2)]
        try:
            reached, stamp = asyncio.run(_while_a_row_is_stamped(items, seeing))
        finally:
            ended.set()
        for thread in reading:
            thread.result()

    assert reached is None or reached < stamp


def test_a_statement_that_waits_for_its_table_holds_the_watermark_back(items: MySQLHarness) -> None:
    """The statement stamped its row when it began, and InnoDB does not list it yet."""
    items.fill(1)
    execute(items.server.address, "SELECT count(*) FROM information_schema.innodb_trx")

    reached, stamp = asyncio.run(_while_a_row_is_stamped(items, who_sees(items.server), waits=True))

    assert reached < stamp


@pytest.mark.server
@pytest.mark.parametrize("start", [start_mariadb, start_mysql97])
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_the_watermark_is_right_where_the_servers_zone_is_not_utc(start: Callable[..., Server], zone: str) -> None:
    server = started(start, environment={"TZ": zone})
    try:
        items = MySQLHarness(server)
        items.fill(1)
        config = who_sees(server)

        began, held, _ = asyncio.run(_while_a_transaction_is_open(server, config, config))

        assert began - dt.timedelta(seconds=10) < held <= began
        query = "SELECT now(6) > CONVERT_TZ(:last_pull, '+00:00', 'SYSTEM') AS later"
        assert len(rows(items.config, query, held)) == 1
        execute(
            server.address,
            "CREATE TABLE local (stamped datetime(6))",
            "INSERT INTO local VALUES (now(6)), (now(6) - INTERVAL 1 HOUR)",
        )
        late = "SELECT * FROM local WHERE stamped > CONVERT_TZ(:last_pull, '+00:00', 'SYSTEM')"
        assert len(rows(config, late, began)) == 1
    finally:
        server.stop()


def test_while_a_transaction_is_prepared_the_watermark_stays_where_it_was(items: MySQLHarness) -> None:
    """A server that was restarted does not know when the transaction began."""
    items.fill(1)
    update = "UPDATE items SET updated_at = NOW(6)"
    execute(items.server.address, "XA START 'kept'", update, "XA END 'kept'", "XA PREPARE 'kept'")

    try:
        reached = reach(who_sees(items.server))
    finally:
        execute(items.server.address, "XA ROLLBACK 'kept'")

    assert reached is None


async def _while_a_row_is_stamped(
    items: MySQLHarness, config: dict[str, Any], *, waits: bool = False
) -> tuple[dt.datetime, dt.datetime]:
    """A watermark that is taken before the row is committed, and the row's stamp. The statement may wait for a lock."""
    address = parts(items.server.address)
    async with _cursor(address) as locker, _cursor(address) as writer:
        if waits:
            await locker.execute("LOCK TABLES items READ")
        await writer.execute("BEGIN")
        update = asyncio.create_task(writer.execute("UPDATE items SET updated_at = UTC_TIMESTAMP(6)"))
        if waits:
            await asyncio.to_thread(_until_one_waits, items.server)
            reached = await asyncio.to_thread(reach, config)
            await locker.execute("UNLOCK TABLES")
            await update
        else:
            await update
            reached = await asyncio.to_thread(reach, config)
        await writer.execute("COMMIT")
        await writer.execute("SELECT updated_at FROM items")
        ((stamp,),) = await writer.fetchall()
    return reached, stamp.replace(tzinfo=dt.UTC)


def _until_one_waits(server: Server) -> None:
    waiting = "SELECT id FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'"
    while not execute(server.address, waiting):
        time.sleep(0.05)


@asynccontextmanager
async def _cursor(address: dict[str, Any]) -> AsyncIterator[Any]:
    connection = await asyncmy.connect(**address, autocommit=True, init_command="SET time_zone = '+00:00'")
    try:
        async with connection.cursor() as cursor:
            yield cursor
    finally:
        await connection.ensure_closed()


async def _while_a_transaction_is_open(
    server: Server, first: dict[str, Any], second: dict[str, Any]
) -> tuple[dt.datetime, dt.datetime, dt.datetime]:
    """The latest time at which it can have begun, and two users' watermarks later, while it is still open."""
    connection = await asyncmy.connect(**parts(server.address))
    try:
        async with connection.cursor() as cursor:
            await cursor.execute("UPDATE items SET name = 'open'")
            await cursor.execute("SELECT UTC_TIMESTAMP(6)")
            ((began,),) = await cursor.fetchall()
            # trx_started counts whole seconds: so it differs from the clock.
            await cursor.execute("SELECT SLEEP(1.1)")
            held = await asyncio.to_thread(reach, first)
            not_held = await asyncio.to_thread(reach, second)
            await connection.rollback()
    finally:
        await connection.ensure_closed()
    return began.replace(tzinfo=dt.UTC), held, not_held


# TLS and logging in


@pytest.fixture(scope="session", params=[start_mariadb, start_mysql97])
def tls_server(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Iterator[Server]:
    server = started(request.param, tls=certificate)
    yield server
    server.stop()


def _cipher(server: Server, tls: str) -> str:
    schema = "information_schema" if "MariaDB" in server.version else "performance_schema"
    query = f"SELECT VARIABLE_VALUE AS cipher FROM {schema}.session_status WHERE VARIABLE_NAME = 'Ssl_cipher'"
    (row,) = rows(MySQLHarness(server).config | {"tls": tls}, query)
    return str(row["cipher"])


def test_required_encrypts_without_asking_who_signed(tls_server: Server) -> None:
    assert _cipher(tls_server, "required").startswith("TLS_")


def test_disabled_does_not_encrypt(tls_server: Server) -> None:
    assert _cipher(tls_server, "disabled") == ""


def test_verify_refuses_a_certificate_that_nobody_vouches_for(tls_server: Server) -> None:
    with pytest.raises(TlsFailed, match="could not be verified"):
        _cipher(tls_server, "verify")


def test_verify_takes_a_certificate_of_an_authority_of_the_systems(
    tls_server: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    assert _cipher(tls_server, "verify").startswith("TLS_")


def test_a_test_of_the_connector_says_that_it_is_verified(
    tls_server: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    config = MySQLHarness(tls_server).config | {"tls": "verify"}

    assert tls_status("mysql", config, "SELECT 1 AS id") is PASSED


def test_verify_refuses_a_certificate_for_another_name(
    tls_server: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    config = MySQLHarness(tls_server).config | {"tls": "verify", "host": "localhost"}

    with pytest.raises(TlsFailed):
        rows(config, "SELECT 1")


@pytest.mark.server
@pytest.mark.parametrize("tls", ["required", "verify"])
@pytest.mark.parametrize("start", [start_mariadb, start_mysql97])
def test_a_server_without_tls_is_refused_where_it_is_wanted(start: Callable[..., Server], tls: str) -> None:
    server = started(start, options=["--ssl=OFF"] if start is start_mariadb else ["--tls-version="])
    try:
        with pytest.raises(TlsFailed, match="offers no TLS"):
            rows(MySQLHarness(server).config | {"tls": tls}, "SELECT 1")
    finally:
        server.stop()


def test_an_abandoned_reading_over_tls_closes_at_once(tls_server: Server) -> None:
    config = MySQLHarness(tls_server).config | {"tls": "required"}
    query = "SELECT repeat('x', 10000) AS v FROM information_schema.columns a, information_schema.columns b"

    async def take_one_batch() -> None:
        async with open_source("mysql", config).read(query, window=Window(), batch_size=10) as reading:
            await anext(aiter(reading.batches))

    async def in_time() -> None:
        async with asyncio.timeout(mysql_reading.CLOSE_SECONDS):
            await take_one_batch()

    asyncio.run(in_time())


def test_a_login_with_caching_sha2_password_works_without_tls(items: MySQLHarness) -> None:
    """A new user's first login takes the full exchange: the password is encrypted with the server's RSA key."""
    if "MariaDB" in items.server.version:
        pytest.skip("MariaDB has no caching_sha2_password")
    config = user(items.server, "fresh")
    execute(items.server.address, f"GRANT SELECT ON {config['database']}.* TO fresh@'%'")

    assert rows(config | {"tls": "disabled"}, "SELECT 1 AS n") == [{"n": 1}]
    ((plugin,),) = execute(items.server.address, "SELECT plugin FROM mysql.user WHERE user = 'fresh'")
    assert plugin == "caching_sha2_password"


def test_a_password_may_hold_any_letter(items: MySQLHarness) -> None:
    config = user(items.server, "polyglot", f"SELECT ON {parts(items.server.address)['database']}.*")
    execute(items.server.address, "SET NAMES utf8mb4", "ALTER USER polyglot@'%' IDENTIFIED BY 'пароль €@:/?#%s'")

    assert rows(config | {"password": "пароль €@:/?#%s"}, "SELECT 1 AS n") == [{"n": 1}]


def test_the_bare_password_is_not_given_without_tls() -> None:
    secret = "a-password-for-nobody"

    async def pull() -> bytes:
        async with hostile_server([CLEAR_PASSWORD, OK, OK]) as (port, received):
            with pytest.raises(LoginRefused):
                await _rows(CONFIG | {"host": "127.0.0.1", "port": port, "password": secret}, "SELECT 1")
            return bytes(received)

    received = asyncio.run(pull())

    assert b"reader" in received
    assert secret.encode() not in received


def test_a_server_that_asks_for_a_file_of_ours_gets_none(tmp_path: Path) -> None:
    file = tmp_path / "ours"
    file.write_text("content-of-our-file")

    async def pull() -> bytes:
        async with hostile_server([OK, local_infile(str(file)), OK, OK]) as (port, received):
            with pytest.raises(SourceError):
                await _rows(CONFIG | {"host": "127.0.0.1", "port": port}, "SELECT 1")
            return bytes(received)

    received = asyncio.run(pull())

    assert b"SET SESSION sql_select_limit" in received
    assert b"content-of-our-file" not in received


def test_an_answer_without_end_is_not_listened_to() -> None:
    """A packet of the greatest size goes on in the next one, which only rows may do."""

    async def pull() -> None:
        async with hostile_server([OK, bytes(2**24 - 1)]) as (port, _):
            await _rows(CONFIG | {"host": "127.0.0.1", "port": port}, "SELECT 1")

    with pytest.raises(SourceFailed, match="larger than any that was asked for"):
        asyncio.run(pull())


def test_a_server_of_another_kind_is_not_quoted() -> None:
    async def pull() -> None:
        async with hostile_server([], greeting=b"SSH-2.0-OpenSSH_9.2 not a database") as (port, _):
            await _rows(CONFIG | {"host": "127.0.0.1", "port": port}, "SELECT 1")

    with pytest.raises((SourceFailed, SourceUnreachable)) as failed:
        asyncio.run(pull())

    assert "SSH" not in str(failed.value)


@pytest.mark.parametrize(
    ("query", "kind", "said"),
    [
        ("SELECT 'canary', nme FROM items", QueryRejected, "error 1054"),
        ("SELECT 'canary' FROM nowhere", QueryRejected, "error 1146"),
        ("SELECT 'canary' ((", QueryRejected, "error 1064"),
        ("SELECT nothing('canary')", QueryRejected, "error 1305|error 1630"),
        ("SELECT 'canary' UNION SELECT 1, 2", QueryRejected, "error 1222"),
    ],
)
def test_an_error_says_its_number_and_no_text_of_the_query(
    items: MySQLHarness, query: str, kind: type[SourceError], said: str
) -> None:
    items.fill(0)

    with pytest.raises(kind, match=said) as failed:
        rows(items.config, query)

    assert "canary" not in str(failed.value)
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__


def test_a_database_that_is_not_there_is_a_refused_login(items: MySQLHarness) -> None:
    with pytest.raises(LoginRefused, match="no such database"):
        rows(items.config | {"database": "no_such_database"}, "SELECT 1")


def test_a_pull_whose_connection_is_killed_says_so(items: MySQLHarness) -> None:
    async def read() -> None:
        query = "SELECT repeat('x', 10000) AS v FROM information_schema.columns a, information_schema.columns b"
        async with open_source("mysql", items.config).read(query, window=Window(), batch_size=10) as reading:
            batches = aiter(reading.batches)
            await anext(batches)
            find = f"SELECT id FROM information_schema.processlist WHERE user = '{USER}'"
            for (number,) in await asyncio.to_thread(execute, items.server.address, find):
                await asyncio.to_thread(execute, items.server.address, f"KILL {number}")
            async for _ in batches:
                pass

    with pytest.raises(SourceUnreachable):
        asyncio.run(read())


# MariaDB's JSON


def test_text_that_says_json_but_is_none_stays_text(mysql_server: Server) -> None:
    if "MariaDB" not in mysql_server.version:
        pytest.skip("MySQL's own JSON type holds nothing else")
    execute(
        mysql_server.address,
        "SET SESSION check_constraint_checks = 0",
        "DROP TABLE IF EXISTS documents",
        "CREATE TABLE documents (id int, d json)",
        """INSERT INTO documents VALUES (1, '{"a": 1}'), (2, 'not "json'), (3, 'NaN'), (4, NULL)""",
    )

    seen = rows(MySQLHarness(mysql_server).config, "SELECT d AS document FROM documents ORDER BY id")

    assert [row["document"] for row in seen] == ['{"a": 1}', '"not \\"json"', '"NaN"', None]


def test_a_document_becomes_structure(
    items: MySQLHarness, register: Callable[..., Connector], pulled: Callable[[Connector], PullOutcome], store: Store
) -> None:
    execute(
        items.server.address,
        "DROP TABLE IF EXISTS documents",
        "CREATE TABLE documents (id int, d json)",
        """INSERT INTO documents VALUES (1, '{"a": [1, {"b": "é"}]}')""",
    )

    pulled(register(items, "SELECT id, d FROM documents"))

    (entity,), _ = store.entities.page(vertical="testing", entity_type="item", limit=10, cursor=None)
    assert json.loads(entity.data) == {"id": 1, "d": {"a": [1, {"b": "é"}]}}
