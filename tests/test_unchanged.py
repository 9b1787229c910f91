"""Rows that the store keeps as they are: they are counted as duplicates, and not staged."""

import hashlib
import time
from itertools import count

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.store import tables, unchanged
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store

Rows = dict[int, str]  # contents by their keys


def added(store: Store, entity_type: str = "product") -> Connector:
    given = {
        "name": "Products",
        "connector_type": "postgresql",
        "vertical": "manufacturing",
        "entity_type": entity_type,
        "connection_config": {"dsn": "postgresql://reader:hunter2@db/shop"},
        "query": "SELECT * FROM products",
    }
    return store.connectors.add(NewConnector.model_validate(given))


@pytest.fixture
def connector(store: Store) -> Connector:
    return added(store)


def batch(connector: Connector, rows: Rows) -> EntityBatch:
    of_set = f"{connector.entity_type} "
    frame = pl.DataFrame(
        {
            "id": [_hash(of_set + str(key))[:16] for key in rows],
            "source_id": [str(key) for key in rows],
            "digest": [_hash(content) for content in rows.values()],
            "name": list(rows.values()),
            "data": [f'{{"is":"{content}"}}' for content in rows.values()],
            "alike": [1 for _ in rows],
        },
        schema_overrides=dict.fromkeys(("id", "digest"), pl.Binary),
    )
    return EntityBatch(frame, [], 0)


def pulled(store: Store, connector: Connector, *batches: Rows) -> tuple[int, int, int]:
    """(staged, ingested, duplicates) of one pull."""
    receipt = store.pulls.begin(connector, "run")
    pull = Ingestion(store.engine, connector, receipt)
    for rows in batches:
        pull.stage(batch(connector, rows), len(rows))
    staged = pull._tally.staged
    ended = pull.commit(None, receipt.created_at, time.monotonic())
    assert ended.records_pulled == sum(map(len, batches))
    return staged, ended.records_ingested, ended.duplicates_skipped


def test_rows_as_they_are_kept_are_not_staged(store: Store, connector: Connector) -> None:
    pulled(store, connector, {1: "a", 2: "b", 3: "c"})
    assert pulled(store, connector, {1: "a", 2: "b"}, {3: "c"}) == (0, 0, 3)


def test_changed_and_new_rows_are(store: Store, connector: Connector) -> None:
    pulled(store, connector, {1: "a", 2: "b", 3: "c"})
    assert pulled(store, connector, {1: "a", 2: "z", 4: "b"}) == (2, 2, 1)
    assert kept(store, connector) == {1: "a", 2: "z", 3: "c", 4: "b"}


def test_a_row_as_it_is_kept_counts_after_a_changed_one(store: Store, connector: Connector) -> None:
    pulled(store, connector, {1: "a"})
    assert pulled(store, connector, {1: "z"}, {1: "a"}) == (2, 0, 2)
    assert kept(store, connector) == {1: "a"}


def test_a_changed_row_counts_after_one_as_it_is_kept(store: Store, connector: Connector) -> None:
    """Both are staged: one to be counted by, the other to be kept."""
    pulled(store, connector, {1: "a"})
    assert pulled(store, connector, {1: "a"}, {1: "z"}) == (2, 1, 1)
    assert kept(store, connector) == {1: "z"}


def test_all_of_a_digest_is_compared(store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_hash", lambda text: bytes(8) + hashlib.sha256(text.encode()).digest()[8:])
    pulled(store, connector, {1: "a"})
    assert pulled(store, connector, {1: "b"}) == (1, 1, 0)


def test_what_another_set_keeps_is_not_looked_at(store: Store, connector: Connector) -> None:
    pulled(store, connector, {1: "a"})
    other = added(store, "part")
    assert pulled(store, other, {1: "a"}) == (1, 1, 0)


def test_few_rows_of_a_large_set_are_staged_unseen(
    store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = dict.fromkeys(range(25), "a")
    pulled(store, connector, everything)
    assert pulled(store, connector, {1: "a", 2: "a"}, {3: "a"}, {4: "a"}) == (2, 0, 4)
    monkeypatch.setattr(unchanged, "MOST_ENTITIES", 24)
    assert pulled(store, connector, everything) == (25, 0, 25)


def test_a_source_that_is_read_again_is_compared_anew(store: Store, connector: Connector) -> None:
    pulled(store, connector, {1: "a"})
    receipt = store.pulls.begin(connector, "run")
    pull = Ingestion(store.engine, connector, receipt)
    pull.stage(batch(connector, {1: "z"}), 1)

    pull.restart()
    pull.stage(batch(connector, {1: "a"}), 1)

    assert pull._tally.staged == 0
    assert pull.commit(None, receipt.created_at, time.monotonic()).duplicates_skipped == 1


def test_more_than_a_chunk_is_read(store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unchanged, "_CHUNK", 3)
    everything = {key: str(key) for key in range(10)}
    pulled(store, connector, everything)
    assert pulled(store, connector, everything) == (0, 0, 10)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.dictionaries(st.integers(0, 6), st.sampled_from("abc"), min_size=1), max_size=5), max_size=4)
)
def test_any_pulls_leave_the_last_row_of_each_key(store: Store, pulls: list[list[Rows]]) -> None:
    connector = added(store, f"type-{next(_numbers)}")
    expected: Rows = {}
    for batches in pulls:
        before, rows = dict(expected), sum(map(len, batches))
        for one in batches:
            expected |= one
        changed = sum(before.get(key) != content for key, content in expected.items())
        _, ingested, duplicates = pulled(store, connector, *batches)
        assert (ingested, duplicates) == (changed, rows - changed)
        assert kept(store, connector) == expected


def kept(store: Store, connector: Connector) -> Rows:
    entity, kept = tables.entity.c, tables.entity_set.c
    found = sa.select(entity.source_id, entity.name).where(
        entity.set_number == kept.number, kept.entity_type == connector.entity_type
    )
    with store.engine.connect() as connection:
        return {int(key): content for key, content in connection.execute(found)}


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


_numbers = count()
