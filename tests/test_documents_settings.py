"""The settings of MongoDB and Neo4j: what docs/settings/ says of each is what a pull does, and what a client sees."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import bson
import neo4j
import pytest

from qanatix_pipelines.batches import OBJECT
from qanatix_pipelines.errors import SourceUnreachable
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.servers.hostile import HostileServers, Line, relayed
from tests.settings_table import setting_rows
from tests.sources.mongodb.harness import MongoDBHarness
from tests.sources.neo4j.harness import Neo4jHarness
from tests.sources.neo4j.server import driver, start

# What depends on a server's zone: instants, days, how a text without one is read, and what is equal.
EXPRESSIONS = (
    "datetime({epochMillis: 0})",
    "datetime('2026-03-07T12:00:00')",
    "datetime('2026-11-01T01:30:00')",
    "datetime({year: 2026, timezone: 'Asia/Tokyo'})",
    "time('12:00')",
    "date(datetime('2026-03-07T23:30:00Z'))",
    "localdatetime(datetime({epochMillis: 0}))",
    "datetime('2026-03-07T12:00:00') = datetime('2026-03-07T12:00:00Z')",
    "datetime({year: 2026}).epochSeconds",
    "datetime.realtime().timezone",
)
OP_MSG_BYTES = 21  # of a message before its command
PROMPT = {"db.transaction.monitor.check.interval": "100ms"}  # else it looks every other second
ENDLESS = "UNWIND range(1, 1000000000000) AS x WITH x WHERE x < 0 RETURN x AS id"


async def _data(connector_type: str, config: dict[str, Any], query: str) -> list[dict[str, Any]]:
    async with open_source(connector_type, config).read(query, window=Window(), batch_size=10) as reading:
        return [json.loads(text) async for batch in reading.batches for text in batch.frame[OBJECT]]


def test_a_find_has_the_widest_limits_that_the_table_says(mongodb_harness: MongoDBHarness) -> None:
    parts = urlsplit(mongodb_harness.server.address)
    sent: list[bytes] = []

    async def kept(_line: Line, asked: bytes) -> None:
        sent.append(asked)

    with HostileServers() as servers:  # no listener of the driver's hears our commands
        port = servers.serve(relayed(str(parts.hostname), int(parts.port or 0), b"\x02find\0", kept))
        with pytest.raises(SourceUnreachable):
            asyncio.run(_data("mongodb", mongodb_harness.changed(port=port), "{}"))

    find = bson.decode(sent[0][OP_MSG_BYTES:])
    told = [row.widest for row in setting_rows("mongodb") if row.widest and "readConcern" not in row.widest]
    widest = dict(option.split(": ") for option in told)
    assert widest.keys() == {"maxTimeMS", "noCursorTimeout", "allowDiskUse"}
    assert {option: json.dumps(find[option]) for option in widest} == widest


@pytest.fixture(scope="module")
def odd_neo4j() -> Iterator[Server]:
    """A server that is set as the table's first tries say."""
    server = start({row.name: row.tried[0] for row in setting_rows("neo4j") if row.tried} | PROMPT)
    yield server
    server.stop()


@pytest.fixture
def odd_config(odd_neo4j: Server) -> dict[str, Any]:
    return Neo4jHarness(odd_neo4j).config


def test_what_neo4j_is_set_to_is_what_a_pull_reads(odd_neo4j: Server, odd_config: dict[str, Any]) -> None:
    with driver(odd_neo4j.address) as client, client.session(database=odd_config["database"]) as session:
        for expression in EXPRESSIONS:
            shown = session.run(f"RETURN toString({expression})").single(strict=True).value()
            (pulled,) = asyncio.run(_data("neo4j", odd_config, f"RETURN {expression} AS value"))
            value = pulled["value"]
            assert (value if isinstance(value, str) else json.dumps(value)) == shown

    assert asyncio.run(_data("neo4j", odd_config, "RETURN :last_pull.year AS id, 1 AS one")) == [{"id": 0, "one": 1}]


def test_a_pull_outlasts_a_query_that_neo4j_ends_by_its_setting(odd_neo4j: Server, odd_config: dict[str, Any]) -> None:
    """The pull's transaction is the older one, so the setting would have ended it, too."""

    def ended() -> None:
        with driver(odd_neo4j.address) as client, client.session(database=odd_config["database"]) as session:
            session.run(ENDLESS).consume()

    async def read() -> int:
        query = "UNWIND range(1, 1000) AS x RETURN x AS id, 1 AS one"
        async with open_source("neo4j", odd_config).read(query, window=Window(), batch_size=10) as reading:
            first = await anext(reading.batches)
            with pytest.raises(neo4j.exceptions.ClientError, match="TransactionTimedOut"):
                await asyncio.to_thread(ended)
            return first.frame.height + sum([batch.frame.height async for batch in reading.batches])

    assert asyncio.run(read()) == 1000
