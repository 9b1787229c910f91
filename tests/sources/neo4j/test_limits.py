"""Neo4j read up to a limit of rows; and what it tells of its opening: the stages that are over."""

import asyncio
from typing import Any

import pytest

from qanatix_pipelines.batches import Batch
from qanatix_pipelines.errors import LoginRefused, QueryRejected, SourceError
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.source import Stage
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.sources.neo4j.harness import Neo4jHarness

# After its first nine rows the server works for hours.
ENDLESS = "UNWIND range(1, 10000000000) AS x WITH x WHERE x < 10 RETURN x AS id, 'row' AS name"


@pytest.fixture
def graph(neo4j_server: Server) -> Neo4jHarness:
    return Neo4jHarness(neo4j_server)


async def _read(config: dict[str, Any], query: str, limit: int | None, batch_size: int) -> list[Batch]:
    source = open_source("neo4j", config)
    async with source.read(query, window=Window(rows=limit), batch_size=batch_size) as reading:
        return [batch async for batch in reading.batches]


def heights(graph: Neo4jHarness, query: str, limit: int | None, batch_size: int) -> list[int]:
    return [batch.frame.height for batch in asyncio.run(_read(graph.config, query, limit, batch_size))]


@pytest.mark.parametrize(
    ("rows", "limit", "batch_size", "expected"),
    [
        (0, 3, 10, []),
        (2, 3, 10, [2]),
        (3, 3, 10, [3]),
        (9, 3, 10, [3]),
        (9, 3, 3, [3]),
        (9, 3, 1, [1, 1, 1]),
        (9, 5, 2, [2, 2, 1]),
        (9, 1, 1, [1]),
        (9, None, 4, [4, 4, 1]),
    ],
)
def test_no_more_rows_are_read_than_the_window_has(
    graph: Neo4jHarness, rows: int, limit: int | None, batch_size: int, expected: list[int]
) -> None:
    query = f"UNWIND range(1, {rows}) AS x RETURN x AS id, 'row' AS name"

    assert heights(graph, query, limit, batch_size) == expected


@pytest.mark.parametrize("limit", [1, 8])
def test_the_server_stops_its_work_with_the_last_row_of_the_window(graph: Neo4jHarness, limit: int) -> None:
    """It makes one row more than it is asked for, to tell whether there are more."""
    assert heights(graph, ENDLESS, limit, 1000) == [limit]
    assert graph.at_work() == 0


def test_a_limit_leaves_the_places_of_errors_and_the_names_of_columns(graph: Neo4jHarness) -> None:
    with pytest.raises(QueryRejected, match="at line 2, column 14"):
        heights(graph, "MATCH (n)\nRETURN n.id, m.name", 1, 1)

    (batch,) = asyncio.run(_read(graph.config, "UNWIND [1, 2] AS n RETURN n, 2 * n", 1, 1))
    assert {column.name for column in batch.columns} >= {"n", "2 * n"}


def stages(config: dict[str, Any], query: str, error: type[SourceError] | None) -> list[Stage]:
    """Those that are over before the first row, or the error."""
    over: list[Stage] = []

    async def opened() -> None:
        source = open_source("neo4j", config)
        source.passed = lambda stage, _sight=None: over.append(stage)
        async with source.read(query, window=Window(rows=1), batch_size=1):
            assert error is None

    if error is None:
        asyncio.run(opened())
    else:
        with pytest.raises(error):
            asyncio.run(opened())
    return over


def test_a_stage_is_told_once_it_is_over(graph: Neo4jHarness) -> None:
    """No account of the Community Edition is too strong."""
    assert stages(graph.wrong_password(), "RETURN 1 AS id", LoginRefused) == []
    assert stages(graph.config, graph.rejected, QueryRejected) == [Stage.LOGIN, Stage.ACCOUNT]
    assert stages(graph.config, "RETURN 1 AS id", None) == [Stage.LOGIN, Stage.ACCOUNT, Stage.QUERY]
