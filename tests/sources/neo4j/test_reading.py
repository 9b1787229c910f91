"""What only Neo4j has: its connection_config, the read-only gate, the watermark, nodes as entities, TLS."""

import asyncio
import gc
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import neo4j
import pytest

from qanatix_pipelines.batches import OBJECT, Batch, Reading
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import (
    InvalidConnector,
    LoginRefused,
    QueryRejected,
    ResultUnusable,
    SourceError,
    SourceFailed,
    SourceTimeout,
    SourceUnreachable,
    TlsFailed,
)
from qanatix_pipelines.pull import PullOutcome
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.rejections import Reason, Rejection
from qanatix_pipelines.sources import check_connector, open_source
from qanatix_pipelines.sources.neo4j import query as cypher
from qanatix_pipelines.sources.neo4j import reading as neo4j_reading
from qanatix_pipelines.sources.neo4j import values as neo4j_values
from qanatix_pipelines.sources.neo4j.clock import reach
from qanatix_pipelines.sources.neo4j.config import Config
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.watermarks import Window
from tests.campaigns.hostile_answers import bolt_text, chunked
from tests.campaigns.proxy import RESET_ON_CLOSE
from tests.reported import PASSED, tls_status
from tests.servers import Server
from tests.sources.neo4j.harness import Neo4jHarness
from tests.sources.neo4j.server import driver
from tests.sources.neo4j.test_query import HARMLESS

Rejected = Callable[[Receipt], list[Rejection]]

CONFIG = {"uri": "bolt+s://db.internal:7687", "user": "reader", "password": "s3cret-canary", "database": "neo4j"}
ENDLESS = "UNWIND range(1, 1000000000) AS x RETURN x, 'row ' + x AS name"


@pytest.fixture
def graph(neo4j_server: Server) -> Neo4jHarness:
    harness = Neo4jHarness(neo4j_server)
    harness.fill(0)
    return harness


async def _read(
    config: dict[str, Any], query: str, since: datetime | None, batch_size: int
) -> tuple[Reading, list[Batch]]:
    async with open_source("neo4j", config).read(
        query, window=Window(since, overlap=0), batch_size=batch_size
    ) as reading:
        return reading, [batch async for batch in reading.batches]


def read(
    config: dict[str, Any], query: str, *, since: datetime | None = None, batch_size: int = 100
) -> tuple[Reading, list[Batch]]:
    return asyncio.run(_read(config, query, since, batch_size))


def rows(config: dict[str, Any], query: str, **options: Any) -> list[dict[str, Any]]:
    """The data of the rows. It does not have the column `name`."""
    return [json.loads(text) for batch in read(config, query, **options)[1] for text in batch.frame[OBJECT]]


@pytest.mark.parametrize(
    ("uri", "connected_to", "tls"),
    [
        ("bolt+s://db.internal", "bolt+s://db.internal:7687", "verify"),
        ("neo4j+s://db.internal:9999", "bolt+s://db.internal:9999", "verify"),
        ("NEO4J+S://db.internal", "bolt+s://db.internal:7687", "verify"),
        ("bolt://localhost", "bolt://localhost:7687", "disabled"),
        ("neo4j://127.0.0.1:1", "bolt://127.0.0.1:1", "disabled"),
        ("bolt://[::1]:65535", "bolt://[::1]:65535", "disabled"),
        ("bolt://db.internal", "bolt://db.internal:7687", "verify"),
        ("neo4j://10.0.0.1", "bolt://10.0.0.1:7687", "verify"),
        ("bolt://localhost.example:1", "bolt://localhost.example:1", "verify"),
        ("bolt://[::2]", "bolt://[::2]:7687", "verify"),
    ],
)
def test_a_uri_names_one_server_and_no_routing(uri: str, connected_to: str, tls: str) -> None:
    config = Config.model_validate(CONFIG | {"uri": uri})

    assert (connected_to, tls) == (config.uri, config.tls)


