"""What a reading of Neo4j's that is limited tells of its whole query: plan, rights, and the type of `:last_pull`."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import neo4j
import pytest

from qanatix_pipelines.batches import Expected, Plan, Scanned
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.neo4j import plans, properties
from qanatix_pipelines.sources.neo4j.query import parse_cypher
from qanatix_pipelines.watermarks import Window
from tests.campaigns.hostile_answers import NOISE
from tests.servers import Server
from tests.servers.hostile import HostileServers, Line, relayed
from tests.sources.neo4j.harness import Neo4jHarness

QUERY = "MATCH (n:Planned)-[r:MADE_OF]->() WHERE n.`at` > $last_pull RETURN n.id AS id, r.since AS since"


def operator(kind: str, details: str = "", rows: object = 7.4, *children: object) -> dict[str, Any]:
    return {
        "operatorType": f"{kind}@neo4j",
        "args": {"EstimatedRows": rows, "Details": details},
        "identifiers": ["n"],
        "children": list(children),
    }


@pytest.mark.parametrize(
    ("leaf", "scanned"),
    [
        (operator("AllNodesScan", "n"), "nodes"),
        (operator("PartitionedAllNodesScan", "n"), "nodes"),
        (operator("NodeByLabelScan", "n:Planned"), "Planned"),
        (operator("NodeByLabelScan", "n:`Planned`"), "Planned"),
        (operator("NodeByLabelScan", "n:<script>"), "nodes"),
        (operator("UnionNodeByLabelsScan", "n:Planned|id"), "Planned, id"),
        (operator("NodeIndexScan", "RANGE INDEX n:Planned(at) WHERE at IS NOT NULL"), "Planned"),
        (operator("DirectedRelationshipTypeScan", "(anon_0)-[r:MADE_OF]->(anon_1)"), "MADE_OF"),
        (operator("UndirectedAllRelationshipsScan", "(anon_0)-[r]-(anon_1)"), "relationships"),
        (operator("NodeByIdSeek", "n WHERE id(n) = $autoint_0"), None),
    ],
)
def test_what_is_read_whole_is_named_by_a_word_of_the_query(leaf: dict[str, Any], scanned: str | None) -> None:
    plan = plans.plan_of(operator("ProduceResults", "n", 3.0, leaf), QUERY)

    assert plan == Plan(3, () if scanned is None else (Scanned(scanned, 7),))


@pytest.mark.parametrize(
    ("kind", "sorts"),
    [
        *((kind, True) for kind in ("Sort", "Top", "EagerAggregation")),
        *((kind, False) for kind in ("PartialSort", "PartialTop", "OrderedAggregation", "Limit", "Distinct")),
    ],
)
def test_what_waits_for_all_rows_is_a_sort(kind: str, sorts: bool) -> None:
    plan = plans.plan_of(operator("ProduceResults", "", 3.0, operator(kind)), QUERY)

    assert plan == Plan(3, sorts=sorts)


@pytest.mark.parametrize(
    ("kind", "details", "index"),
    [
        ("NodeIndexSeekByRange", "RANGE INDEX n:Planned(at) WHERE at > $last_pull", ":Planned(at)"),
        ("NodeIndexSeek", "RANGE INDEX n:`Planned`(`at`, id) WHERE at > $`last_pull` AND id = 1", ":Planned(at, id)"),
        ("NodeUniqueIndexSeek", "UNIQUE n:Planned(x, at) WHERE at > datetime($last_pull)", ":Planned(at, ...)"),
        (
            "DirectedRelationshipIndexSeekByRange",
            "RANGE INDEX (a)-[r:MADE_OF(since)]->(b) WHERE since > $last_pull",
            ":MADE_OF(since)",
        ),
        ("NodeIndexSeek", "RANGE INDEX n:Planned(id) WHERE id = $autoint_0", None),
        ("NodeIndexSeek", "RANGE INDEX n:Unknown(at) WHERE at > $last_pull", None),
        ("NodeIndexSeek", "RANGE INDEX n:Planned(unknown) WHERE unknown > $last_pull", None),
        ("NodeIndexSeek", "x" * 100_000, None),
        ("Filter", "RANGE INDEX n:Planned(at) WHERE at > $last_pull", None),
    ],
)
def test_the_index_is_the_one_that_is_sought_by_last_pull(kind: str, details: str, index: str | None) -> None:
    plan = plans.plan_of(operator("ProduceResults", "", 3.0, operator(kind, details)), QUERY)

    assert plan == Plan(3, index=index)


@pytest.mark.parametrize(
    ("rows", "known"), [(0, 0), (2.5, 2), (-1.0, None), (float("nan"), None), (float("inf"), None), ("7", None)]
)
def test_an_estimate_is_a_number_or_none(rows: object, known: int | None) -> None:
    assert plans.plan_of(operator("ProduceResults", "", rows), QUERY) == Plan(known)


def chain(length: int) -> dict[str, Any]:
    whole = operator("Argument")
    for _ in range(length - 1):
        whole = operator("Apply", "", 1.0, whole)
    return whole


def test_a_deep_plan_is_read() -> None:
    assert plans.plan_of(chain(1000), QUERY) == Plan(1)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        "plan",
        {"operatorType": 5, "args": {}},
        {"operatorType": "AllNodesScan", "args": []},
        operator("Apply", "", 1.0, "child"),
        operator("Apply", "", 1.0, *[operator("Argument")] * 2000),
        chain(1001),
    ],
)
def test_an_answer_that_is_none_is_no_plan(answer: object) -> None:
    assert plans.plan_of(answer, QUERY) is None


@pytest.fixture
def graph(neo4j_server: Server) -> Iterator[Neo4jHarness]:
    """It has three hundred nodes of the label."""
    harness = Neo4jHarness(neo4j_server)
    harness.run("UNWIND range(1, 300) AS n CREATE (:Planned {id: n, at: datetime()})")
    yield harness
    harness.run("MATCH (n:Planned) DELETE n")


def expects(graph: Neo4jHarness, query: str, **window: Any) -> Expected | None:
    async def opened() -> Expected | None:
        source = open_source("neo4j", graph.config)
        async with source.read(query, window=Window(**window), batch_size=10) as reading:
            return reading.expected

    return asyncio.run(opened())


def planned(graph: Neo4jHarness, query: str, **window: Any) -> Plan:
    told = expects(graph, query, rows=5, **window)
    assert told is not None
    assert told.plan is not None
    return told.plan


def test_only_a_reading_with_a_limit_asks_for_the_plan(graph: Neo4jHarness) -> None:
    assert expects(graph, "MATCH (n:Planned) RETURN n") is None


def test_a_label_that_is_read_whole_is_told_with_how_many_nodes_it_has(graph: Neo4jHarness) -> None:
    assert planned(graph, "MATCH (n:Planned) RETURN n") == Plan(300, (Scanned("Planned", 300),))


def test_all_nodes_are_told_as_such(graph: Neo4jHarness) -> None:
    (whole,) = planned(graph, "MATCH (n) RETURN n").whole

    assert whole.table == "nodes"
    assert whole.rows is not None
    assert whole.rows >= 300


def test_a_sort_is_told(graph: Neo4jHarness) -> None:
    assert planned(graph, "MATCH (n:Planned) RETURN n.id AS id ORDER BY n.at") == Plan(
        300, (Scanned("Planned", 300),), sorts=True
    )


@pytest.mark.parametrize("since", [":last_pull", "$last_pull", "datetime(:last_pull)"])
def test_the_index_behind_last_pull_is_told(graph: Neo4jHarness, since: str) -> None:
    query = f"MATCH (n:Planned) WHERE n.at > {since} RETURN n.id AS id"

    without = planned(graph, query)
    graph.run("CREATE INDEX planned_at FOR (n:Planned) ON (n.at)")
    try:
        graph.run("CALL db.awaitIndexes()")
        with_one = planned(graph, query)
    finally:
        graph.run("DROP INDEX planned_at")

    assert (without.whole, without.index) == ((Scanned("Planned", 300),), None)
    assert (with_one.whole, with_one.index) == ((), ":Planned(at)")


@pytest.mark.parametrize(
    ("query", "integer", "types"),
    [
        ("MATCH (n:Planned) RETURN n", False, ()),
        ("MATCH (n:Planned) WHERE n.at > :last_pull RETURN n", False, ("ZONED DATETIME",)),
        ("MATCH (n:Planned) WHERE n.id > :last_pull RETURN n", True, ("INTEGER",)),
    ],
)
def test_the_type_of_last_pull_is_told(graph: Neo4jHarness, query: str, integer: bool, types: tuple[str, ...]) -> None:
    told = expects(graph, query, rows=5, integer=integer)

    assert told is not None
    assert told.last_pull_types == types


@pytest.mark.parametrize(
    ("values", "condition", "integer", "types", "foreign"),
    [
        (["'2026-01-01'"], "n.at > $last_pull", False, ("STRING",), ("STRING",)),
        (["'2026-01-01'"], ":last_pull <= n.at", False, ("STRING",), ("STRING",)),
        (["datetime()", "localdatetime()"], "n.at > $last_pull", False, ("LOCAL DATETIME", "ZONED DATETIME"), None),
        (["date()"], "n.at > ($last_pull - duration('P1D'))", False, ("ZONED DATETIME",), ()),
        (["1", "2.5"], "n.at > $last_pull", True, ("FLOAT", "INTEGER"), ()),
        (["datetime()"], "n.at > $last_pull", True, ("ZONED DATETIME",), ("ZONED DATETIME",)),
        (["1"], "n.at > $last_pull.epochMillis", False, ("ZONED DATETIME",), ()),
        (["'2026-01-01'"], "datetime(n.at) > $last_pull", False, ("ZONED DATETIME",), ()),
        (["'2026-01-01'"], "n.`at`.x.at > $last_pull", False, ("ZONED DATETIME",), ()),
        ([], "n.at > $last_pull", False, ("ZONED DATETIME",), ()),
    ],
)
def test_the_types_that_last_pull_is_compared_with_are_those_of_some_nodes(
    neo4j_server: Server,
    values: list[str],
    condition: str,
    integer: bool,
    types: tuple[str, ...],
    foreign: tuple[str, ...] | None,
) -> None:
    graph = Neo4jHarness(neo4j_server)
    try:
        for value in values:
            graph.run(f"CREATE (:`Typed one` {{at: {value}}})")
        told = expects(graph, f"MATCH (n:`Typed one`) WHERE {condition} RETURN n", rows=5, integer=integer)
    finally:
        graph.run("MATCH (n:`Typed one`) DELETE n")

    assert told is not None
    assert (told.last_pull_types, told.foreign_types) == (types, ("LOCAL DATETIME",) if foreign is None else foreign)


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("MATCH ()-[r:MADE_OF]->() WHERE r.since >= :last_pull RETURN r", [("()-[n:MADE_OF]->()", "since")]),
        (
            "MATCH (a:A), (b:B {x: 1}) WHERE a.at > :last_pull OR b.`t o` > :last_pull RETURN a, b",
            [("(n:A)", "at"), ("(n:B)", "`t o`")],
        ),
        ("MATCH (n) WHERE n.at > :last_pull RETURN n", []),
        ("MATCH (n:A) WHERE n.at[0] > :last_pull RETURN ':last_pull < n.at'", []),
        ("RETURN :last_pull", []),
        ("MATCH (n:A) WHERE :last_pull < n.at.epochMillis RETURN n", []),
    ],
)
def test_a_property_is_known_by_its_label_where_it_stands_alone(query: str, asked: list[tuple[str, str]]) -> None:
    found = properties.compared(parse_cypher(query).text)

    assert [(one.pattern, one.name) for one in found] == asked


def test_the_question_for_privileges_is_well_formed(graph: Neo4jHarness) -> None:
    """Only other editions answer it. This one tells a mistake in it by another code."""
    with pytest.raises(neo4j.exceptions.ClientError) as refused:
        graph.run(plans.SEES_ALL)

    assert refused.value.code == plans.HAS_NO_PRIVILEGES


def test_a_plan_that_is_nested_too_deeply_for_python_is_none_and_the_rows_come(graph: Neo4jHarness) -> None:
    query = "".join(f"UNWIND [{n}] AS x{n} " for n in range(300)) + "RETURN x0 AS id, x1 AS one"

    assert asyncio.run(_read(graph.config, query)) == (Expected(), 1)


@pytest.mark.parametrize("answer", [NOISE, b"", b"\0\x04\xb1\x7f\xa1\x81\0\0"])
def test_a_server_that_lies_about_its_plan_gives_its_rows(graph: Neo4jHarness, answer: bytes) -> None:
    parts = urlsplit(graph.server.address)

    async def said(line: Line, _asked: bytes) -> None:
        await line.say(answer)

    with HostileServers() as hostile:
        port = hostile.serve(relayed(str(parts.hostname), int(parts.port or 0), b"EXPLAIN", said))
        found = asyncio.run(_read(graph.changed(port=port), "MATCH (n:Planned) RETURN n.id AS id, 1 AS one"))

    assert found == (Expected(), 5)


async def _read(config: dict[str, Any], query: str) -> tuple[Expected | None, int]:
    async with open_source("neo4j", config).read(query, window=Window(rows=5), batch_size=10) as reading:
        return reading.expected, sum([batch.frame.height async for batch in reading.batches])
