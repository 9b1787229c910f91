"""What a reading of MongoDB's that is limited tells of its whole query: the plan, and the type of `:last_pull`."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.timestamp import Timestamp

from qanatix_pipelines.batches import Expected, Plan, Scanned
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.mongodb.plans import MAX_BYTES, plan
from qanatix_pipelines.sources.mongodb.query import parse_mongo_query
from qanatix_pipelines.sources.mongodb.values import document_of
from qanatix_pipelines.watermarks import Window
from tests.campaigns.hostile_answers import FORGED, NOISE, mongo_error, nested, op_msg
from tests.servers.hostile import HostileServers, Line, relayed
from tests.sources.mongodb.harness import MongoDBHarness

SINCE = '{"at": {"$gt": ":last_pull"}}'
BOUNDS = {"at": ["(new Date(-9223372036854775808), new Date(9223372036854775807)]"]}
COLLSCAN = {"stage": "COLLSCAN", "filter": {"at": {"$gt": 0}}, "direction": "forward"}
IXSCAN = {"stage": "IXSCAN", "keyPattern": {"at": 1}, "indexName": "at_1", "indexBounds": BOUNDS}
COMPOUND = IXSCAN | {"keyPattern": {"at": -1, "b": 1}}
NOT_TOLD = {name: COMPOUND[name] for name in COMPOUND if name != "indexBounds"}
SECOND = IXSCAN | {"keyPattern": {"b": 1, "at": 1}, "indexBounds": {"b": ["[1, 1]"]} | BOUNDS}
OTHER = IXSCAN | {"keyPattern": {"b": 1}, "indexBounds": {"b": ["[1, 1]"]}}
IN_ORDER = IXSCAN | {"indexBounds": {"at": ["[MinKey, MaxKey]"]}}
OF_ID = IXSCAN | {"keyPattern": {"_id": 1}, "indexBounds": {"_id": ["[MinKey, MaxKey]"]}}
CLUSTERED = {"stage": "CLUSTERED_IXSCAN", "minRecord": 1}

WHOLE = (Scanned("items", 1000),)


def fetched(stage: Mapping[str, Any]) -> dict[str, Any]:
    return {"stage": "FETCH", "inputStage": stage}


def planned(winning: Mapping[str, Any], namespace: str = "shop.items") -> dict[str, Any]:
    return {"queryPlanner": {"namespace": namespace, "winningPlan": winning, "rejectedPlans": [COLLSCAN]}, "ok": 1.0}


def expected(answer: Mapping[str, Any] | None, query: str = SINCE) -> Plan | None:
    """The plan by a server's answer to `explain`, where `count` has a thousand."""
    statement = parse_mongo_query(query)

    async def ask(command: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return {"n": 1000, "ok": 1.0} if "count" in command else answer

    find = statement.finds(None, integer=False)[""]
    return asyncio.run(plan(ask, "items", find, statement.compared))


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (planned(COLLSCAN), Plan(None, WHOLE)),
        (planned(fetched(IXSCAN)), Plan(None, index='{"at": 1}')),
        (planned(fetched(COMPOUND)), Plan(None, index='{"at": -1, ...}')),
        (planned(fetched(SECOND)), Plan(None, index='{..., "at": 1}')),
        (planned(fetched(NOT_TOLD)), Plan(None, index='{"at": -1, ...}')),
        (planned(fetched(OTHER)), Plan(None)),
        (planned(fetched(IN_ORDER)), Plan(None, WHOLE)),
        (planned({"stage": "SORT", "inputStage": COLLSCAN}), Plan(None, WHOLE, sorts=True)),
        (planned({"stage": "OR", "inputStages": [IXSCAN, OTHER]}), Plan(None, index='{"at": 1}')),
        (planned({"stage": "EOF"}), Plan(None)),
        # The newer engine of 5.0 and later, which has its own program beside the stages.
        (
            planned({"queryPlan": fetched(IXSCAN), "slotBasedPlan": {"stages": "[1] nlj"}}),
            Plan(None, index='{"at": 1}'),
        ),
        # A router's answer has each shard's.
        (
            planned({"stage": "SHARD_MERGE", "shards": [{"shardName": n, "winningPlan": COLLSCAN} for n in "ab"]}),
            Plan(None, WHOLE),
        ),
        (
            planned({"stage": "SHARD_MERGE_SORT", "shards": [{"winningPlan": fetched(IXSCAN)}]}),
            Plan(None, index='{"at": 1}'),
        ),
        # Views: the documents of one are not counted, for then the server would read them.
        (planned(COLLSCAN, "shop.base"), Plan(None, (Scanned("items", None),))),
        (
            {"stages": [{"$cursor": planned(COLLSCAN)}, {"$sort": {}}]},
            Plan(None, (Scanned("items", None),), sorts=True),
        ),
        ({"shards": {"a": {"stages": [{"$cursor": planned(fetched(IXSCAN))}]}}}, Plan(None, index='{"at": 1}')),
    ],
)
def test_each_form_of_a_plan_is_read(answer: Mapping[str, Any], known: Plan) -> None:
    assert expected(answer) == known