@pytest.mark.parametrize(
    "uri",
    [
        "http://db.internal:7474",
        "https://db.internal",
        "bolt+ssc://db.internal",
        "neo4j+ssc://db.internal",
        "postgresql://db.internal",
        "db.internal:7687",
        "bolt+s://reader:s3cret-canary@db.internal",
        "bolt+s://db.internal/neo4j",
        "bolt+s://db.internal/",
        "neo4j+s://db.internal?policy=europe",
        "bolt+s://db.internal#top",
        "bolt+s://one.internal,two.internal",
        "bolt+s://one.internal:7687,two.internal:7687",
        "bolt+s://",
        "bolt+s://:7687",
        "bolt+s://db.internal:0",
        "bolt+s://db.internal:65536",
        "bolt+s://db.internal:port",
        "bolt+s://%2Ftmp%2Fsocket",
        "bolt+s://db.internal\n",
        "bolt+s://[fe80::1%25eth0]",
    ],
)
def test_a_uri_of_anything_else_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(InvalidConnector) as refused:
        check_connector("neo4j", CONFIG | {"uri": uri}, "RETURN 1 AS id")

    assert refused.value.field == ("connection_config", "uri")
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "tls", "becomes"),
    [
        ("bolt+s://db.internal", "disabled", None),
        ("bolt+s://localhost", "disabled", None),
        ("bolt://db.internal", "required", None),
        ("bolt://db.internal", "disabled", "disabled"),
        ("bolt://db.internal", "verify", "verify"),
        ("bolt://localhost", "verify", "verify"),
        ("bolt+s://db.internal", "verify", "verify"),
    ],
)
def test_a_connection_to_another_machine_is_plain_only_where_that_is_said(
    uri: str, tls: str | None, becomes: str | None
) -> None:
    given = CONFIG | {"uri": uri} | ({} if tls is None else {"tls": tls})

    if becomes is None:
        with pytest.raises(InvalidConnector) as refused:
            check_connector("neo4j", given, "RETURN 1 AS id")
        assert refused.value.field == ("connection_config", "tls")
    else:
        assert becomes == Config.model_validate(given).tls


@pytest.mark.parametrize("option", ["encrypted", "trusted_certificates", "resolver", "auth", "dsn"])
def test_an_unknown_option_is_refused_by_name(option: str) -> None:
    with pytest.raises(InvalidConnector) as refused:
        check_connector("neo4j", CONFIG | {option: "s3cret-canary"}, "RETURN 1 AS id")

    assert refused.value.field == ("connection_config", option)
    assert "uri, user, password, database, tls" in str(refused.value)


@pytest.mark.parametrize("option", ["uri", "user", "password", "database"])
def test_every_other_option_must_be_given(option: str) -> None:
    with pytest.raises(InvalidConnector) as refused:
        check_connector("neo4j", {name: CONFIG[name] for name in CONFIG if name != option}, "RETURN 1 AS id")

    assert refused.value.field[:2] == ("connection_config", option)


def test_the_password_is_not_shown() -> None:
    assert "canary" not in repr(Config.model_validate(CONFIG))


def test_a_writing_query_is_refused_at_registration() -> None:
    with pytest.raises(InvalidConnector, match="CREATE") as refused:
        check_connector("neo4j", CONFIG, "CREATE (n:Item) RETURN n")

    assert refused.value.field == ("query",)


@pytest.mark.parametrize(
    "writing",
    [
        "CREATE (n:Item {id: 1}) RETURN n",
        "MATCH (n:Item) SET n.id = 2 RETURN n",
        "MATCH (n:Item) DETACH DELETE n",
        "MERGE (n:Item {id: 3}) RETURN n",
        "CREATE INDEX must_not_be FOR (n:Item) ON (n.id)",
        "CALL db.createLabel('MustNotBe')",
    ],
)
def test_the_server_itself_refuses_what_writes(
    graph: Neo4jHarness, monkeypatch: pytest.MonkeyPatch, writing: str
) -> None:
    graph.fill(1)
    monkeypatch.setattr(cypher, "_check_clauses", lambda _tokens: None)

    with pytest.raises(SourceError):
        read(graph.config, writing)

    assert [list(row) for row in graph.run("MATCH (n:Item) RETURN n.name, n.id")] == [["Item 1", 1]]
    assert graph.run("SHOW INDEXES YIELD name WHERE name = 'must_not_be'") == []


