"""What only MongoDB has: documents without a common shape, its ways to fail, and the hosts that its driver talks to."""

import asyncio
import gc
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp

from qanatix_pipelines.batches import OBJECT, Batch, Named
from qanatix_pipelines.connectors import Connector, Watch
from qanatix_pipelines.egress import DEVELOPMENT
from qanatix_pipelines.errors import (
    LoginRefused,
    QueryRejected,
    ResultUnusable,
    SourceError,
    SourceTimeout,
    SourceUnreachable,
    TlsFailed,
)
from qanatix_pipelines.pull import PullOutcome
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.rejections import Fault, Reason, Rejection
from qanatix_pipelines.sources import documents, open_source
from qanatix_pipelines.sources.mongodb import reading as source_module
from qanatix_pipelines.sources.mongodb import rows
from qanatix_pipelines.sources.mongodb import session as sessions
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.watch import look
from qanatix_pipelines.watermarks import Window
from tests.campaigns.hostile_answers import nested
from tests.reported import PASSED, tls_status
from tests.servers import Server, free_port
from tests.sources.mongodb.harness import DATABASE, MongoDBHarness
from tests.sources.mongodb.server import Engine, start_engine, start_gateway

Register = Callable[..., Connector]
Pulled = Callable[[Connector], PullOutcome]
Rejected = Callable[[Receipt], Sequence[Rejection]]

ZERO = -62_135_596_800_000  # the start of year 1, which .NET and Go write for "no time"


@pytest.fixture(scope="module")
def mongodb_engine() -> Iterator[Engine]:
    """An engine of the module's own, for other wire servers in front of it."""
    engine = start_engine()
    yield engine
    engine.stop()


def insert(harness: MongoDBHarness, *documents: Any) -> None:
    with harness.database() as database:
        database.items.drop()
        database.items.insert_many(documents)


async def _read(config: dict[str, Any], query: str, since: datetime | None, batch_size: int) -> list[Batch]:
    async with open_source("mongodb", config).read(
        query, window=Window(since, overlap=0), batch_size=batch_size
    ) as reading:
        return [batch async for batch in reading.batches]


def read(
    harness: MongoDBHarness, query: str = '{"filter": {}, "sort": {"_id": 1}}', since: datetime | None = None
) -> list[dict[str, Any]]:
    """The data of the documents. It does not have their names."""
    batches = asyncio.run(_read(harness.config, query, since, 100))
    return [json.loads(text) for batch in batches for text in batch.frame[OBJECT]]


def watermark(harness: MongoDBHarness) -> datetime:
    async def taken() -> datetime | None:
        source = open_source("mongodb", harness.config)
        async with source.read('{"at": ":last_pull"}', window=Window(), batch_size=1) as reading:
            return reading.watermark

    found = asyncio.run(taken())
    assert found is not None
    return found


def entities(store: Store) -> dict[str | None, dict[str, Any]]:
    """The data of all entities by their key in the source."""
    found, _ = store.entities.page(vertical="testing", entity_type="item", limit=100, cursor=None)
    return {entity.source_id: json.loads(entity.data) for entity in found}


def test_documents_of_differing_shape_keep_every_field_by_its_own_type(
    mongodb_harness: MongoDBHarness, register: Register, pulled: Pulled, store: Store
) -> None:
    insert(
        mongodb_harness,
        {"_id": 1, "name": "a", "size": 1},
        {"_id": 2, "name": "b", "size": "large", "tags": ["x"]},
        {"_id": 3, "size": None, "": "no name", "a.b": {"c": 1.5}},
    )

    receipt = pulled(register(mongodb_harness, "{}")).receipt

    assert receipt.records_ingested == 3
    assert entities(store) == {
        "1": {"_id": 1, "size": 1},
        "2": {"_id": 2, "size": "large", "tags": ["x"]},
        "3": {"_id": 3, "size": None, "": "no name", "a.b": {"c": 1.5}},
    }