@pytest.mark.parametrize(
    ("query", "answer", "known"),
    [
        ("{}", planned(COLLSCAN), Plan(1000, WHOLE)),
        ('{"filter": {}, "sort": {"_id": 1}}', planned(fetched(OF_ID)), Plan(1000, WHOLE)),
        ('{"_id": {"$gt": ":last_pull"}}', planned(CLUSTERED), Plan(None, index='{"_id": 1}')),
        ('{"$expr": {"$gt": ["$at", ":last_pull"]}}', planned(fetched(IXSCAN)), Plan(None, index='{"at": 1}')),
        (
            '{"$or": [{"b": 1}, {"$nor": [{"at": {"$lte": ":last_pull"}}]}]}',
            planned(IXSCAN),
            Plan(None, index='{"at": 1}'),
        ),
        ('{"lines": {"$elemMatch": {"at": {"$gt": ":last_pull"}}}}', planned(IXSCAN), Plan(None)),
        ('{"at": {"$gt": {"$date": "2026-01-01T00:00:00Z"}}}', planned(IXSCAN), Plan(None)),
    ],
)
def test_the_index_is_that_of_the_field_that_is_compared(query: str, answer: Mapping[str, Any], known: Plan) -> None:
    assert expected(answer, query) == known


DEEP: Any = COLLSCAN
for _ in range(20_000):
    DEEP = fetched(DEEP)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"ok": 1.0},
        {"queryPlanner": "COLLSCAN"},
        {"queryPlanner": {"winningPlan": [[1, None, {"stage": 5}]]}},
        planned({"stage": "OR", "inputStages": [COLLSCAN] * 100_000}),
        planned(DEEP),
    ],
)
def test_an_answer_that_is_none_is_no_plan(answer: Mapping[str, Any] | None) -> None:
    assert expected(answer) is None


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (bson.encode({"n": 1}), {"n": 1}),
        (bson.encode({"x": "x" * MAX_BYTES}), None),
        (b"\x0b\0\0\0\x7ax\0\0\0\0\0", None),
        (nested(20_000), None),
    ],
)
def test_an_answer_that_is_too_large_or_broken_is_none(answer: bytes, known: dict[str, Any] | None) -> None:
    assert document_of(answer, MAX_BYTES) == known


@pytest.mark.parametrize("pattern", [{}, "at", {"at": {"x": "</script>"}}, {"at": "2dsphere"}])
def test_a_plan_puts_no_words_of_the_server_s_into_ours(pattern: object) -> None:
    told = expected(planned(IXSCAN | {"keyPattern": pattern, "indexName": "</script>"}))

    assert told in (Plan(None), Plan(None, index='{"at": 1}'))


def expects(harness: MongoDBHarness, query: str, **window: Any) -> Expected | None:
    async def opened() -> Expected | None:
        source = open_source("mongodb", harness.config)
        async with source.read(query, window=Window(**window), batch_size=10) as reading:
            return reading.expected

    return asyncio.run(opened())


@pytest.fixture
def items(mongodb_harness: MongoDBHarness) -> MongoDBHarness:
    mongodb_harness.fill(300)
    return mongodb_harness


def test_only_a_reading_with_a_limit_asks_for_the_plan(items: MongoDBHarness) -> None:
    assert expects(items, "{}") is None