@pytest.mark.parametrize("query", HARMLESS)
def test_the_server_takes_what_the_gate_lets_through(graph: Neo4jHarness, query: str) -> None:
    read(graph.config, query)


@pytest.mark.parametrize(
    "query",
    [
        "WITH 1 AS x LIMIT 1CALL db.labels() YIELD label RETURN label",
        "WITH 0x1LOAD CSV FROM 'file:///etc/passwd' AS row RETURN row",
        "WITH 1.5e3CALL db.labels() YIELD label RETURN label",
        "WITH {a: 1} AS m WITH m.CALL db.labels() YIELD label RETURN label",
        "WITH [1] AS m WITH m[0..CALL db.labels() YIELD label RETURN label",
        "MATCH (n:Item|CALL db.labels() YIELD label RETURN label",
        "WITH 1 AS x\u00b2CALL db.labels() YIELD label RETURN label",
    ],
)
def test_where_the_gate_takes_a_clauses_word_for_another_the_server_does_too(graph: Neo4jHarness, query: str) -> None:
    with pytest.raises(QueryRejected):
        read(graph.config, query)


def test_the_first_pull_begins_with_the_year_0(graph: Neo4jHarness) -> None:
    query = "RETURN toString($last_pull) AS since, valueType(:last_pull) AS kind"

    for _ in range(2):
        assert rows(graph.config, query) == [{"since": "0000-01-01T00:00:00Z", "kind": "ZONED DATETIME NOT NULL"}]


@pytest.mark.parametrize("zero", ["0000-01-01T00:00:00.000000001Z", "0001-01-01T00:00Z", "0001-01-01T00:00+14:00"])
def test_the_first_pull_sees_what_other_systems_stamp_with_their_zero(graph: Neo4jHarness, zero: str) -> None:
    query = f"WITH datetime('{zero}') AS at WHERE at > :last_pull RETURN 1 AS id"

    for _ in range(2):
        assert rows(graph.config, query) == [{"id": 1}]


def test_last_pull_is_a_zoned_datetime_to_the_microsecond(graph: Neo4jHarness) -> None:
    since = datetime(2026, 11, 23, 8, 9, 10, 123456, UTC)

    (row,) = rows(graph.config, "RETURN :last_pull AS since, valueType(:last_pull) AS kind", since=since)

    assert row == {"since": "2026-11-23T08:09:10.123456Z", "kind": "ZONED DATETIME NOT NULL"}


CONVERSIONS = [
    "datetime({epochMillis: n.ts}) > :last_pull",
    "n.ts > :last_pull.epochMillis",
    "datetime(n.iso) > :last_pull",
    "datetime({datetime: n.local, timezone: 'Europe/Berlin'}) > :last_pull",
    "n.local > localdatetime(datetime({datetime: :last_pull, timezone: 'Europe/Berlin'}))",
    "n.day >= date(:last_pull) - duration('P1D')",
]


@pytest.mark.parametrize("condition", CONVERSIONS)
def test_the_first_pull_can_be_converted_as_any_other(graph: Neo4jHarness, condition: str) -> None:
    graph.run(
        "WITH datetime('0001-01-01T00:00Z') AS at CREATE (:Item {id: 1, ts: at.epochMillis, day: date(at), "
        "iso: toString(at), local: localdatetime(at)})"
    )

    assert rows(graph.config, f"MATCH (n:Item) WHERE {condition} RETURN n.id AS id, 1 AS one") == [{"id": 1, "one": 1}]


