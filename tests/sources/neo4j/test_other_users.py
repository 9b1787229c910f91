"""What another user of neo4j logs beside a reading of ours; and a neo4j that we do not know."""

import asyncio
import logging
import re
from urllib.parse import urlsplit

import neo4j
import pytest

from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.sources.foreign import told_without, traces_in
from tests.sources.neo4j.harness import Neo4jHarness

ROWS = 300


def read_beside_another(graph: Neo4jHarness) -> None:
    """A reading of ours that has begun and goes on, while another driver asks for a text of its own."""

    async def both() -> None:
        parts = urlsplit(graph.server.address)
        login = (parts.username or "", parts.password or "")
        async with open_source("neo4j", graph.config).read(graph.everything, window=Window(), batch_size=10) as reading:
            first = await anext(reading.batches)
            async with neo4j.AsyncGraphDatabase.driver(f"bolt://{parts.hostname}:{parts.port}", auth=login) as client:
                await client.execute_query("RETURN 'of-another' AS text")
            assert first.frame.height + sum([batch.frame.height async for batch in reading.batches]) == ROWS

    asyncio.run(both())


@pytest.fixture
def graph(neo4j_server: Server) -> Neo4jHarness:
    harness = Neo4jHarness(neo4j_server)
    harness.fill(ROWS)
    return harness


def test_another_driver_s_log_lines_come_and_ours_do_not(graph: Neo4jHarness, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        read_beside_another(graph)

    lines = [record.getMessage() for record in caplog.records if record.name.startswith("neo4j")]
    assert any("of-another" in line for line in lines)
    assert not any("MATCH (n:Item)" in line or "'user_agent': 'qanatix'" in line for line in lines)


def test_nothing_of_the_driver_is_replaced(graph: Neo4jHarness) -> None:
    read_beside_another(graph)

    assert traces_in("neo4j") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["receive_into_buffer", "AsyncInbox.pop", "AsyncInbox._buffer_one_chunk"])
def test_a_private_name_that_is_gone_is_told_with_the_version_that_is_supported(name: str) -> None:
    told = told_without("neo4j", "neo4j._async.io._bolt._common", name)

    assert re.search(r"LibraryChanged: .*Supported is neo4j<6\.\d+,>=6\.\d+\.$", told)