def test_a_collection_that_is_read_whole_is_told_with_how_many_documents_it_has(items: MongoDBHarness) -> None:
    assert expects(items, "{}", rows=5) == Expected(plan=Plan(300, (Scanned("items", 300),)))


def test_a_sort_without_an_index_is_told(items: MongoDBHarness) -> None:
    told = expects(items, '{"filter": {}, "sort": {"name": 1}}', rows=5)

    assert told is not None
    assert told.plan == Plan(300, (Scanned("items", 300),), sorts=True)


def test_the_index_behind_last_pull_is_told_with_its_type(items: MongoDBHarness) -> None:
    query = '{"updated_at": {"$gt": ":last_pull"}}'

    without = expects(items, query, rows=5)
    with items.database() as database:
        database.items.create_index("updated_at")
    with_one = expects(items, query, rows=5)

    assert without == Expected(("date",), plan=Plan(None, (Scanned("items", 300),)))
    assert with_one == Expected(("date",), plan=Plan(None, index='{"updated_at": 1}'))


@pytest.mark.parametrize(
    "answer",
    [
        lambda n: op_msg(mongo_error(FORGED), n),
        lambda n: op_msg(nested(20_000), n),
        lambda n: op_msg(bson.encode({"queryPlanner": "x" * MAX_BYTES, "ok": 1.0}), n),
        lambda n: op_msg(b"\xff\xff\xff\x7f", n),
        lambda _: NOISE,
    ],
)
def test_a_server_that_lies_about_its_plan_gives_its_rows(
    items: MongoDBHarness, answer: Callable[[int], bytes]
) -> None:
    parts = urlsplit(items.server.address)

    async def said(line: Line, asked: bytes) -> None:
        await line.say(answer(int.from_bytes(asked[4:8], "little")))

    async def read(port: int) -> tuple[Expected | None, int]:
        source = open_source("mongodb", items.changed(port=port))
        async with source.read("{}", window=Window(rows=5), batch_size=10) as reading:
            return reading.expected, sum([batch.frame.height async for batch in reading.batches])

    with HostileServers() as hostile:
        port = hostile.serve(relayed(str(parts.hostname), int(parts.port or 0), b"explain\0", said))
        assert asyncio.run(read(port)) == (Expected(), 5)


@pytest.mark.parametrize(
    ("values", "query", "integer", "types", "foreign"),
    [
        (["2026-01-01"], SINCE, False, ("string",), ("string",)),
        ([DatetimeMS(0), "2026-01-01", None], SINCE, False, ("date", "string"), ("string",)),
        ([Timestamp(1, 1)], SINCE, False, ("timestamp",), ("timestamp",)),
        ([1, 2.5, Int64(3), Decimal128("4")], SINCE, True, ("decimal", "double", "int", "long"), ()),
        ([DatetimeMS(0)], SINCE, True, ("date",), ("date",)),
        ([None], SINCE, False, ("date",), ()),
        ([[{"of": DatetimeMS(0)}, {"of": 5}]], '{"at.of": {"$gt": ":last_pull"}}', False, ("date", "int"), ("int",)),
        # Documents of other types are found by these, too.
        (["2026-01-01"], '{"at": {"$not": {"$lte": ":last_pull"}}}', False, ("date",), ()),
        (["2026-01-01"], '{"$expr": {"$gt": [{"$toDate": "$at"}, ":last_pull"]}}', False, ("date",), ()),
        (["2026-01-01"], "{}", False, (), ()),
    ],
)
def test_the_types_that_last_pull_is_compared_with_are_those_of_some_documents(
    mongodb_harness: MongoDBHarness,
    values: list[Any],
    query: str,
    integer: bool,
    types: tuple[str, ...],
    foreign: tuple[str, ...],
) -> None:
    with mongodb_harness.database() as database:
        database.items.drop()
        database.items.insert_many({"_id": n, "at": value} for n, value in enumerate(values))

    told = expects(mongodb_harness, query, rows=5, integer=integer)

    assert told is not None
    assert (told.last_pull_types, told.foreign_types) == (types, foreign)


def test_an_integer_cursor_is_told_as_one(items: MongoDBHarness) -> None:
    told = expects(items, '{"_id": {"$gt": ":last_pull"}}', rows=5, integer=True)

    assert told == Expected(("int",), plan=Plan(None, index='{"_id": 1}'))
