"""What a connector's completed pulls tell of it, in SQLite and in PostgreSQL."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import polars as pl
import pytest

from qanatix_pipelines.batches import Column
from qanatix_pipelines.connectors import Connector, Watch
from qanatix_pipelines.extents import NEW_ROWS, Extent
from qanatix_pipelines.health import SHOWN, Health, difference
from qanatix_pipelines.schedules import Schedule
from qanatix_pipelines.store.health import health_of
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tenants import DEFAULT, Tenant
from tests.test_store import NEW, READ_AT, batch

AT = datetime(2026, 3, 7, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


def complete(
    store: Store,
    connector: Connector,
    *rows: tuple[int, str],
    columns: tuple[Column, ...] = (),
    watermark: datetime | None = None,
    extent: Extent = NEW_ROWS,
) -> Health:
    connector = store.connectors.get(connector.id)
    receipt = store.pulls.begin(connector, "run", extent)
    pull = Ingestion(store.engine, connector, receipt)
    pull.stage(batch(*rows), len(rows))
    pull.commit(watermark, READ_AT, time.monotonic(), columns)
    return health(store)


def health(store: Store) -> Health:
    (found,) = health_of(store.engine, "postgresql")
    return found


def columns(**types: str) -> tuple[Column, ...]:
    return tuple(Column(name, source_type, pl.String) for name, source_type in types.items())


def test_a_connector_that_has_not_completed_a_pull_is_listed(store: Store, connector: Connector) -> None:
    found = health(store)

    assert (found.connector_id, found.partition_key, found.completed_at) == (
        connector.id,
        connector.partition_key,
        None,
    )


def test_all_tenants_connectors_of_the_type_are_listed(store: Store, connector: Connector) -> None:
    store.of(Tenant("acme")).connectors.add(NEW)
    store.connectors.add(NEW.model_copy(update={"connector_type": "mysql"}))

    assert [one.tenant for one in health_of(store.engine, connector.connector_type)] == ["default", "acme"]


def test_a_query_that_always_reads_all_and_finds_nothing_any_more_is_noted(store: Store, connector: Connector) -> None:
    first = complete(store, connector)
    second = complete(store, connector, (1, "a"))
    emptied = complete(store, connector)
    again = complete(store, connector, (1, "a"))

    assert [one.emptied_at is not None for one in (first, second, emptied, again)] == [False, False, True, False]


def test_an_incremental_pull_may_find_nothing(store: Store, connector: Connector) -> None:
    complete(store, connector, (1, "a"), watermark=AT)

    assert complete(store, connector, watermark=AT).emptied_at is None
    assert complete(store, connector, watermark=AT, extent=Extent(full_refresh=True)).emptied_at is not None


@pytest.mark.parametrize("extent", [Extent(limit=1), Extent(since=AT), Extent(full_refresh=True, limit=1)])
def test_a_part_that_has_nothing_does_not_tell_that_the_source_was_emptied(
    store: Store, connector: Connector, extent: Extent
) -> None:
    complete(store, connector, (1, "a"))

    assert complete(store, connector, extent=extent).emptied_at is None


@pytest.mark.parametrize("extent", [Extent(limit=1), Extent(since=AT)])
def test_a_part_is_not_the_pull_that_is_due(store: Store, connector: Connector, extent: Extent) -> None:
    """Without others the connector is late all the same, also where it has had no other."""
    first = complete(store, connector, (1, "a"), extent=extent)
    assert first.completed_at == connector.created_at

    whole = complete(store, connector, (1, "a"))
    again = complete(store, connector, (1, "a"), extent=extent)

    assert whole.completed_at is not None
    assert whole.completed_at > connector.created_at
    assert again.completed_at == whole.completed_at


def test_a_first_pull_of_a_query_with_a_watermark_reads_everything(store: Store, connector: Connector) -> None:
    complete(store, connector, (1, "a"), watermark=AT)
    store.watermarks.put(connector.id, None, lambda _connector: None)

    assert complete(store, connector, watermark=AT).emptied_at is not None


def test_columns_that_change_are_noted_until_the_next_change(store: Store, connector: Connector) -> None:
    complete(store, connector, columns=columns(id="int4", name="text"))
    changed = complete(store, connector, columns=columns(id="int8", name="text", price="numeric"))
    after = complete(store, connector, columns=columns(id="int8", name="text", price="numeric"))

    assert changed.changed_at is not None
    assert after.change(changed.changed_at) == "price is new (numeric); id was int4 and is int8"
    assert after.change(changed.changed_at + SHOWN + DAY) is None


def test_columns_that_are_not_known_change_nothing(store: Store, connector: Connector) -> None:
    complete(store, connector, columns=columns(id="int4"))

    assert complete(store, connector).changed_at is None
    assert health(store).columns == (("id", "int4"),)


def test_after_a_change_of_the_query_nothing_is_a_surprise(store: Store, connector: Connector) -> None:
    complete(store, connector, (1, "a"), columns=columns(id="int4"))
    changed = store.connectors.change(connector.id, {"query": "SELECT 2"})

    found = complete(store, changed, columns=columns(other="int4"))

    assert (found.emptied_at, found.before) == (None, None)


def test_a_removed_connectors_health_is_forgotten(store: Store, connector: Connector) -> None:
    complete(store, connector, (1, "a"))
    store.connectors.remove(connector.id)

    assert health_of(store.engine, "postgresql") == []


@pytest.mark.parametrize(
    ("completed_at", "stale"), [(None, True), (AT - 3 * DAY, True), (AT - DAY, False)], ids=["never", "old", "lately"]
)
def test_a_connector_is_stale_whose_pulls_do_not_complete(completed_at: datetime | None, stale: bool) -> None:
    created = AT - 30 * DAY
    found = Health(UUID(int=1), DEFAULT, "a-1", "A", created, completed_at, None, (), None, None)

    assert found.is_stale(AT, 2 * DAY) is stale


def test_a_new_connector_is_not_stale_at_once() -> None:
    found = Health(UUID(int=1), DEFAULT, "a-1", "A", AT, None, None, (), None, None)

    assert not found.is_stale(AT + DAY, 2 * DAY)


def test_another_order_of_columns_is_no_difference() -> None:
    assert difference((("a", "text"), ("b", "text")), (("b", "text"), ("a", "text"))) is None
    assert difference((("a", "text"), ("b", "text")), (("a", "text"),)) == "b is gone"


@pytest.mark.parametrize(
    ("minutes", "stale"), [(9, False), (10, False), (11, True)], ids=["before the second", "at the second", "after it"]
)
def test_a_connector_with_a_schedule_is_stale_when_it_has_missed_two_times(
    store: Store, minutes: int, *, stale: bool
) -> None:
    store.connectors.add(NEW.model_copy(update={"schedule": Schedule(cron="*/5 * * * *")}))
    found = replace(health(store), completed_at=AT)

    assert found.is_stale(AT + timedelta(minutes=minutes), 30 * DAY) is stale


@pytest.mark.parametrize("change", [{"paused": True}, {"watch": Watch(query="SELECT 1")}], ids=["paused", "watched"])
def test_a_connector_that_rests_or_waits_for_a_change_is_not_stale(
    store: Store, connector: Connector, change: dict[str, Any]
) -> None:
    store.connectors.change(connector.id, change)

    assert not health(store).is_stale(AT + 1000 * DAY, DAY)
