"""Readings that are limited to some rows: what comes of them, and how far one tells that its opening is."""

import asyncio
from typing import Any

import pytest

from qanatix_pipelines.batches import Batch
from qanatix_pipelines.errors import SourceError
from qanatix_pipelines.sources.source import Source, Stage
from qanatix_pipelines.watermarks import Window

LOGIN, ACCOUNT, QUERY = Stage

# The heights of the batches that come, where the source has so many rows.
each_limit = pytest.mark.parametrize(
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


def batches(source: Source, query: str, window: Window, batch_size: int) -> list[Batch]:
    async def read() -> list[Batch]:
        async with source.read(query, window=window, batch_size=batch_size) as reading:
            return [batch async for batch in reading.batches]

    return asyncio.run(read())


def heights(source: Source, query: str, limit: int | None, batch_size: int) -> list[int]:
    return [batch.frame.height for batch in batches(source, query, Window(rows=limit), batch_size)]


def limited(source: Source, query: str, limit: int, batch_size: int = 100) -> list[tuple[Any, ...]]:
    """The rows that come."""
    return [row for batch in batches(source, query, Window(rows=limit), batch_size) for row in batch.frame.iter_rows()]


def opened(source: Source, query: str) -> tuple[list[Stage], SourceError | None]:
    """The stages that were over, and the error that came then."""
    stages: list[Stage] = []
    source.passed = lambda stage, _sight=None: stages.append(stage)

    async def read() -> None:
        async with source.read(query, window=Window(rows=1), batch_size=1):
            pass

    try:
        asyncio.run(read())
    except SourceError as error:
        return stages, error
    return stages, None


def how_far(source: Source, query: str) -> tuple[list[Stage], type[SourceError] | None]:
    """Like `opened`, with the error's class."""
    stages, error = opened(source, query)
    return stages, type(error) if error else None