@pytest.mark.parametrize("condition", CONVERSIONS)
def test_last_pull_is_compared_with_other_kinds_of_time_by_a_conversion(graph: Neo4jHarness, condition: str) -> None:
    """Two times, ten seconds before and after 22:30 UTC, which is 23:30 in Berlin."""
    graph.run(
        "UNWIND [-10, 10] AS s WITH s, datetime('2026-11-23T22:30Z') + duration({seconds: s}) AS at "
        "CREATE (:Item {id: s, ts: at.epochMillis, day: date(at), iso: toString(at), "
        "local: localdatetime(datetime({datetime: at, timezone: 'Europe/Berlin'}))})"
    )
    query = f"MATCH (n:Item) WHERE {condition} RETURN n.id AS id, 1 AS one ORDER BY id"

    found = rows(graph.config, query, since=datetime(2026, 11, 23, 22, 30, tzinfo=UTC))

    expected = [-10, 10] if "n.day" in condition else [10]
    assert expected == [row["id"] for row in found]


def test_an_open_transaction_holds_the_watermark_back(graph: Neo4jHarness) -> None:
    query = "MATCH (n:Item) WHERE n.updated_at > :last_pull RETURN n.id AS id, n.updated_at AS at"
    with driver(graph.server.address) as other, other.session(database=graph.config["database"]) as session:
        transaction = session.begin_transaction()
        stamp = transaction.run("CREATE (n:Item {id: 1, updated_at: datetime()}) RETURN n.updated_at").single(
            strict=True
        )[0]
        reading, before = read(graph.config, query)
        transaction.commit()
    after, _ = read(graph.config, query)

    assert before == []
    assert reading.watermark is not None
    assert after.watermark is not None
    assert reading.watermark < stamp.to_native() < after.watermark
    assert [row["id"] for row in rows(graph.config, query, since=reading.watermark)] == [1]


def test_where_open_transactions_are_not_shown_the_clock_alone_is_the_watermark() -> None:
    """The Community Edition shows them to everybody, so the test stands in for the Enterprise Edition."""
    clock = neo4j.time.DateTime(2026, 11, 23, 8, 9, 10, 123456789, tzinfo=UTC)

    async def ask(query: str) -> Any:
        if query.startswith("SHOW"):
            raise neo4j.exceptions.Forbidden
        return clock

    _, reached = asyncio.run(reach(ask, neo4j.exceptions.ClientError))

    assert datetime(2026, 11, 23, 8, 9, 10, 123456, UTC) == reached


def test_the_watermark_is_the_servers_present(graph: Neo4jHarness) -> None:
    reading, _ = read(graph.config, "RETURN :last_pull AS since, 1 AS one")

    assert reading.watermark is not None
    assert abs(datetime.now(UTC) - reading.watermark) < timedelta(seconds=30)


def test_a_result_is_streamed_and_left_when_the_reader_leaves(graph: Neo4jHarness) -> None:
    async def take_two_batches() -> list[int]:
        heights = []
        async with open_source("neo4j", graph.config).read(ENDLESS, window=Window(), batch_size=1000) as reading:
            async for batch in reading.batches:
                heights.append(batch.frame.height)
                if len(heights) == 2:
                    break
        return heights

    assert asyncio.run(take_two_batches()) == [1000, 1000]
    _wait_until(lambda: not _running(graph, "UNWIND range"))


def test_nodes_are_let_go_with_their_batch(graph: Neo4jHarness) -> None:
    graph.fill(3000)

    async def alive_in_the_end() -> int:
        query = "MATCH (n:Item) RETURN n, 1 AS one"
        async with open_source("neo4j", graph.config).read(query, window=Window(), batch_size=100) as reading:
            async for _ in reading.batches:
                pass
            gc.collect()
            return sum(type(thing) is neo4j.graph.Node for thing in gc.get_objects())

    assert asyncio.run(alive_in_the_end()) <= 200


def test_a_row_of_more_than_a_million_values_ends_the_pull(graph: Neo4jHarness) -> None:
    with pytest.raises(SourceFailed, match="more than 1,000,000 values"):
        read(graph.config, "RETURN [x IN range(1, 1000001) | []] AS a")


