"""Somebody else's neo4j, in the process in which we read Neo4j."""

import logging
from typing import Any
from urllib.parse import urlsplit

import neo4j

from qanatix_pipelines.batches import MAX_ROW_BYTES
from qanatix_pipelines.sources.neo4j.row_gate import MAX_VALUES
from tests.sources.neo4j.server import driver

LARGE = "x" * (MAX_ROW_BYTES + 2**20)  # a row of ours would be rejected
MANY = MAX_VALUES + 1  # a message of ours would be refused
KINDS = """
    CREATE (n:Other {id: 1})-[r:KNOWS]->(n)
    WITH n, r, n.id AS id
    DETACH DELETE n
    RETURN id, 1.5 AS float, 'text' AS text, true AS truth, null AS nothing, [1, [2]] AS list, {a: {b: 1}} AS map,
           date('2026-01-31') AS date, datetime('2026-01-31T12:00:00.000000001+02:00') AS instant,
           localtime('12:00') AS time, duration('P1DT2S') AS duration, point({x: 1, y: 2}) AS point
"""
VALUES = {
    "id": 1,
    "float": 1.5,
    "text": "text",
    "truth": True,
    "nothing": None,
    "list": [1, [2]],
    "map": {"a": {"b": 1}},
    "date": neo4j.time.Date(2026, 1, 31),
    "instant": neo4j.time.DateTime.from_iso_format("2026-01-31T12:00:00.000000001+02:00"),
    "time": neo4j.time.Time(12),
    "duration": neo4j.time.Duration(days=1, seconds=2),
    "point": neo4j.spatial.CartesianPoint((1, 2)),
}
ALL = {"large": LARGE, "numbers": MANY, "nodes": 300, "values": VALUES}
EXPECTED = {"asynchronous": ALL, "synchronous": ALL}
LOGGERS = ("neo4j", "neo4j.auth_management", "neo4j.io", "neo4j.notifications", "neo4j.pool", "neo4j.session")

_NODES = "UNWIND range(1, 300) AS x CREATE (n:Other {id: x}) RETURN n"


async def use(address: str) -> dict[str, Any]:
    """What both of neo4j's drivers write and read, in rows and messages that we would not take."""
    return {"asynchronous": await _asynchronous(address), "synchronous": _synchronous(address)}


async def _asynchronous(address: str) -> dict[str, Any]:
    parts = urlsplit(address)
    login, database = (parts.username or "", parts.password or ""), parts.path.strip("/")
    uri = f"bolt://{parts.hostname}:{parts.port}"
    async with (
        neo4j.AsyncGraphDatabase.driver(uri, auth=login) as client,
        client.session(database=database) as session,
    ):
        large = await (await session.run("RETURN $large AS large", large=LARGE)).single(strict=True)
        numbers = await (await session.run("RETURN range(1, $many) AS numbers", many=MANY)).single(strict=True)
        graph = await (await session.run(_NODES)).graph()
        kinds = await (await session.run(KINDS)).single(strict=True)
        await (await session.run("MATCH (n:Other) DELETE n")).consume()
    return _all(large, numbers, graph, kinds)


def _synchronous(address: str) -> dict[str, Any]:
    database = urlsplit(address).path.strip("/")
    with driver(address) as client, client.session(database=database) as session:
        large = session.run("RETURN $large AS large", large=LARGE).single(strict=True)
        numbers = session.run("RETURN range(1, $many) AS numbers", many=MANY).single(strict=True)
        graph = session.run(_NODES).graph()
        kinds = session.run(KINDS).single(strict=True)
        session.run("MATCH (n:Other) DELETE n").consume()
    return _all(large, numbers, graph, kinds)


def _all(large: neo4j.Record, numbers: neo4j.Record, graph: neo4j.graph.Graph, kinds: neo4j.Record) -> dict[str, Any]:
    """A result's graph keeps its nodes until its end."""
    return {
        "large": large["large"],
        "numbers": len(numbers["numbers"]),
        "nodes": len(graph.nodes),
        "values": dict(kinds),
    }


def log(text: str) -> None:
    for name in LOGGERS:
        logging.getLogger(name).warning(text)
