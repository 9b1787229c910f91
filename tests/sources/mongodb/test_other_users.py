"""What another user of pymongo sends, hears and logs beside a reading of ours; and a pymongo that we do not know."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymongo import AsyncMongoClient, monitoring

from qanatix_pipelines.errors import LoginRefused
from qanatix_pipelines.sources import hashing, open_source
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.sources.foreign import told_without, traces_in
from tests.sources.mongodb.harness import DATABASE, MongoDBHarness
from tests.sources.mongodb.server import start_engine, start_gateway

ROWS = 300

AsyncClient = AsyncMongoClient[dict[str, Any]]


@asynccontextmanager
async def reading_beside(harness: MongoDBHarness) -> AsyncIterator[None]:
    """A reading of ours that has begun, goes on after the block, and finds all that there is."""
    async with open_source("mongodb", harness.config).read("{}", window=Window(), batch_size=10) as reading:
        first = await anext(reading.batches)
        yield
        assert first.frame.height + sum([batch.frame.height async for batch in reading.batches]) == ROWS


def beside_our_reading(harness: MongoDBHarness, other: Callable[[], Any]) -> Any:
    async def both() -> Any:
        async with reading_beside(harness):
            return await other()

    harness.fill(ROWS)
    return asyncio.run(both())


def test_another_client_sends_metadata_of_its_environment(
    mongodb_harness: MongoDBHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")

    async def told() -> list[dict[str, Any]]:
        async with AsyncClient(mongodb_harness.server.address, directConnection=True, appname="another") as client:
            running = (await client.admin.command("currentOp", {"$all": True}))["inprog"]
            return [operation["clientMetadata"] for operation in running if operation.get("appName") == "another"]

    said = beside_our_reading(mongodb_harness, told)

    assert said
    assert all(metadata["env"]["container"]["orchestrator"] == "kubernetes" for metadata in said)


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A server of the module's own: no client of ours has logged in to it."""
    engine = start_engine()
    gateway = start_gateway(engine)
    yield gateway
    gateway.stop()
    engine.stop()


def test_another_client_hashes_its_password_as_often_as_its_server_says(
    mongodb_harness: MongoDBHarness, own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found() -> int:
        monkeypatch.setattr(hashing, "MAX_ITERATIONS", 1)  # from here on it is too many for us
        with pytest.raises(LoginRefused):
            async with reading_beside(MongoDBHarness(own_server)):
                pass
        async with AsyncClient(own_server.address, directConnection=True) as client:
            return int((await client.admin.command("ping"))["ok"])

    assert beside_our_reading(mongodb_harness, found) == 1


def test_another_client_s_log_lines_come_and_ours_do_not(
    mongodb_harness: MongoDBHarness, caplog: pytest.LogCaptureFixture
) -> None:
    async def found() -> None:
        async with AsyncClient(mongodb_harness.server.address, directConnection=True) as client:
            await client[DATABASE].others.find_one({"_id": "of-another"})

    with caplog.at_level(logging.DEBUG):
        beside_our_reading(mongodb_harness, found)

    lines = [record.getMessage() for record in caplog.records if record.name.startswith("pymongo")]
    assert any("of-another" in line for line in lines)
    assert not any('\\"find\\": \\"items\\"' in line or '"appname": "qanatix"' in line for line in lines)


class Hearing(
    monitoring.CommandListener,
    monitoring.ConnectionPoolListener,
    monitoring.ServerHeartbeatListener,
    monitoring.ServerListener,
    monitoring.TopologyListener,
):
    """Another user's listener, registered for all clients of the process. It keeps all that it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def _hear(self, event: Any) -> None:
        self.heard.append(repr(event) + repr(getattr(event, "command", "")) + repr(getattr(event, "reply", "")))

    started = succeeded = failed = opened = closed = description_changed = _hear
    pool_created = pool_ready = pool_cleared = pool_closed = _hear
    connection_created = connection_ready = connection_closed = _hear
    connection_check_out_started = connection_check_out_failed = connection_checked_out = connection_checked_in = _hear


@pytest.fixture
def hearing() -> Iterator[Hearing]:
    listener = Hearing()
    monitoring.register(listener)
    yield listener
    for listeners in monitoring._LISTENERS:
        listeners[:] = [one for one in listeners if one is not listener]


def test_another_client_s_listeners_hear_that_client_and_nothing_of_ours(
    mongodb_harness: MongoDBHarness, hearing: Hearing
) -> None:
    async def ours() -> None:
        async with reading_beside(mongodb_harness):
            pass

    async def another() -> None:
        async with AsyncClient(mongodb_harness.server.address, directConnection=True) as client:
            await client[DATABASE].others.find_one({"_id": "of-another"})

    mongodb_harness.fill(ROWS)  # by a client that is heard
    hearing.heard.clear()

    asyncio.run(ours())
    of_ours = list(hearing.heard)
    asyncio.run(another())

    assert of_ours == []
    assert any("of-another" in event for event in hearing.heard)


def test_nothing_of_the_driver_is_replaced(mongodb_harness: MongoDBHarness) -> None:
    beside_our_reading(mongodb_harness, lambda: asyncio.sleep(0))

    assert traces_in("pymongo", "bson") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["AsyncConnection", "AsyncConnection.receive_message", "Pool.connect"])
def test_a_private_name_that_is_gone_is_told_with_the_version_that_is_supported(name: str) -> None:
    told = told_without("mongodb", "pymongo.asynchronous.pool", name)

    assert re.search(r"LibraryChanged: .*Supported is pymongo<4\.\d+,>=4\.\d+\.$", told)
