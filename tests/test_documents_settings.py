"""The settings of MongoDB and Neo4j: what docs/settings/ says of each is what a pull does, and what a client sees."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo import monitoring

from qanatix_pipelines.batches import OBJECT
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Window
from tests.harness.mongodb import MongoDBHarness
from tests.servers import Server
from tests.servers.neo4j import driver, start
from tests.settings_table import setting_rows

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
PROMPT = {"db.transaction.monitor.check.interval": "100ms"}  # else it looks every other second
LONG = "UNWIND range(1, 20000000) AS x WITH max(sin(x)) AS most RETURN toInteger(most + 1) AS id, 1 AS one"


class Commands(monitoring.CommandListener):
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.sent.append(dict(event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


async def _data(connector_type: str, config: dict[str, Any], query: str) -> list[dict[str, Any]]:
    async with open_source(connector_type, config).read(query, window=Window(), batch_size=10) as reading:
        return [json.loads(text) async for batch in reading.batches for text in batch.frame[OBJECT]]


def test_a_find_has_the_widest_limits_that_the_table_says(
    mongodb_harness: MongoDBHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands()
    monkeypatch.setattr(monitoring, "_LISTENERS", monitoring._LISTENERS._replace(command_listeners=[commands]))
    mongodb_harness.fill(1)

    asyncio.run(_data("mongodb", mongodb_harness.config, "{}"))

    (find,) = [command for command in commands.sent if "find" in command]
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


def test_what_neo4j_is_set_to_is_what_a_pull_reads_and_ends_none(odd_neo4j: Server) -> None:
    parts = urlsplit(odd_neo4j.address)
    config = {
        "uri": f"bolt://{parts.hostname}:{parts.port}",
        "user": parts.username,
        "password": parts.password,
        "database": parts.path.strip("/"),
    }
    with driver(odd_neo4j.address) as client, client.session(database=config["database"]) as session:
        for expression in EXPRESSIONS:
            shown = session.run(f"RETURN toString({expression})").single(strict=True).value()
            (pulled,) = asyncio.run(_data("neo4j", config, f"RETURN {expression} AS value"))
            value = pulled["value"]
            assert (value if isinstance(value, str) else json.dumps(value)) == shown

    assert asyncio.run(_data("neo4j", config, LONG)) == [{"id": 1, "one": 1}]
    assert asyncio.run(_data("neo4j", config, "RETURN :last_pull.year AS id, 1 AS one")) == [{"id": 1, "one": 1}]