def test_a_row_of_many_values_is_read_beside_the_loop(graph: Neo4jHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    readers, inside = set(), neo4j_values.json_text
    here = threading.get_ident()

    def noted(*value: Any) -> str:
        readers.add(threading.get_ident())
        return inside(*value)

    monkeypatch.setattr(neo4j_values, "json_text", noted)

    (row,) = rows(graph.config, "RETURN [x IN range(1, 100000) | []] AS a")

    assert row == {"a": [[]] * 100_000}
    assert here not in readers


def test_a_query_that_runs_too_long_is_ended_by_the_server(
    graph: Neo4jHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neo4j_reading, "TRANSACTION_SECONDS", 1)

    with pytest.raises(SourceTimeout, match="longer than a pull may"):
        read(graph.config, "UNWIND range(1, 1000000000) AS x WITH x WHERE x < 0 RETURN x, 1 AS one")


def test_a_query_that_somebody_ends_is_a_timeout(graph: Neo4jHarness) -> None:
    async def ended_midway() -> None:
        async with open_source("neo4j", graph.config).read(ENDLESS, window=Window(), batch_size=1000) as reading:
            batches = aiter(reading.batches)
            await anext(batches)
            ((running,),) = await asyncio.to_thread(_running, graph, "UNWIND range")
            await asyncio.to_thread(graph.run, f"TERMINATE TRANSACTION '{running}'")
            while True:
                await anext(batches)

    with pytest.raises(SourceTimeout, match=r"ClientError\.Transaction\.Terminated"):
        asyncio.run(ended_midway())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("MATCH (n {x: 'canary'})\nRETURN m", "at line 2, column 8, 'm' in"),
        ("UNWIND [1, 0] AS canary RETURN 1 / canary AS x", "(ClientError.Statement.ArithmeticError)."),
        ("RETURN date('canary') AS x", "(ClientError.Statement"),
        ("RETURN nothing('canary') AS x", "(ClientError.Statement.SyntaxError)."),
    ],
)
def test_a_rejected_query_is_explained_without_the_servers_words(graph: Neo4jHarness, query: str, said: str) -> None:
    with pytest.raises(QueryRejected) as rejected:
        read(graph.config, query)

    assert said in str(rejected.value)
    assert "canary" not in str(rejected.value).lower()
    assert rejected.value.__suppress_context__


def test_a_database_that_is_not_there_is_a_refused_login(graph: Neo4jHarness) -> None:
    with pytest.raises(LoginRefused, match="no such database"):
        read(graph.config | {"database": "nowhere"}, "RETURN 1 AS id")


@pytest.mark.parametrize("value", ["date('-0044-03-15')", "[datetime('+10000-01-01T00:00Z')]", "{at: date({year: 0})}"])
def test_a_date_that_the_driver_cannot_hold_rejects_its_row_only(
    graph: Neo4jHarness,
    register: Callable[..., Connector],
    pulled: Callable[[Connector], PullOutcome],
    rejected: Rejected,
    value: str,
) -> None:
    query = f"UNWIND [1, 2] AS id RETURN id, CASE id WHEN 2 THEN {value} END AS ides"

    receipt = pulled(register(graph, query)).receipt

    assert list(rejected(receipt)) == [Rejection(2, "2", Reason.UNREADABLE, "ides")]
    assert receipt.records_ingested == 1


def test_columns_of_any_name_are_read(graph: Neo4jHarness) -> None:
    query = 'RETURN 1 AS `a.b`, 2 AS `$`, 3 AS `*`, 4 AS `^.*$`, 5 AS `"`, 6 AS row, 7 AS c0, 8 AS ` `'

    assert rows(graph.config, query) == [
        {"a.b": 1, "$": 2, "*": 3, "^.*$": 4, '"': 5, "row": 6, "c0": 7, " ": 8},
    ]


def test_a_server_that_says_nothing_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neo4j_reading, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(SourceUnreachable):
        read(_at(silent.getsockname()[1]), "RETURN 1 AS id")


@pytest.mark.parametrize("greeting", [0, 20])
def test_a_server_that_resets_the_connection_as_it_is_opened_may_be_no_neo4j(greeting: int) -> None:
    def serve() -> None:
        with listening.accept()[0] as connection:
            connection.recv(greeting)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as thread:
        served = thread.submit(serve)
        with pytest.raises(SourceUnreachable, match="no Neo4j"):
            read(_at(listening.getsockname()[1]), "RETURN 1 AS id")
        served.result()