def test_the_key_is_the_id_of_mongodb_whatever_else_is_there(
    mongodb_harness: MongoDBHarness, register: Register, pulled: Pulled, store: Store
) -> None:
    oid = ObjectId("65a1b2c3d4e5f60718293a4b")
    insert(mongodb_harness, {"_id": oid, "id": 7})

    pulled(register(mongodb_harness, "{}"))

    assert entities(store) == {"65a1b2c3d4e5f60718293a4b": {"_id": "65a1b2c3d4e5f60718293a4b", "id": 7}}


def test_another_field_may_be_the_key(
    mongodb_harness: MongoDBHarness, register: Register, pulled: Pulled, store: Store
) -> None:
    insert(mongodb_harness, {"_id": 1, "sku": "x"}, {"_id": 2, "sku": "x"}, {"_id": 3})

    receipt = pulled(register(mongodb_harness, "{}", id_column="sku")).receipt

    assert (receipt.records_ingested, receipt.duplicates_skipped) == (2, 1)
    assert entities(store) == {"x": {"_id": 2, "sku": "x"}, None: {"_id": 3}}


def test_keys_are_told_apart_as_the_servers_unique_index_does(
    mongodb_harness: MongoDBHarness, register: Register, pulled: Pulled, store: Store
) -> None:
    """The server stores each as a document of its own."""
    oid = ObjectId("65a1b2c3d4e5f60718293a4b")
    keys: list[Any] = [1, "1", {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": "1", "b": 2}, oid, str(oid), None, "null"]
    insert(mongodb_harness, *({"_id": key, "place": place} for place, key in enumerate(keys)))

    receipt = pulled(register(mongodb_harness, "{}")).receipt

    assert (receipt.records_ingested, receipt.duplicates_skipped) == (len(keys), 0)
    assert entities(store)["1"] == {"_id": 1, "place": 0}
    assert entities(store)['"1"'] == {"_id": "1", "place": 1}
    assert entities(store)['{"b":2,"a":1}'] == {"_id": {"a": 1, "b": 2}, "place": 3}


def test_a_number_is_one_key_whatever_its_type(
    mongodb_harness: MongoDBHarness, register: Register, pulled: Pulled, store: Store
) -> None:
    connector = register(mongodb_harness, "{}")
    for key in (7, Int64(7), 7.0, Decimal128("7.00")):
        insert(mongodb_harness, {"_id": key})
        pulled(connector)

    assert list(entities(store)) == ["7"]


def test_a_cursor_is_a_whole_number_of_any_type_and_null_is_none(
    mongodb_harness: MongoDBHarness, register: Register, pulled: Pulled, store: Store
) -> None:
    numbers = (Int64(5), None, 1_732_000_000_001.0, Decimal128("7.00"), Decimal128("1.0E+3"))
    insert(mongodb_harness, *({"_id": n, "rev": number} for n, number in enumerate(numbers)), {"_id": 9})
    query = '{"$or": [{"rev": {"$gt": ":last_pull"}}, {"rev": null}]}'
    connector = register(mongodb_harness, query, cursor_column="rev", overlap=0)

    assert [pulled(connector).receipt.records_pulled for _ in range(2)] == [6, 2]
    assert store.connectors.get(connector.id).watermark == 1_732_000_000_001


def test_a_field_that_comes_or_goes_changes_the_entity(
    mongodb_harness: MongoDBHarness, register: Register, pulled: Pulled, store: Store
) -> None:
    connector = register(mongodb_harness, "{}")
    counts = []
    for document in ({"_id": 1}, {"_id": 1, "size": None}, {"size": None, "_id": 1}, {"_id": 1}):
        insert(mongodb_harness, document)
        counts.append(pulled(connector).receipt.records_ingested)

    assert counts == [1, 1, 0, 1]
    assert entities(store) == {"1": {"_id": 1}}


def test_a_document_without_the_named_name_is_rejected(
    mongodb_harness: MongoDBHarness, register: Register, pulled: Pulled, rejected: Rejected
) -> None:
    insert(mongodb_harness, {"_id": 1, "title": "a"}, {"_id": 2}, {"_id": 3, "title": None}, {"_id": 4, "title": 4})

    receipt = pulled(register(mongodb_harness, '{"filter": {}, "sort": {"_id": 1}}', name_column="title")).receipt

    assert [(rejection.row, rejection.reason) for rejection in rejected(receipt)] == [
        (2, Reason.NAME_MISSING),
        (3, Reason.NAME_MISSING),
    ]
    assert receipt.records_ingested == 2


def test_a_later_batch_may_lack_the_name_altogether(
    mongodb_harness: MongoDBHarness, register: Register, pulled: Pulled
) -> None:
    insert(mongodb_harness, {"_id": 1, "title": "a"}, {"_id": 2}, {"_id": 3})
    query = '{"filter": {}, "sort": {"_id": 1}}'

    receipt = pulled(register(mongodb_harness, query, name_column="title", batch_size=1)).receipt

    assert (receipt.records_ingested, receipt.records_rejected) == (1, 2)
    with pytest.raises(ResultUnusable, match="'nickname'"):
        pulled(register(mongodb_harness, query, name_column="nickname", batch_size=1))


def test_documents_that_break_the_rules_of_bson_break_no_pull(
    mongodb_harness: MongoDBHarness, register: Register, pulled: Pulled, rejected: Rejected, store: Store
) -> None:
    deep: Any = 1
    for _ in range(100):
        deep = {"d": deep}
    not_utf8 = _raw(b"\x10_id\0\x01\0\0\0" + b"\x02text\0\x04\0\0\0a\xff\xfe\0" + b"\x10k\xff\0\x01\0\0\0")
    repeated = _raw(b"\x10_id\0\x02\0\0\0" + b"\x10a\0\x01\0\0\0" + b"\x10a\0\x02\0\0\0")
    insert(mongodb_harness, not_utf8, repeated, {"_id": 3, "deep": deep}, {"_id": "a\0b"}, {"_id": 5, "s": "\0"})

    receipt = pulled(register(mongodb_harness, '{"filter": {}, "sort": {"_id": 1}}')).receipt

    assert (receipt.records_ingested, receipt.records_rejected) == (4, 1)
    assert rejected(receipt) == [Rejection(5, None, Reason.NOT_TEXT, "_id")]
    assert entities(store) == {
        "1": {"_id": 1, "text": "a\\xff\\xfe", "k\\xff": 1},
        "2": {"_id": 2, "a": 2},
        "3": {"_id": 3, "deep": deep},
        "5": {"_id": 5, "s": "\0"},
    }


@pytest.mark.parametrize(
    "broken",
    [
        b"\x08flag\0\x07",  # a boolean that is neither true nor false
        b"\x20what\0\x07",  # an unknown type
        b"\x02text\0\0\0\0\0",  # a text of length 0, which has no room for its end
        b"\x03deep\0" + nested(400),
        b"\x03deep\0" + nested(5000),
    ],
)
def test_a_document_that_cannot_be_read_is_rejected_by_itself(broken: bytes) -> None:
    """No server should store one. The reply around it is sound."""
    whole, other = bson.encode({"_id": 1}), _raw(b"\x10_id\0\x02\0\0\0" + broken).raw
    reply = whole + other + bson.encode({"_id": 3})

    async def batches() -> list[Batch]:
        answer = source_module._Answer(cast(Any, None), cast(Any, _Ended()), reply)
        return [batch async for batch in source_module._batches(answer, 10, Named("_id"))]

    (batch,) = asyncio.run(batches())

    assert batch.faults == {1: Fault(Reason.UNREADABLE)}
    assert batch.frame["_id"].to_list() == ["1", None, "3"]


class _Ended:
    """A cursor whose only reply was read."""

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


def test_names_of_fields_may_be_anything(mongodb_harness: MongoDBHarness) -> None:
    odd = {"_id": 1, "": 1, " ": 2, "a.b": 3, "*": 4, "^.*$": 5, "row": 6, "c0": 7, "data": 8, '"': 9, "x\ny": 10}
    insert(mongodb_harness, odd)

    assert read(mongodb_harness) == [odd]


def test_a_filter_in_extended_json_finds_by_type(mongodb_harness: MongoDBHarness) -> None:
    oid = ObjectId("65a1b2c3d4e5f60718293a4b")
    insert(mongodb_harness, {"_id": oid, "n": 1}, {"_id": str(oid), "n": 2}, {"_id": 3, "at": DatetimeMS(1000)})

    assert [row["n"] for row in read(mongodb_harness, '{"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}}')] == [1]
    assert [row["_id"] for row in read(mongodb_harness, '{"at": {"$date": "1970-01-01T00:00:01Z"}}')] == [3]


def test_projection_and_sort_are_those_of_the_query(mongodb_harness: MongoDBHarness) -> None:
    insert(mongodb_harness, *({"_id": n, "a": {"b": -n, "c": n}, "d": n} for n in range(3)))
    query = '{"filter": {"d": {"$gte": 1}}, "projection": {"a": {"b": 1}}, "sort": {"a.b": 1}}'

    assert read(mongodb_harness, query) == [{"_id": 2, "a": {"b": -2}}, {"_id": 1, "a": {"b": -1}}]


@pytest.mark.parametrize(
    "condition",
    [
        '{"at": {"$gt": ":last_pull"}}',
        '{"$nor": [{"at": {"$lte": ":last_pull"}}]}',
        '{"$expr": {"$lt": [":last_pull", "$at"]}}',
        '{"$expr": {"$and": [{"$eq": [{"$cmp": ["$at", ":last_pull"]}, 1]}]}}',
    ],
)
def test_the_first_pull_sees_every_date_but_the_least_of_all(mongodb_harness: MongoDBHarness, condition: str) -> None:
    dates = [1 - 2**63, ZERO - 1, ZERO, 0, 2**63 - 1]
    insert(mongodb_harness, *({"_id": n, "at": DatetimeMS(date)} for n, date in enumerate([-(2**63), *dates])))

    for _ in range(2):
        seen = read(mongodb_harness, f'{{"filter": {condition}, "sort": {{"_id": 1}}}}')
        assert [row["_id"] for row in seen] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "condition",
    [
        '{"$gt": ["$at", {"$subtract": [":last_pull", 5000]}]}',
        '{"$gt": [{"$add": ["$at", 5000]}, {"$toDate": {"$toLong": ":last_pull"}}]}',
        '{"$gte": [{"$dateToString": {"date": "$at"}}, {"$dateToString": {"date": ":last_pull"}}]}',
        '{"$gte": [{"$year": "$at"}, {"$year": {"date": ":last_pull"}}]}',
    ],
)
def test_the_first_pull_may_compute_with_a_date_and_sees_the_zero_of_other_systems(
    mongodb_harness: MongoDBHarness, condition: str
) -> None:
    insert(mongodb_harness, {"_id": 1, "at": DatetimeMS(ZERO)}, {"_id": 2, "at": DatetimeMS(0)})

    for _ in range(2):
        assert len(read(mongodb_harness, f'{{"$expr": {condition}}}')) == 2


def test_last_pull_may_stand_in_the_arithmetic_of_an_expression(mongodb_harness: MongoDBHarness) -> None:
    insert(mongodb_harness, {"_id": 1, "at": DatetimeMS(10_000)}, {"_id": 2, "at": DatetimeMS(20_000)})
    query = '{"$expr": {"$gt": ["$at", {"$subtract": [":last_pull", 5000]}]}}'

    assert [row["_id"] for row in read(mongodb_harness, query, datetime(1970, 1, 1, 0, 0, 20, tzinfo=UTC))] == [2]


def test_last_pull_loses_no_part_of_a_millisecond(mongodb_harness: MongoDBHarness) -> None:
    insert(mongodb_harness, *({"_id": n, "at": DatetimeMS(n)} for n in (4, 5, 6)))
    since = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=5999)

    assert [row["_id"] for row in read(mongodb_harness, '{"at": {"$gte": ":last_pull"}}', since)] == [5, 6]


