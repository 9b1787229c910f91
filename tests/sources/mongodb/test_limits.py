"""MongoDB read up to a limit of rows; and what it tells of its opening: the stages that are over."""

import asyncio
from typing import Any

import pytest

from qanatix_pipelines.batches import Batch
from qanatix_pipelines.errors import LoginRefused, QueryRejected, SourceError
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.source import Stage
from qanatix_pipelines.watermarks import Window
from tests.sources.mongodb.harness import MongoDBHarness


async def _read(config: dict[str, Any], query: str, limit: int | None, batch_size: int) -> list[Batch]:
    source = open_source("mongodb", config)
    async with source.read(query, window=Window(rows=limit), batch_size=batch_size) as reading:
        return [batch async for batch in reading.batches]


def heights(harness: MongoDBHarness, query: str, limit: int | None, batch_size: int) -> list[int]:
    return [batch.frame.height for batch in asyncio.run(_read(harness.config, query, limit, batch_size))]


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
    mongodb_harness: MongoDBHarness, rows: int, limit: int | None, batch_size: int, expected: list[int]
) -> None:
    mongodb_harness.fill(rows)

    assert heights(mongodb_harness, mongodb_harness.everything, limit, batch_size) == expected


def test_the_server_stops_its_work_with_the_last_row_of_the_window(mongodb_harness: MongoDBHarness) -> None:
    """It would work for minutes on those after it."""
    never = mongodb_harness.slow()
    with mongodb_harness.database() as database:
        database.items.insert_many({"_id": -n, "name": "found"} for n in range(1, 4))
    query = f'{{"filter": {{"$or": [{{"_id": {{"$lt": 0}}}}, {never}]}}, "sort": {{"_id": 1}}}}'

    assert heights(mongodb_harness, query, 3, 1000) == [3]


def stages(config: dict[str, Any], query: str, error: type[SourceError] | None) -> list[Stage]:
    """Those that are over before the first row, or the error."""
    over: list[Stage] = []

    async def opened() -> None:
        source = open_source("mongodb", config)
        source.passed = lambda stage, _sight=None: over.append(stage)
        async with source.read(query, window=Window(rows=1), batch_size=1):
            assert error is None

    if error is None:
        asyncio.run(opened())
    else:
        with pytest.raises(error):
            asyncio.run(opened())
    return over


def test_a_stage_is_told_once_it_is_over(mongodb_harness: MongoDBHarness) -> None:
    mongodb_harness.fill(1)
    config = mongodb_harness.config

    assert stages(mongodb_harness.wrong_password(), "{}", LoginRefused) == []
    assert stages(config, mongodb_harness.rejected, QueryRejected) == [Stage.LOGIN, Stage.ACCOUNT]
    assert stages(config, "{}", None) == [Stage.LOGIN, Stage.ACCOUNT, Stage.QUERY]