def test_a_server_that_falls_silent_is_told_by_the_time_in_which_it_never_is() -> None:
    """Neo4j says 120 seconds, and sends a heartbeat every 60. This server says one second, and accepts every login."""

    async def against_it() -> None:
        gone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(20)
            writer.write(b"\0\0\4\5" + hello + chunked(b"\xb1\x70\xa0"))
            with suppress(ConnectionError):
                await reader.read()
            writer.close()
            gone.set()

        async with AsyncExitStack() as ending:
            server = await ending.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", 0))
            ending.push_async_callback(gone.wait)
            await _read(_at(server.sockets[0].getsockname()[1]), "RETURN 1 AS id", None, 10)

    hints = bolt_text(b"hints") + b"\xa1" + bolt_text(b"connection.recv_timeout_seconds") + b"\x01"
    about = bolt_text(b"server") + bolt_text(b"Neo4j/5.26.0") + bolt_text(b"connection_id") + bolt_text(b"bolt-1")
    hello = chunked(b"\xb1\x70\xa3" + about + hints)

    with pytest.raises(SourceUnreachable, match="sent nothing for 1 seconds") as silent:
        asyncio.run(against_it())
    assert silent.value.transient


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\0", b"\0\0\x04\x05" + b"\xff" * 1000]
)
def test_a_server_that_speaks_something_else_is_a_source_error(answer: bytes) -> None:
    async def against_it() -> None:
        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(20)
            with suppress(ConnectionError):
                writer.write(answer)
                await writer.drain()
            writer.close()

        async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
            await _read(_at(server.sockets[0].getsockname()[1]), "RETURN 1 AS id", None, 10)

    with pytest.raises(SourceError):
        asyncio.run(against_it())


