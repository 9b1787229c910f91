"""Neo4j's types in an entity: each example of docs/types/neo4j.md, made in a server and pulled."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neo4j.vector import Vector

from qanatix_pipelines.sources.neo4j.values import _json
from tests.servers import Server
from tests.sources.neo4j.harness import Neo4jHarness
from tests.types_table import TypeRow, entity_data, type_rows

GRAPH = """
CREATE (:Person:Author {id: 7, name: 'Ann', born: date('1969-07-20')})-[:WROTE {year: 2020}]->(:Book {title: 'B'})
"""


@pytest.fixture
def graph(neo4j_server: Server) -> Iterator[Neo4jHarness]:
    harness = Neo4jHarness(neo4j_server)
    harness.run("CREATE (:Given {bytes: $bytes})", bytes=b"\x00\xff\x10")
    harness.run(GRAPH)
    yield harness
    harness.run("MATCH (n:Given|Author|Book) DETACH DELETE n")


def entities(harness: Neo4jHarness, query: str) -> list[str]:
    """The data of the entities that a query's rows become."""
    return entity_data("neo4j", harness.config, query)


@pytest.mark.parametrize("example", type_rows("neo4j"), ids=lambda example: f"{example.type}: {example.source}")
def test_a_value_becomes_what_the_table_says(graph: Neo4jHarness, example: TypeRow) -> None:
    if example.source.startswith("MATCH"):
        query, expected = example.source, example.entity
    else:
        # Bytes can only be written by a parameter, and a query of a pull has no such parameter.
        expression = example.source.replace("$bytes", "n.bytes")
        query, expected = f"MATCH (n:Given) RETURN {expression} AS value", f'{{"value":{example.entity}}}'

    (data,) = entities(graph, query)

    assert expected == re.sub(r'"\d+:[0-9a-f-]{36}:\d+"', '"…"', data)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2_145_000_000),  # 1970 to 2037, where the driver knows the zones well
            st.integers(0, 999_999_999),
            st.sampled_from(
                ["Z", "+05:30", "-18:00", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Etc/UTC"]
            ),
        ),
        min_size=1,
    )
)
def test_a_zoned_datetime_is_written_as_the_server_writes_it(
    graph: Neo4jHarness, moments: list[tuple[int, int, str]]
) -> None:
    listed = ", ".join(
        f"datetime({{datetime: datetime({{epochSeconds: {seconds}, nanosecond: {nanoseconds}}}), timezone: '{zone}'}})"
        for seconds, nanoseconds, zone in moments
    )

    rows = entities(graph, f"UNWIND [{listed}] AS d RETURN toString(d) AS written, d AS read")

    assert rows
    for row in rows:
        read, written = re.findall(r'"(?:read|written)":("[^"]*")', row)
        assert written == read


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.integers(-100_000, 100_000)] * 3, st.integers(-(10**9), 10**9)), min_size=1))
def test_a_duration_is_written_as_the_server_writes_it(
    graph: Neo4jHarness, lengths: list[tuple[int, int, int, int]]
) -> None:
    listed = ", ".join(
        f"duration({{months: {months}, days: {days}, seconds: {seconds}, nanoseconds: {nanoseconds}}})"
        for months, days, seconds, nanoseconds in lengths
    )

    rows = entities(graph, f"UNWIND [{listed}] AS d RETURN toString(d) AS written, d AS read")

    assert rows
    for row in rows:
        read, written = re.findall(r'"(?:read|written)":("[^"]*")', row)
        assert written == read


def test_a_vector_becomes_an_array() -> None:
    assert _json(Vector([1.5, -2.0], "f32")) == "[1.5,-2.0]"
    assert _json(Vector([1, -2], "i8")) == "[1,-2]"
