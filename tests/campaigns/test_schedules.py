"""A thousand connectors that are due every five minutes, by a clock of the test's own, while the daemon dies."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import RUN_KEY_TAG

from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.defs.build import pull_jobs
from qanatix_pipelines.defs.schedules import INTERVAL_SECONDS, schedules_sensor
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.opening import Store
from tests.campaigns.conftest import DEEP
from tests.ticks import evaluate, in_environment, submit

SEED = 20261125
CONNECTORS = 1000
EVERY = timedelta(minutes=5)
WINDOWS = 12 if DEEP else 2
# Of a window's twenty ticks ten are needed.
DEADLY = 0.3
NOON = datetime(2126, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    with in_environment(tmp_path, monkeypatch) as given:
        yield given


def _registered(store: Store) -> list[str]:
    new = NewConnector.model_validate(
        {
            "name": "Items",
            "connector_type": "postgresql",
            "vertical": "testing",
            "entity_type": "item",
            "connection_config": {"dsn": "postgresql://reader:secret@db.internal/shop"},
            "query": "SELECT 1 AS id",
            "schedule": {"cron": "*/5 * * * *"},
        }
    )
    connectors = [str(store.connectors.add(new).id) for _ in range(CONNECTORS)]
    with store.engine.begin() as transaction:
        transaction.execute(sa.update(tables.connector).values(next_due_at=NOON))
    return connectors


class Daemon:
    """Submits what a tick asks for, each key once, and dies in some ticks: before it, in between, or after a run was
    created and before it was submitted. Nothing of such a tick is remembered.
    """

    def __init__(self, instance: dg.DagsterInstance, random: Random) -> None:
        self._instance, self._random = instance, random
        self.deaths = 0

    def submit(self, requests: list[dg.RunRequest]) -> None:
        if self._random.random() >= DEADLY:
            self._submit(requests)
            return
        self.deaths += 1
        reached = self._random.randrange(len(requests))
        self._submit(requests[:reached])
        if self._random.random() < 0.5:
            submit(self._instance, self._new(requests[reached : reached + 1]), DagsterRunStatus.NOT_STARTED)

    def _submit(self, requests: list[dg.RunRequest]) -> None:
        submit(self._instance, self._new(requests))
        for run in self._known(requests):
            if run.status is DagsterRunStatus.NOT_STARTED:
                self._instance.report_run_failed(run)  # it ran

    def _new(self, requests: list[dg.RunRequest]) -> list[dg.RunRequest]:
        known = {run.tags[RUN_KEY_TAG] for run in self._known(requests)}
        return [request for request in requests if request.run_key not in known]

    def _known(self, requests: list[dg.RunRequest]) -> list[dg.DagsterRun]:
        keys = [str(request.run_key) for request in requests]
        return list(self._instance.get_runs(RunsFilter(tags={RUN_KEY_TAG: keys}))) if keys else []


def test_each_connector_is_pulled_once_for_each_time_however_often_the_daemon_dies(
    store: Store, figures: Callable[[str], None]
) -> None:
    connectors = _registered(store)
    idle: list[float] = []
    busy: list[float] = []
    at = NOON
    with dg.DagsterInstance.ephemeral() as instance:
        daemon = Daemon(instance, Random(SEED))
        while at < NOON + WINDOWS * EVERY:
            moment = at
            began = time.perf_counter()
            asked = evaluate(schedules_sensor(pull_jobs(), lambda moment=moment: moment), instance)
            (idle if isinstance(asked, str) else busy).append(time.perf_counter() - began)
            if not isinstance(asked, str):
                daemon.submit(asked)
            at += timedelta(seconds=INTERVAL_SECONDS)
        runs = Counter(run.tags[RUN_KEY_TAG] for run in instance.get_runs())

    windows = [int((NOON + window * EVERY).timestamp()) for window in range(WINDOWS)]
    twice = sum(count > 1 for count in runs.values())
    figures(
        f"schedules: {CONNECTORS} connectors, {WINDOWS} times, {daemon.deaths} deaths, {runs.total()} runs, "
        f"{twice} twice; tick {statistics.median(idle):.3f} s idle, {statistics.median(busy):.3f} s with 100 due"
    )
    assert daemon.deaths > 2
    assert runs == Counter(f"{connector}/{window}" for connector in connectors for window in windows)