def test_tls_is_verified(graph: Neo4jHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = urlsplit(graph.config["uri"])
    config = graph.config | {"uri": graph.config["uri"].replace("bolt", "bolt+s"), "tls": "verify"}

    with pytest.raises(TlsFailed):
        read(config, "RETURN 1 AS id")

    authority = tmp_path / "authority.pem"
    authority.write_text(ssl.get_server_certificate((parts.hostname or "", parts.port or 0)))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert rows(config, "RETURN 1 AS id") == [{"id": 1}]
    assert tls_status("neo4j", config, "RETURN 1 AS id") is PASSED
    with pytest.raises(LoginRefused):
        read(config | {"password": "not-the-password"}, "RETURN 1 AS id")
    with pytest.raises(TlsFailed):  # the certificate is for 127.0.0.1
        read(config | {"uri": f"bolt+s://localhost:{parts.port}"}, "RETURN 1 AS id")


def test_a_server_without_tls_is_told_from_one_that_is_not_there() -> None:
    async def against_it() -> None:
        async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.close()

        async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
            await _read(_at(server.sockets[0].getsockname()[1]) | {"tls": "verify"}, "RETURN 1 AS id", None, 10)

    with pytest.raises(TlsFailed):
        asyncio.run(against_it())


@pytest.mark.parametrize("store_kind", ["sqlite"])
def test_nodes_alone_become_entities_with_their_names_and_keys(
    graph: Neo4jHarness,
    register: Callable[..., Connector],
    pulled: Callable[[Connector], PullOutcome],
    store: Store,
) -> None:
    graph.fill(3)
    graph.run("MATCH (n:Item {id: 2}) SET n.extra = [1, 2]")
    connector = register(graph, "MATCH (n:Item) RETURN n ORDER BY n.id", batch_size=2, name_column="name")

    first = pulled(connector)
    graph.run("MATCH (n:Item {id: 3}) SET n:Special")
    second = pulled(connector).receipt

    assert [column.name for column in first.columns] == ["_element_id", "_labels", "extra", "id", "name", "updated_at"]
    assert (first.receipt.records_ingested, second.records_ingested, second.duplicates_skipped) == (3, 1, 2)
    entities, _ = store.entities.page(vertical="testing", entity_type="item", limit=10, cursor=None)
    assert {("1", "Item 1"), ("2", "Item 2"), ("3", "Item 3")} == {(e.source_id, e.name) for e in entities}


@pytest.mark.parametrize("returned", ["n.id AS id, n.name AS name", "n"])
def test_a_node_that_is_deleted_as_it_is_read_becomes_no_entity(
    graph: Neo4jHarness,
    register: Callable[..., Connector],
    pulled: Callable[[Connector], PullOutcome],
    rejected: Rejected,
    store: Store,
    returned: str,
) -> None:
    nodes = 30_000
    graph.run(f"UNWIND range(1, {nodes}) AS n CREATE (:Item {{id: n, name: 'Item ' + n}})")
    connector = register(graph, f"MATCH (n:Item) RETURN {returned}", batch_size=1000)

    def delete() -> None:
        with driver(graph.server.address) as other, other.session(database=graph.config["database"]) as session:
            session.run("MATCH (n:Item) CALL (n) { DELETE n } IN TRANSACTIONS OF 100 ROWS").consume()

    deleting = threading.Thread(target=delete)
    deleting.start()
    try:
        receipt = pulled(connector).receipt
    finally:
        deleting.join()

    entities, _ = store.entities.page(vertical="testing", entity_type="item", limit=nodes, cursor=None)
    assert len(entities) == receipt.records_ingested
    # A node may be deleted between two of its properties. The store then has what was read of it.
    assert all(entity.source_id is not None for entity in entities)
    assert all(entity.name in (None, f"Item {entity.source_id}") for entity in entities)
    assert {rejection.reason for rejection in rejected(receipt)} <= {Reason.KEY_MISSING}


def test_a_row_whose_key_is_null_is_rejected_where_there_is_a_key(
    graph: Neo4jHarness,
    register: Callable[..., Connector],
    pulled: Callable[[Connector], PullOutcome],
    rejected: Rejected,
) -> None:
    rows = "UNWIND [1, null, 2] AS x"

    keyed = pulled(register(graph, f"{rows} RETURN x AS id, 1 AS one")).receipt
    named = pulled(register(graph, f"{rows} RETURN x, 1 AS one", id_column="x")).receipt
    keyless = pulled(register(graph, f"{rows} RETURN x, 1 AS one")).receipt
    alone = pulled(register(graph, f"{rows} RETURN x AS id")).receipt

    for receipt in (keyed, named, alone):
        assert [(rejection.row, rejection.reason) for rejection in rejected(receipt)] == [(2, Reason.KEY_MISSING)]
    assert (keyless.records_ingested, keyless.records_rejected) == (3, 0)


def test_each_row_of_one_value_is_judged_for_itself(graph: Neo4jHarness) -> None:
    graph.run("CREATE (:Item {id: 1})")

    found = rows(graph.config, "MATCH (n:Item) UNWIND [n, null, 5] AS x RETURN x")

    assert [{"_element_id", "_labels", "id"}, {"x"}, {"x"}] == [set(row) for row in found]
    assert [row["x"] for row in found[1:]] == [None, 5]


def test_a_property_with_the_name_of_a_fact_is_not_lost_silently(graph: Neo4jHarness) -> None:
    graph.run("CREATE (:Item {_labels: 'mine'})")

    with pytest.raises(ResultUnusable, match="'_labels'"):
        read(graph.config, "MATCH (n:Item) RETURN n")


def _at(port: int) -> dict[str, Any]:
    return CONFIG | {"uri": f"bolt://127.0.0.1:{port}"}


def _running(graph: Neo4jHarness, beginning: str) -> list[Any]:
    """The ids of the transactions whose query begins like this."""
    return graph.run(
        "SHOW TRANSACTIONS YIELD transactionId, currentQuery WHERE currentQuery STARTS WITH $beginning "
        "RETURN transactionId",
        beginning=beginning,
    )


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
