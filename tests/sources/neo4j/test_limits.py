"""Neo4j read up to a limit of rows; and what it tells of its opening: the stages that are over."""

from functools import partial

import pytest

from qanatix_pipelines.errors import LoginRefused, QueryRejected
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.sources.limits import ACCOUNT, LOGIN, QUERY, batches, each_limit, heights, how_far
from tests.sources.neo4j.harness import Neo4jHarness

source = partial(open_source, "neo4j")

# After its first nine rows the server works for hours.
ENDLESS = "UNWIND range(1, 10000000000) AS x WITH x WHERE x < 10 RETURN x AS id, 'row' AS name"


@pytest.fixture
def graph(neo4j_server: Server) -> Neo4jHarness:
    return Neo4jHarness(neo4j_server)


@each_limit
def test_no_more_rows_are_read_than_the_window_has(
    graph: Neo4jHarness, rows: int, limit: int | None, batch_size: int, expected: list[int]
) -> None:
    query = f"UNWIND range(1, {rows}) AS x RETURN x AS id, 'row' AS name"

    assert heights(source(graph.config), query, limit, batch_size) == expected


@pytest.mark.parametrize("limit", [1, 8])
def test_the_server_stops_its_work_with_the_last_row_of_the_window(graph: Neo4jHarness, limit: int) -> None:
    """It makes one row more than it is asked for, to tell whether there are more."""
    assert heights(source(graph.config), ENDLESS, limit, 1000) == [limit]
    assert graph.at_work() == 0


def test_a_limit_leaves_the_places_of_errors_and_the_names_of_columns(graph: Neo4jHarness) -> None:
    with pytest.raises(QueryRejected, match="at line 2, column 14"):
        heights(source(graph.config), "MATCH (n)\nRETURN n.id, m.name", 1, 1)

    (batch,) = batches(source(graph.config), "UNWIND [1, 2] AS n RETURN n, 2 * n", Window(rows=1), 1)
    assert {column.name for column in batch.columns} >= {"n", "2 * n"}


def test_a_stage_is_told_once_it_is_over(graph: Neo4jHarness) -> None:
    """No account of the Community Edition is too strong."""
    assert how_far(source(graph.wrong_password()), "RETURN 1 AS id") == ([], LoginRefused)
    assert how_far(source(graph.config), graph.rejected) == ([LOGIN, ACCOUNT], QueryRejected)
    assert how_far(source(graph.config), "RETURN 1 AS id") == ([LOGIN, ACCOUNT, QUERY], None)
