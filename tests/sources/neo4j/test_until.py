"""`:until` in Cypher: where it is the parameter, and what it is bound to."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from qanatix_pipelines.batches import OBJECT
from qanatix_pipelines.errors import InvalidConnector
from qanatix_pipelines.sources import check_query, open_source, source_of
from qanatix_pipelines.sources.neo4j.query import parse_cypher
from qanatix_pipelines.sources.source import Asked
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.sources.neo4j.harness import Neo4jHarness

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def graph(neo4j_server: Server) -> Neo4jHarness:
    harness = Neo4jHarness(neo4j_server)
    harness.fill(0)
    return harness


def rows(graph: Neo4jHarness, query: str, window: Window) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        async with open_source("neo4j", graph.config).read(query, window=window, batch_size=100) as reading:
            return [json.loads(text) async for batch in reading.batches for text in batch.frame[OBJECT]]

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("condition", "sent", "asked"),
    [
        ("n.at < :until", "n.at < $until", Asked(until=True)),
        ("n.at < $until", "n.at < $until", Asked(until=True)),
        (
            ":last_pull < n.at AND n.at <= (:until - duration('P1D'))",
            "$last_pull < n.at AND n.at <= ($until - duration('P1D'))",
            Asked(last_pull=True, until=True),
        ),
        ("n.day < date(:until)", "n.day < date($until)", Asked(until=True)),
        ("n:until", "n:until", Asked()),
        ("(n)-[:A]->(:until)", "(n)-[:A]->(:until)", Asked()),
        ("n.x = ' > :until' AND n.y > :last_pull", "n.x = ' > :until' AND n.y > $last_pull", Asked(last_pull=True)),
    ],
)
def test_it_is_the_parameter_where_last_pull_would_be(condition: str, sent: str, asked: Asked) -> None:
    query = f"MATCH (n) WHERE {condition} RETURN n"

    assert parse_cypher(query).text == f"MATCH (n) WHERE {sent} RETURN n"
    assert source_of("neo4j").check_query(query) == asked


def test_windows_beside_each_other_have_each_row_once(graph: Neo4jHarness) -> None:
    graph.run("UNWIND range(0, 9) AS s CREATE (:Item {id: s, at: datetime({epochSeconds: s})})")
    query = "MATCH (n:Item) WHERE n.at >= :last_pull AND n.at < :until RETURN n.id AS id, 1 AS one ORDER BY id"
    ends = [EPOCH + timedelta(seconds=seconds) for seconds in (0, 1.5, 3, 7, 10)]

    windows = [Window(start, overlap=0, until=end) for start, end in pairwise(ends)]

    found = [[row["id"] for row in rows(graph, query, window)] for window in windows]
    assert found == [[0, 1], [2], [3, 4, 5, 6], [7, 8, 9]]


def test_it_is_bound_without_last_pull(graph: Neo4jHarness) -> None:
    query = "RETURN toString(:until) AS until, valueType($until) AS kind"

    for until in (datetime(2026, 11, 23, 8, 9, 10, 123456, UTC), EPOCH):
        (row,) = rows(graph, query, Window(until=until))
        assert datetime.fromisoformat(row["until"]) == until
        assert row["kind"] == "ZONED DATETIME NOT NULL"


@pytest.mark.parametrize("late", ["9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999-18:00"])
@pytest.mark.parametrize(
    "condition",
    [
        "n.at < :until",
        "datetime({epochMillis: n.ts}) < :until",
        "n.ts < :until.epochMillis",
        "datetime(n.iso) < :until",
        "datetime({datetime: n.local, timezone: 'Europe/Berlin'}) < :until",
        "n.local < localdatetime(datetime({datetime: :until, timezone: 'Europe/Berlin'}))",
        "n.day <= date(:until) + duration('P1D')",
        "n.day <= date(:until) - duration('P1D')",
    ],
)
def test_without_an_end_every_time_is_before_it_and_it_can_be_converted(
    graph: Neo4jHarness, condition: str, late: str
) -> None:
    """Other systems write the last instant of year 9999 for "no end"."""
    graph.run(
        f"WITH datetime('{late}') AS at CREATE (:Item {{id: 1, at: at, ts: at.epochMillis, day: date(at), "
        "iso: toString(at), local: localdatetime(at)})"
    )

    for window in (Window(), Window(EPOCH)):
        assert rows(graph, f"MATCH (n:Item) WHERE {condition} RETURN n.id AS id, 1 AS one", window) == [
            {"id": 1, "one": 1}
        ]


def test_an_integer_window_ends_too(graph: Neo4jHarness) -> None:
    query = "UNWIND range(0, 9) AS x WITH x WHERE x > $last_pull AND x <= $until RETURN x AS id, 1 AS one"

    found = [row["id"] for row in rows(graph, query, Window(3, overlap=1, integer=True, until=5))]

    assert found == [3, 4, 5]
    assert len(rows(graph, query, Window(integer=True))) == 10


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("n.at < $untill", r"\$untill at line 1, column 24, and nothing binds it: write .* or \$until for the end"),
        ("n.at < :untill", r"has :untill at line 1, column 24, which is no placeholder: write :last_pull"),
        ("n.at < {{ until }}", r"at line 1, column 24, which is no placeholder"),
        ("n.at < :UNTIL", r"has :UNTIL at line 1, column 24"),
    ],
)
def test_a_slip_is_told_as_one_of_last_pull_is(condition: str, told: str) -> None:
    with pytest.raises(InvalidConnector, match=told):
        check_query("neo4j", f"MATCH (n) WHERE {condition} RETURN n")