def test_the_watermark_lies_before_the_clock_of_the_source(mongodb_harness: MongoDBHarness) -> None:
    insert(mongodb_harness, {"_id": 1})

    with mongodb_harness.client() as client:
        before = client.admin.command("hello")["localTime"].replace(tzinfo=UTC)
        taken = watermark(mongodb_harness)
        after = client.admin.command("hello")["localTime"].replace(tzinfo=UTC)

    assert before - timedelta(milliseconds=1) <= taken <= after - timedelta(milliseconds=1)


def test_fields_of_many_names_end_no_batch_and_the_first_of_them_are_told(
    mongodb_harness: MongoDBHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_COLUMNS", 10)
    insert(mongodb_harness, *({"_id": n} | {f"{n}-{k}": k for k in range(4)} for n in range(5)))

    (batch,) = asyncio.run(_read(mongodb_harness.config, "{}", None, 100))

    assert batch.frame.height == 5
    assert [column.name for column in batch.columns] == [*(f"{n}-{k}" for n in (0, 1) for k in range(4)), "2-0", "_id"]


def test_a_document_of_very_many_fields_costs_what_its_text_does(
    mongodb_harness: MongoDBHarness, register: Register, pulled: Pulled, store: Store
) -> None:
    wide: dict[str, Any] = {"_id": 1, "name": "wide"} | {f"f{n}": n for n in range(100_000)}
    insert(mongodb_harness, wide, {"_id": 2, "name": "narrow"})
    tracemalloc.start()
    try:
        outcome = pulled(register(mongodb_harness, "{}"))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    del wide["name"]
    assert entities(store) == {"1": wide, "2": {"_id": 2}}
    assert len(outcome.columns) == documents.MAX_COLUMNS + len(["name"])
    assert most < 100 * 2**20


def test_documents_of_names_of_their_own_cost_what_others_do(mongodb_harness: MongoDBHarness) -> None:
    """Each batch has a cost of its own, and one for each column of the reading."""
    insert(mongodb_harness, *({"_id": n} | {f"{n}-{k}": k for k in range(300)} for n in range(1000)))

    (batch,) = asyncio.run(_read(mongodb_harness.config, "{}", None, 1000))

    assert batch.frame.shape == (1000, 2)


def test_a_large_document_is_read_beside_the_loop(
    mongodb_harness: MongoDBHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers, inside = [], rows.fields

    def noted(*given: Any) -> Any:
        readers.append(threading.get_ident())
        return inside(*given)

    monkeypatch.setattr(rows, "fields", noted)
    insert(mongodb_harness, {"_id": 1}, {"_id": 2, "many": [None] * 30_000})

    read(mongodb_harness)

    assert readers[0] == threading.get_ident() != readers[1]


def test_a_batch_ends_early_when_its_documents_are_large(
    mongodb_harness: MongoDBHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_BATCH_BYTES", 5000)
    insert(mongodb_harness, *({"_id": n, "text": "x" * 2000} for n in range(7)))

    batches = asyncio.run(_read(mongodb_harness.config, "{}", None, 100))

    assert [batch.frame.height for batch in batches] == [2, 2, 2, 1]


@pytest.mark.parametrize(
    "query",
    [
        '{"name": {"$regex": "("}}',
        '{"name": {"$in": "secretive"}}',
        '{"name": {"$type": "secretive"}}',
        '{"$expr": {"$toInt": "secretive"}}',
        '{"$and": "secretive"}',
        '{"filter": {}, "projection": {"secretive": 1, "a": 0}}',
    ],
)
def test_what_the_server_rejects_is_named_without_its_words(mongodb_harness: MongoDBHarness, query: str) -> None:
    insert(mongodb_harness, {"_id": 1, "name": "a"})

    with pytest.raises(QueryRejected) as rejected:
        read(mongodb_harness, query)

    assert "The source rejected the query" in str(rejected.value)
    assert "secretive" not in str(rejected.value)
    assert rejected.value.__cause__ is None
    assert rejected.value.__suppress_context__


@pytest.mark.parametrize(
    ("versions", "stray", "next_version"),
    [
        ([1, 2.5], "n/a", 3),
        (["1.2", "1.3"], 7, "1.4"),
        ([DatetimeMS(1), DatetimeMS(2)], Timestamp(1, 1), DatetimeMS(3)),
        ([ObjectId("65a1b2c3d4e5f60718293a4b")], True, ObjectId("65a1b2c3d4e5f60718293a4c")),
        ([1], None, 2),
    ],
)
def test_a_watch_sees_a_change_whatever_other_types_stand_above_it(
    mongodb_harness: MongoDBHarness, register: Register, versions: list[Any], stray: object, next_version: object
) -> None:
    watch = Watch(cursor_column="rev.n")
    connector = register(mongodb_harness, '{"status": "paid"}')

    def seen() -> str:
        return look(connector, watch, open_source("mongodb", mongodb_harness.config), DEVELOPMENT)

    insert(mongodb_harness, {"status": "paid"})
    nothing = seen()
    insert(mongodb_harness, *({"rev": {"n": version}, "status": "paid"} for version in [*versions, stray]))
    first, again = seen(), seen()
    with mongodb_harness.database() as database:
        database.items.insert_one({"rev": {"n": next_version}, "status": "new"})
        elsewhere = seen()
        database.items.insert_one({"rev": {"n": next_version}, "status": "paid"})

    assert nothing != first == again == elsewhere != seen()


def test_a_query_that_takes_too_long_is_ended_by_the_server(
    mongodb_harness: MongoDBHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "QUERY_SECONDS", 0.001)
    insert(mongodb_harness, *({"_id": n, "text": f"{n}" * 100} for n in range(20_000)))

    with pytest.raises(SourceTimeout, match="MaxTimeMSExpired"):
        read(mongodb_harness, '{"filter": {"text": {"$regex": "(1|2)+3$"}}, "sort": {"text": 1}}')


@pytest.mark.parametrize("password", ["a\u00adb\ue000", "\u0627\u0031a"])
def test_a_password_that_no_login_can_send_is_a_refused_login(mongodb_harness: MongoDBHarness, password: str) -> None:
    """RFC 4013 forbids it, so no server can have it."""
    config = mongodb_harness.changed(password=quote(password))

    with pytest.raises(LoginRefused, match="RFC 4013"):
        asyncio.run(_read(config, "{}", None, 1))


def test_a_missing_collection_is_an_empty_one(
    mongodb_harness: MongoDBHarness, pulled: Pulled, register: Register
) -> None:
    config = mongodb_harness.config | {"collection": "no_such_collection"}

    assert pulled(register(mongodb_harness, "{}", connection_config=config)).receipt.records_pulled == 0


def test_the_server_hears_nothing_of_our_environment(
    mongodb_harness: MongoDBHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.11")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    insert(mongodb_harness, {"_id": 1})

    async def heard() -> list[dict[str, Any]]:
        async with open_source("mongodb", mongodb_harness.config).read("{}", window=Window(), batch_size=1):
            return await asyncio.to_thread(operations)

    def operations() -> list[dict[str, Any]]:
        with mongodb_harness.client() as client:
            running: list[dict[str, Any]] = client.admin.command("currentOp", {"$all": True})["inprog"]
        return [operation["clientMetadata"] for operation in running if operation.get("appName") == "qanatix"]

    said = asyncio.run(heard())

    assert said
    assert all("env" not in metadata for metadata in said)


@pytest.fixture
def member(mongodb_engine: Engine) -> Iterator[MongoDBHarness]:
    """A server that says it is a replica set's member, names another host, and has no snapshots."""
    gateway = start_gateway(mongodb_engine, set_name="rs0")
    yield MongoDBHarness(gateway)
    gateway.stop()


def test_a_replica_set_without_snapshots_is_read_without_and_no_other_host_is_asked(member: MongoDBHarness) -> None:
    """The named host is not there. A driver that asked it would wait."""
    insert(member, {"_id": 1}, {"_id": 2})

    assert read(member) == [{"_id": 1}, {"_id": 2}]


@pytest.mark.parametrize("batch_size", [10, 1000])
def test_a_pull_that_takes_longer_than_a_snapshot_is_kept_is_made_again_without_one(
    mongodb_engine: Engine, register: Register, pulled: Pulled, batch_size: int
) -> None:
    gateway = start_gateway(mongodb_engine, set_name="rs0", brief=True)
    try:
        harness = MongoDBHarness(gateway)
        insert(harness, *({"_id": n} for n in range(100)))

        receipt = pulled(register(harness, "{}", batch_size=batch_size)).receipt
    finally:
        gateway.stop()

    assert receipt.records_ingested == 100


def test_the_watermark_of_a_member_is_what_it_has_replicated(member: MongoDBHarness) -> None:
    with member.client() as client:
        now = client.admin.command("hello")["localTime"].replace(tzinfo=UTC)
        lag = now - watermark(member)

    assert timedelta(seconds=50) < lag < timedelta(seconds=70)


def test_a_server_that_dies_amid_the_reading_is_unreachable(
    mongodb_engine: Engine, register: Register, store: Store, pulled: Pulled, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = start_gateway(mongodb_engine)
    try:
        harness = MongoDBHarness(gateway)
        insert(harness, *({"_id": n} for n in range(1000)))
        whole = documents.Gathering.rest

        def dying(gathering: documents.Gathering) -> Batch | None:
            gateway.stop()
            return whole(gathering)

        monkeypatch.setattr(documents.Gathering, "rest", dying)

        with pytest.raises(SourceUnreachable):
            pulled(register(harness, "{}", batch_size=10))
    finally:
        gateway.stop()

    assert store.entities.counted("testing", "item").entities == 0


# A driver that is closed while it reconnects forgets the socket, and the garbage collector closes it.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("bytes_sent", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\xff" * 64])
def test_a_server_that_speaks_something_else_is_an_error_of_the_source(
    bytes_sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "CONNECT_SECONDS", 0.3)  # the driver retries after 0.5

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes_sent)
        writer.close()

    async def attempt() -> None:
        port = free_port()
        async with await asyncio.start_server(talk, "127.0.0.1", port):
            config = {"uri": f"mongodb://u:s3cret@127.0.0.1:{port}/", "database": "d", "collection": "c"}
            await _read(config, "{}", None, 10)

    with pytest.raises(SourceError) as failed:
        asyncio.run(attempt())
    said = str(failed.value)
    del failed
    gc.collect()

    assert "s3cret" not in said
    assert "127.0.0.1" not in said


@pytest.fixture(scope="module")
def tls_server(mongodb_engine: Engine, certificate: tuple[Path, Path]) -> Iterator[Server]:
    gateway = start_gateway(mongodb_engine, tls=certificate)
    yield gateway
    gateway.stop()


def _over_tls(server: Server, host: str) -> dict[str, str]:
    uri = server.address.replace("127.0.0.1", host) + "?tls=true"
    return {"uri": uri, "database": DATABASE, "collection": "over_tls"}


def test_a_server_whose_certificate_is_trusted_is_read(
    tls_server: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    assert asyncio.run(_read(_over_tls(tls_server, "127.0.0.1"), "{}", None, 10)) == []


def test_a_test_of_the_connector_says_that_it_is_verified(
    tls_server: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    assert tls_status("mongodb", _over_tls(tls_server, "127.0.0.1"), "{}") is PASSED


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server: Server) -> None:
    with pytest.raises(TlsFailed, match="certificate"):
        asyncio.run(_read(_over_tls(tls_server, "127.0.0.1"), "{}", None, 10))


def test_a_certificate_for_another_name_is_refused(
    tls_server: Server, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    with pytest.raises(TlsFailed, match="certificate"):
        asyncio.run(_read(_over_tls(tls_server, "localhost"), "{}", None, 10))


def test_tls_is_not_given_up_where_the_server_has_none(mongodb_harness: MongoDBHarness) -> None:
    config = mongodb_harness.config
    uri = config["uri"].partition("?")[0] + "?tls=true"

    with pytest.raises(TlsFailed):
        asyncio.run(_read(config | {"uri": uri}, "{}", None, 10))


def _raw(elements: bytes) -> RawBSONDocument:
    return RawBSONDocument((len(elements) + 5).to_bytes(4, "little") + elements + b"\0")
