"""`:until` in MongoDB's filters: where it stands, and what it is bound to."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from qanatix_pipelines.batches import OBJECT
from qanatix_pipelines.errors import InvalidConnector
from qanatix_pipelines.sources import check_query, open_source, source_of
from qanatix_pipelines.sources.mongodb.query import parse_mongo_query
from qanatix_pipelines.sources.source import Asked
from qanatix_pipelines.watermarks import Watermark, Window
from tests.sources.mongodb.harness import MongoDBHarness

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LEAST, GREATEST = -(2**63), 2**63 - 1
YEAR_ONE, YEAR_9999 = -62_135_596_800_000, 253_402_300_799_999


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ('{"at": {"$gt": ":last_pull", "$lte": ":until"}}', Asked(last_pull=True, until=True)),
        ('{"filter": {"$or": [{"at": ":until"}]}, "sort": {"at": 1}}', Asked(until=True)),
        ('{"$expr": {"$lt": ["$at", {"$subtract": [":until", 5]}]}}', Asked(until=True)),
        ('{":until": "not :until", "b": {"$in": ["until", ":untill"]}}', Asked()),
    ],
)
def test_it_is_asked_for_where_it_is_a_value(query: str, asked: Asked) -> None:
    assert source_of("mongodb").check_query(query) == asked


@pytest.mark.parametrize(
    ("until", "integer", "compared", "computed"),
    [
        (EPOCH + timedelta(microseconds=5_999), False, DatetimeMS(5), DatetimeMS(5)),
        (None, False, DatetimeMS(GREATEST), DatetimeMS(YEAR_9999)),
        (7, True, Int64(7), Int64(7)),
        (2**70, True, Int64(GREATEST), Int64(GREATEST)),
        (None, True, Int64(GREATEST), Int64(GREATEST)),
    ],
)
def test_it_is_bound_as_last_pull_is_and_else_to_the_greatest_value(
    until: Watermark | None, integer: bool, compared: object, computed: object
) -> None:
    query = parse_mongo_query('{"a": {"$lt": ":until"}, "$expr": {"$gt": ["$a", {"$subtract": [":until", 1]}]}}')

    bound = query.bound(None, until, integer=integer)

    assert bound == {"a": {"$lt": compared}, "$expr": {"$gt": ["$a", {"$subtract": [computed, 1]}]}}
    assert type(bound["a"]["$lt"]) is type(compared)


def read(harness: MongoDBHarness, query: str, window: Window) -> list[Any]:
    async def ids() -> list[Any]:
        async with open_source("mongodb", harness.config).read(query, window=window, batch_size=100) as reading:
            return [json.loads(text)["_id"] async for batch in reading.batches for text in batch.frame[OBJECT]]

    return asyncio.run(ids())


def insert(harness: MongoDBHarness, *values: object) -> None:
    with harness.database() as database:
        database.items.drop()
        database.items.insert_many({"_id": n, "at": value} for n, value in enumerate(values))


def sorted_by_id(condition: str) -> str:
    return f'{{"filter": {condition}, "sort": {{"_id": 1}}}}'


def test_windows_beside_each_other_have_each_row_once(mongodb_harness: MongoDBHarness) -> None:
    insert(mongodb_harness, *map(DatetimeMS, range(10)))
    query = sorted_by_id('{"at": {"$gte": ":last_pull", "$lt": ":until"}}')
    ends = [EPOCH + timedelta(microseconds=microseconds) for microseconds in (0, 2_999, 3_001, 7_000, 10_000)]

    windows = [Window(start, overlap=0, until=end) for start, end in pairwise(ends)]

    assert [read(mongodb_harness, query, window) for window in windows] == [[0, 1], [2], [3, 4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ('{"at": {"$lt": ":until"}}', [0, 1, 2, 3]),
        ('{"at": {"$lte": ":until"}}', [0, 1, 2, 3, 4]),
        ('{"at": {"$gte": ":last_pull", "$lte": ":until"}}', [0, 1, 2, 3, 4]),
        ('{"$expr": {"$lt": ["$at", ":until"]}}', [0, 1, 2, 3]),
    ],
)
def test_without_an_end_every_date_is_before_it(
    mongodb_harness: MongoDBHarness, condition: str, found: list[int]
) -> None:
    insert(mongodb_harness, *map(DatetimeMS, [LEAST, 0, YEAR_9999, GREATEST - 1, GREATEST]))

    assert read(mongodb_harness, sorted_by_id(condition), Window()) == found


@pytest.mark.parametrize(
    "condition",
    [
        '{"$lt": ["$at", {"$add": [":until", 5000]}]}',
        '{"$lt": ["$at", {"$subtract": [":until", 5000]}]}',
        '{"$lt": ["$at", {"$toDate": {"$toLong": ":until"}}]}',
        '{"$lte": [{"$dateToString": {"date": "$at"}}, {"$dateToString": {"date": ":until"}}]}',
        '{"$lte": [{"$year": "$at"}, {"$year": {"date": ":until"}}]}',
    ],
)
def test_without_an_end_it_can_be_computed_with(mongodb_harness: MongoDBHarness, condition: str) -> None:
    insert(mongodb_harness, DatetimeMS(YEAR_ONE), DatetimeMS(0))

    assert read(mongodb_harness, sorted_by_id(f'{{"$expr": {condition}}}'), Window()) == [0, 1]


def test_an_integer_window_ends_too(mongodb_harness: MongoDBHarness) -> None:
    insert(mongodb_harness, *range(10))
    query = sorted_by_id('{"at": {"$gt": ":last_pull", "$lte": ":until"}}')

    assert read(mongodb_harness, query, Window(3, overlap=1, integer=True, until=5)) == [3, 4, 5]
    assert read(mongodb_harness, query, Window(integer=True)) == list(range(10))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ('{"at": {"$lt": ":untill"}}', r'text ":untill" at at.\$lt, which is no placeholder: write ":last_pull"'),
        ('{"at": {"$lte": "{{ until }}"}}', r'at at.\$lte, .* or ":until" for the end of a window'),
        ('{"at": {"$lt": {"$date": ":until"}}}', r'":until" within \$date: write it alone, such as {"\$gt": ":until"}'),
        ('{"at": {"lt": ":until"}}', r'has lt at at.lt, .* write the operator "\$lt".* {"at.lt": ":until"}'),
        ('{"at": {"$lt": :until}}', r"`:until` goes in quotes here"),
    ],
)
def test_a_slip_is_told_as_one_of_last_pull_is(query: str, told: str) -> None:
    with pytest.raises(InvalidConnector, match=told):
        check_query("mongodb", query)
