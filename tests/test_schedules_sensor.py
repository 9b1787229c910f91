"""The sensor of the schedules, as Dagster's daemon evaluates it. On a real instance and a real store."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterRunStatus

from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.defs.build import pull_jobs
from qanatix_pipelines.defs.schedules import LIMIT, schedules_sensor
from qanatix_pipelines.errors import StoreUnavailable
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.schedules import Schedules
from qanatix_pipelines.tenants import Tenant
from tests.ticks import evaluate, in_environment, submit

NOON = datetime(2126, 11, 25, 12, 0, tzinfo=UTC)  # to come, so that each connector's first time is known

Tick = Callable[[datetime], list[dg.RunRequest]]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    with in_environment(tmp_path, monkeypatch) as given:
        yield given


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def skipped() -> list[str]:
    """Why ticks were skipped."""
    return []


@pytest.fixture(scope="module")
def jobs() -> list[Any]:
    return pull_jobs()


@pytest.fixture
def tick(
    settings: Settings,  # noqa: ARG001  # it is the environment
    instance: dg.DagsterInstance,
    jobs: list[Any],
    skipped: list[str],
) -> Tick:
    """Evaluate the sensor at a time: what it asks for."""

    def evaluated(at: datetime) -> list[dg.RunRequest]:
        asked = evaluate(schedules_sensor(jobs, lambda: at), instance)
        if isinstance(asked, str):
            skipped.append(asked)
            return []
        return asked

    return evaluated


@pytest.fixture
def add(store: Store) -> Callable[..., Connector]:
    def added(cron: str = "*/5 * * * *", tenant: str = "default", due_at: datetime = NOON) -> Connector:
        new = NewConnector.model_validate(
            {
                "name": "Items",
                "connector_type": "postgresql",
                "vertical": "testing",
                "entity_type": "item",
                "connection_config": {"dsn": "postgresql://reader:hunter2@db.internal/shop"},
                "query": "SELECT 1 AS id",
                "schedule": {"cron": cron},
            }
        )
        connector = store.of(Tenant(tenant)).connectors.add(new)
        with store.engine.begin() as transaction:
            this = tables.connector.c.id == connector.id
            transaction.execute(sa.update(tables.connector).where(this).values(next_due_at=due_at))
        return connector

    return added


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


def test_what_is_due_is_asked_for_with_the_tags_that_limits_count_by(
    tick: Tick, store: Store, add: Callable[..., Connector]
) -> None:
    connector = add(tenant="acme")

    (request,) = tick(NOON + timedelta(seconds=3))

    assert (request.job_name, request.partition_key) == ("pull_postgresql", connector.partition_key)
    assert request.run_key == f"{connector.id}/{int(NOON.timestamp())}"
    acme = store.of(Tenant("acme"))
    expected = {
        "qanatix/trigger": "schedule",
        "qanatix/connector": connector.partition_key,
        "qanatix/tenant": "acme",
        "qanatix/source": acme.connectors.source_of(connector.id),
        "qanatix/next_due_at": "2126-11-25T12:05:00+00:00",
        "dagster/partition": connector.partition_key,
    }
    assert {key: request.tags.get(key, connector.partition_key) for key in expected} == expected
    assert "hunter2" not in repr(request)


def test_before_its_time_nothing_is_asked_for(tick: Tick, add: Callable[..., Connector], skipped: list[str]) -> None:
    add()

    assert tick(NOON - timedelta(seconds=1)) == []
    assert skipped == ["No connector is due."]


def test_the_next_time_is_the_one_after_the_run_was_asked_for(
    tick: Tick, instance: dg.DagsterInstance, store: Store, add: Callable[..., Connector]
) -> None:
    connector = add()
    submit(instance, tick(NOON + timedelta(minutes=4, seconds=59)))

    (request,) = tick(NOON + timedelta(minutes=5, seconds=14))

    assert request.run_key == f"{connector.id}/{int((NOON + timedelta(minutes=5)).timestamp())}"
    assert store.connectors.get(connector.id).next_due_at == NOON + timedelta(minutes=5)


def test_times_that_were_missed_are_one_pull(
    tick: Tick, instance: dg.DagsterInstance, store: Store, add: Callable[..., Connector]
) -> None:
    connector = add()
    late = NOON + timedelta(days=3, minutes=2)

    requests = tick(late)
    submit(instance, requests)
    again = tick(late + timedelta(seconds=15))

    assert (len(requests), again) == (1, [])
    assert store.connectors.get(connector.id).next_due_at == NOON + timedelta(days=3, minutes=5)


def test_what_no_run_is_there_for_is_asked_for_again_by_the_same_key(tick: Tick, add: Callable[..., Connector]) -> None:
    """The tick was lost, or the daemon killed before it had submitted anything."""
    add()

    (first,), (second,) = tick(NOON), tick(NOON + timedelta(minutes=20))

    assert first.run_key == second.run_key


def test_a_run_that_was_created_and_not_submitted_is_asked_for_again(
    tick: Tick, instance: dg.DagsterInstance, add: Callable[..., Connector]
) -> None:
    """Dagster finds it by its key, and submits it."""
    add()
    (first,) = tick(NOON)
    submit(instance, [first], DagsterRunStatus.NOT_STARTED)

    (second,) = tick(NOON + timedelta(seconds=15))

    assert second.run_key == first.run_key


@pytest.mark.slow
def test_while_a_run_waits_no_second_one_is_asked_for(
    tick: Tick, instance: dg.DagsterInstance, store: Store, add: Callable[..., Connector]
) -> None:
    connector = add()
    submit(instance, tick(NOON), DagsterRunStatus.STARTING)  # as one that is queued

    asked = [request for minutes in range(1, 61) for request in tick(NOON + timedelta(minutes=minutes))]

    assert asked == []
    assert store.connectors.get(connector.id).next_due_at == NOON + timedelta(minutes=65)


def test_a_run_that_waits_for_a_part_is_not_the_one_that_is_due(
    tick: Tick, instance: dg.DagsterInstance, add: Callable[..., Connector]
) -> None:
    connector = add()
    tags = {"qanatix/connector": connector.partition_key, "qanatix/since": "2026-01-01T00:00:00Z"}
    submit(instance, [dg.RunRequest("part", job_name="pull_postgresql", tags=tags)], DagsterRunStatus.STARTING)

    assert len(tick(NOON)) == 1


def test_while_a_pull_runs_no_second_one_is_asked_for_and_afterwards_one(
    tick: Tick, instance: dg.DagsterInstance, store: Store, add: Callable[..., Connector]
) -> None:
    connector = add()
    submit(instance, tick(NOON), DagsterRunStatus.STARTED)
    pull = store.pulls.begin(connector, "run")

    meanwhile = [request for minutes in range(1, 31) for request in tick(NOON + timedelta(minutes=minutes))]
    store.pulls.end(pull, StoreUnavailable())
    afterwards = tick(NOON + timedelta(minutes=31))

    assert (len(meanwhile), len(afterwards)) == (0, 1)


@pytest.mark.slow
def test_a_storm_is_spread_over_ticks_and_nobody_is_left_out(
    tick: Tick, instance: dg.DagsterInstance, add: Callable[..., Connector]
) -> None:
    connectors = {add().partition_key for _ in range(LIMIT + 20)}

    first = tick(NOON)
    submit(instance, first)
    second = tick(NOON + timedelta(seconds=15))

    assert (len(first), len(second)) == (LIMIT, 20)
    assert {request.tags["qanatix/connector"] for request in first + second} == connectors


def test_a_connector_whose_schedule_cannot_be_followed_holds_up_no_other(
    tick: Tick, store: Store, add: Callable[..., Connector]
) -> None:
    odd, other = add(due_at=NOON - timedelta(hours=1)), add()
    with store.engine.begin() as transaction:
        this = tables.connector.c.id == odd.id
        moved = {"cron": "* * * * *", "timezone": "Mars/Olympus"}
        transaction.execute(sa.update(tables.connector).where(this).values(schedule=moved))

    (request,) = tick(NOON)

    assert request.partition_key == other.partition_key


def test_a_partition_that_dagster_does_not_know_yet_is_added(
    tick: Tick, instance: dg.DagsterInstance, add: Callable[..., Connector]
) -> None:
    connector = add()

    tick(NOON)

    assert list(instance.get_dynamic_partitions("connectors_postgresql")) == [connector.partition_key]


def test_where_the_store_is_away_the_tick_is_skipped_and_nothing_lost(
    tick: Tick, add: Callable[..., Connector], skipped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add()

    def away(*_: object) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(Schedules, "due", away)
        meanwhile = tick(NOON)
    afterwards = tick(NOON + timedelta(seconds=15))

    assert (len(meanwhile), len(afterwards)) == (0, 1)
    assert skipped == ["The store does not answer. Nothing was changed; try again later. What is due stays due."]
