"""A connection that is ended, by its server or between, is a fault that may pass, wherever in a pull that happens."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

import psycopg
import pytest

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import SourceTimeout, SourceUnreachable
from qanatix_pipelines.limits import Limits
from qanatix_pipelines.pull import PullOutcome
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.postgresql import reading as source_module
from qanatix_pipelines.watermarks import Window
from tests.campaigns.proxy import Network, Proxy
from tests.conftest import server
from tests.sources.databases import DATABASES
from tests.sources.harness import Harness
from tests.sources.mysql.harness import USER
from tests.sources.mysql.server import execute
from tests.sources.neo4j.harness import Neo4jHarness
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.sources.postgresql.server import start as start_postgresql

ROWS, BATCH = 60, 10
SOON = Limits(pauses=(0, 0))
Register = Callable[..., Connector]
Pulled = Callable[..., PullOutcome]


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


def terminate(harness: Harness) -> None:
    """End the pulls' sessions as an operator does. They are over when this returns."""
    with psycopg.connect(harness.server.address) as connection:
        ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'qanatix'"
        assert (True,) in connection.execute(ended).fetchall()


def kill(harness: Harness) -> None:
    own = f"SELECT id FROM information_schema.processlist WHERE user = '{USER}'"
    for (number,) in execute(harness.server.address, own):
        execute(harness.server.address, f"KILL {number}")


def kill_on_neo4j(harness: Harness) -> None:
    assert isinstance(harness, Neo4jHarness)
    listed = "CALL dbms.listConnections() YIELD connectionId, userAgent WITH * WHERE userAgent = 'qanatix'"
    for row in harness.run(f"{listed} RETURN connectionId"):
        harness.run(f"CALL dbms.killConnection('{row[0]}')")


ENDS: dict[str, Callable[[Harness], None]] = {"postgresql": terminate, "mysql": kill, "neo4j": kill_on_neo4j}


async def after_a_batch(
    harness: Harness, end: Callable[[], None], *, noticed: bool, config: dict[str, Any] | None = None
) -> None:
    """Read on when the connection was ended behind the first batch. `noticed` lets the driver hear of it before.

    There is more to come than the machine holds for a reader.
    """
    harness.fill(200)
    query = harness.with_body(100_000)
    source = open_source(harness.connector_type, config or harness.config)
    async with source.read(query, window=Window(), batch_size=BATCH) as reading:
        batches = aiter(reading.batches)
        assert await anext(batches)
        end()
        for _ in range(5 if noticed else 0):  # what has come is read whenever the loop goes round
            await asyncio.sleep(0)
        while await anext(batches, None):
            pass


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "not noticed"])
@pytest.mark.parametrize("harness", [name for name in DATABASES if name not in ("mongodb", "sqlite")], indirect=True)
def test_a_connection_that_the_server_ends_between_two_batches_may_be_made_again(
    harness: Harness, *, noticed: bool
) -> None:

    with pytest.raises(SourceUnreachable) as lost:
        asyncio.run(after_a_batch(harness, lambda: ENDS[harness.connector_type](harness), noticed=noticed))

    assert lost.value.transient


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


def proxied(network: Network, harness: Harness) -> Proxy:
    if not harness.networked:
        pytest.skip("a file has no connection; its child process is killed in tests/sources/sqlite/test_process.py")
    address = urlsplit(harness.server.address)
    assert address.hostname
    assert address.port
    return network.proxy(address.hostname, address.port)


@pytest.fixture
def proxy(harness: Harness, network: Network) -> Proxy:
    return proxied(network, harness)


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "not noticed"])
@pytest.mark.parametrize("kind", ["reset", "truncation"])
def test_a_connection_that_breaks_between_two_batches_may_be_made_again(
    harness: Harness, proxy: Proxy, kind: Literal["reset", "truncation"], *, noticed: bool
) -> None:
    config = harness.changed(port=proxy.port)

    with pytest.raises(SourceUnreachable) as lost:
        asyncio.run(after_a_batch(harness, lambda: proxy.cut(kind), noticed=noticed, config=config))

    assert lost.value.transient


@pytest.fixture
def postgresql() -> PostgreSQLHarness:
    harness = PostgreSQLHarness(server("postgresql"))
    harness.fill(ROWS)
    return harness


