"""A reading of a file that is limited to some rows, and how far its opening tells that it is."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from qanatix_pipelines.errors import QueryRejected, ResultUnusable, SourceError, SourceUnreachable
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.source import Source, Stage
from qanatix_pipelines.watermarks import Window
from tests.servers import new_folder, remove
from tests.sources.limits import ACCOUNT, LOGIN, QUERY, how_far, opened
from tests.sources.sqlite.server import execute


@pytest.fixture
def file() -> Iterator[Path]:
    """A database in a folder of its own, with the numbers from 1 to 9."""
    folder = new_folder("sqlite", {})
    path = folder / "shop.db"
    rows = ", ".join(f"({n}, 'Item {n}')" for n in range(1, 10))
    execute(path, "CREATE TABLE numbers (n INTEGER PRIMARY KEY, name TEXT)", f"INSERT INTO numbers VALUES {rows}")
    yield path
    remove(folder)


def source(path: Path) -> Source:
    return open_source("sqlite", {"path": str(path)}, folders=(path.parent,))


def limited(path: Path, query: str, window: Window, batch_size: int = 100) -> tuple[list[str], int]:
    """The names of the columns, and how many rows came."""

    async def read() -> tuple[list[str], int]:
        async with source(path).read(query, window=window, batch_size=batch_size) as reading:
            names = [column.name for column in reading.columns or ()]
            return names, sum([batch.frame.height async for batch in reading.batches])

    return asyncio.run(read())


@pytest.mark.parametrize(("rows", "batch_size"), [(3, 100), (3, 2), (4, 2), (1, 1), (20, 4)])
def test_no_more_rows_come_than_were_asked_for(file: Path, rows: int, batch_size: int) -> None:
    _, found = limited(file, "SELECT n FROM numbers ORDER BY n DESC", Window(rows=rows), batch_size)

    assert found == min(rows, 9)


def test_the_source_makes_no_more_rows_than_were_asked_for(file: Path) -> None:
    """The rest is endless."""
    endless = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT i AS n FROM n"

    assert limited(file, endless, Window(rows=3)) == (["n"], 3)
    assert limited(file, f"{endless} LIMIT 1000000000000", Window(rows=3)) == (["n"], 3)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM numbers",
        "SELECT n AS N, name AS n_ame FROM numbers -- the end",
        "SELECT n + 1, count(*), 'a', \"name\" FROM numbers",
        "SELECT rowid, numbers.n AS id FROM numbers",
        "SELECT a.n, a.name AS [a name] FROM numbers a",
        "VALUES (1, 2), (3, 4)",
        "SELECT 1 AS a, 2 AS b UNION ALL VALUES (3, 4)",
        "WITH few AS (SELECT * FROM numbers) SELECT name, n AS 'x:1' FROM few;",
        "SELECT n FROM numbers UNION SELECT 2 LIMIT 5",
        "SELECT count(*) FROM numbers",
        "SELECT n AS a, n AS A FROM numbers",
    ],
)
def test_its_columns_have_the_names_that_they_have_without_a_limit(file: Path, query: str) -> None:
    assert limited(file, query, Window(rows=1))[0] == limited(file, query, Window())[0]


def test_two_columns_of_one_name_are_found_all_the_same(file: Path) -> None:
    _, error = opened(source(file), "SELECT n, name, n FROM numbers")

    assert isinstance(error, ResultUnusable)
    assert "'n'" in str(error)


@pytest.mark.parametrize(
    "query",
    ["SELECT nme FROM numbers", "SELECT n FROM", "SELECT n,, 1 FROM numbers", "SELECT n) FROM (SELECT 1 AS n"],
)
def test_what_is_wrong_with_a_query_is_told_as_without_a_limit(file: Path, query: str) -> None:
    with pytest.raises(QueryRejected) as usual:
        limited(file, query, Window())

    _, error = opened(source(file), query)

    assert (type(error), str(error)) == (QueryRejected, str(usual.value))


def test_a_text_that_is_compared_with_numbers_is_told_though_all_rows_came(file: Path) -> None:
    with pytest.raises(QueryRejected, match="compares :last_pull"):
        limited(file, "SELECT n FROM numbers WHERE n > :last_pull", Window(rows=2))


@pytest.mark.parametrize(
    ("query", "stages", "expected"),
    [
        ("SELECT n FROM numbers", [LOGIN, ACCOUNT, QUERY], None),
        ("SELECT nme FROM numbers", [LOGIN, ACCOUNT], QueryRejected),
        ("SELECT n, n FROM numbers", [LOGIN, ACCOUNT, QUERY], ResultUnusable),
    ],
)
def test_the_stages_that_are_over_are_told(
    file: Path, query: str, stages: list[Stage], expected: type[SourceError] | None
) -> None:
    assert how_far(source(file), query) == (stages, expected)


def test_a_file_that_is_not_there_is_before_all_stages(file: Path) -> None:
    assert how_far(source(file.with_name("other.db")), "SELECT 1") == ([], SourceUnreachable)