@pytest.mark.parametrize("name", ["the clock", "describing", "the cursor", "the first row", "a later row"])
def test_a_pull_of_postgresqls_completes_though_its_session_is_ended_at(
    postgresql: PostgreSQLHarness,
    name: str,
    register: Register,
    pulled: Pulled,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {
        "the clock": (source_module.account, "excess"),
        "describing": (source_module, "selected"),
        "the cursor": (source_module, "_bring_nearer"),
        "the first row": (source_module, "Reading"),
        "a later row": (source_module, "made"),
    }
    owner, function = before[name]
    ask = getattr(owner, function)
    ended: list[str] = []

    def once_ended(*args: Any, **options: Any) -> Any:
        if not ended:
            terminate(postgresql)
            ended.append(name)
        return ask(*args, **options)

    monkeypatch.setattr(owner, function, once_ended)
    receipt = pulled(register(postgresql, postgresql.since, batch_size=BATCH), limits=SOON).receipt

    assert ended
    assert (receipt.records_pulled, receipt.records_ingested) == (ROWS, ROWS)


def test_a_pull_completes_though_its_connection_breaks_while_a_batch_is_stored(
    harness: Harness, proxy: Proxy, register: Register, pulled: Pulled
) -> None:
    harness.fill(5000)
    config = harness.changed(port=proxy.port)
    cut: list[object] = []

    def once_cut(progress: object) -> None:
        if not cut:
            proxy.cut("reset")
        cut.append(progress)

    connector = register(harness, harness.everything, connection_config=config, batch_size=500)
    receipt = pulled(connector, limits=SOON, on_batch=once_cut).receipt

    assert len(cut) > 10 - 1  # cut from the first, or where all was received by then, read to its end
    assert (receipt.records_pulled, receipt.records_ingested) == (5000, 5000)


def test_a_pull_of_postgresqls_completes_though_each_try_but_the_last_is_ended(
    postgresql: PostgreSQLHarness, register: Register, pulled: Pulled
) -> None:
    postgresql.fill(5000)
    tries: list[int] = []

    def twice_ended(progress: Any) -> None:
        if progress.records == BATCH * 10:
            tries.append(progress.records)
            if len(tries) < 3:
                terminate(postgresql)

    connector = register(postgresql, postgresql.since, batch_size=BATCH * 10)
    receipt = pulled(connector, limits=SOON, on_batch=twice_ended).receipt

    assert len(tries) == 3
    assert receipt.records_ingested == 5000


def test_what_postgresql_computes_ends_when_the_connection_to_it_has_broken(
    postgresql: PostgreSQLHarness, network: Network
) -> None:
    """It does not notice that by itself, for it sends nothing; nor is there anybody who could cancel it."""
    proxy = proxied(network, postgresql)
    source, query = open_source("postgresql", postgresql.changed(port=proxy.port)), postgresql.slow()

    async def read() -> None:
        async with source.read(query, window=Window(), batch_size=BATCH) as reading:
            reader = asyncio.ensure_future(anext(aiter(reading.batches)))
            await at_work(postgresql, 1)
            proxy.cut("reset")
            await reader

    with pytest.raises(SourceUnreachable):
        asyncio.run(read())

    asyncio.run(at_work(postgresql, 0))


def test_what_postgresql_computes_ends_though_nobody_can_cancel_it(
    postgresql: PostgreSQLHarness, network: Network
) -> None:
    """A cancel takes a connection of its own, for which there is no more time than to close one."""
    proxy = proxied(network, postgresql)
    source, query = open_source("postgresql", postgresql.changed(port=proxy.port)), postgresql.slow()

    async def read() -> None:
        async with source.read(query, window=Window(), batch_size=BATCH) as reading:
            reader = asyncio.ensure_future(anext(aiter(reading.batches)))
            await at_work(postgresql, 1)
            proxy.fall_silent()
            reader.cancel()
            await reader

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(asyncio.wait_for(read(), 60))

    assert proxy.settled(30)
    asyncio.run(at_work(postgresql, 0))


async def at_work(harness: Harness, queries: int) -> None:
    async with asyncio.timeout(60):
        while await asyncio.to_thread(harness.at_work) != queries:  # noqa: ASYNC110  # the server has no event
            await asyncio.sleep(0)


async def read_on_after(harness: Harness, setting: str) -> None:
    """Read on when the server has ended the session by one of its settings, behind the first batch."""
    query = f"SELECT set_config('{setting}', '100ms', true) AS id FROM generate_series(1, {ROWS})"
    async with open_source("postgresql", harness.config).read(query, window=Window(), batch_size=BATCH) as reading:
        batches = aiter(reading.batches)
        await anext(batches)
        async with asyncio.timeout(60):
            while await asyncio.to_thread(harness.connections):  # noqa: ASYNC110  # the server has no event to wait for
                await asyncio.sleep(0)
        while await anext(batches, None):
            pass


def test_a_session_of_postgresqls_that_waited_for_too_long_is_told_and_may_be_begun_again(
    postgresql: PostgreSQLHarness,
) -> None:
    with pytest.raises(SourceUnreachable, match=r"idle_in_transaction_session_timeout.*SQLSTATE 25P03") as ended:
        asyncio.run(read_on_after(postgresql, "idle_in_transaction_session_timeout"))

    assert ended.value.transient


def test_a_transaction_of_postgresqls_that_took_too_long_is_told_and_not_begun_again() -> None:
    newest = start_postgresql(wheel_only=True)  # the setting is as new as PostgreSQL 17
    try:
        with pytest.raises(SourceTimeout, match=r"transaction_timeout.*SQLSTATE 25P04") as ended:
            asyncio.run(read_on_after(PostgreSQLHarness(newest), "transaction_timeout"))
    finally:
        newest.stop()

    assert not ended.value.transient


def kill_query(harness: Harness) -> None:
    own = f"SELECT id FROM information_schema.processlist WHERE user = '{USER}'"
    for (number,) in execute(harness.server.address, own):
        execute(harness.server.address, f"KILL QUERY {number}")


def terminate_transaction(harness: Harness) -> None:
    assert isinstance(harness, Neo4jHarness)
    listed = "SHOW TRANSACTIONS YIELD transactionId, currentQuery WHERE currentQuery CONTAINS 'body' "
    for row in harness.run(listed + "RETURN transactionId"):
        harness.run(f"TERMINATE TRANSACTIONS '{row[0]}'")


@pytest.mark.parametrize("harness", ["mysql", "mysql97", "neo4j"], indirect=True)
def test_a_query_that_somebody_ends_between_two_batches_is_no_result_that_is_whole(harness: Harness) -> None:
    """Nor is it a connection that was lost: it was meant."""
    end = terminate_transaction if harness.connector_type == "neo4j" else kill_query

    with pytest.raises(SourceTimeout, match="The source cancelled the query") as ended:
        asyncio.run(after_a_batch(harness, lambda: end(harness), noticed=True))

    assert not ended.value.transient
