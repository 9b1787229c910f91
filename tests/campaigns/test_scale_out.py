"""Several hosts: two workers of Celery's and two replicas of the API. Runs are cancelled and killed; a worker dies."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from dagster import DagsterRun
from dagster._core.launcher import WorkerStatus
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from qanatix_pipelines.launcher import celery
from qanatix_pipelines.settings import read_settings
from qanatix_pipelines.store.opening import open_store
from tests import hosts
from tests.campaigns.conftest import DEEP
from tests.conftest import new_database, server
from tests.servers import redis
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System, finished, until

CONNECTORS = 200 if DEEP else 25
ROWS = 40
# Twenty rows a second, for two seconds: time to be killed in.
STEADY = f"SELECT n AS id, 'Item ' || n AS name, pg_sleep(0.05)::text AS slept FROM generate_series(1, {ROWS}) AS n"
SLOW = "SELECT 1 AS id, 'Item' AS name, pg_sleep(60)::text AS slept"
VICTIM = "two"
TAKEN = "Taken by the worker "

TERMINATE = "mutation T($id: String!) { terminateRun(runId: $id) { __typename } }"
FORCE = """
mutation F($id: String!) { terminateRun(runId: $id, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename } }
"""
RUNS = """
query R($statuses: [RunStatus!]) {
  runsOrError(filter: {statuses: $statuses}) { ... on Runs { results {
    runId status tags { key value } eventConnection { events { ... on MessageEvent { message } } }
  } } }
}
"""


@dataclass
class Scene:
    """The same system by each of its APIs, its broker, and our store's DSN."""

    hosts: hosts.Hosts
    systems: list[System]
    broker: str
    database: str

    def runs(self, *statuses: str) -> list[dict[str, Any]]:
        asked = self.systems[0].ask_dagster(RUNS, statuses=statuses or None)
        found: list[dict[str, Any]] = asked["runsOrError"]["results"]
        return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    database, dagsters = new_database(server("postgresql")), new_database(server("postgresql"))
    broker = redis.start()
    try:
        running = hosts.start(tmp_path_factory.mktemp("hosts"), dagsters, database, broker.address)
        systems = [System(replica) for replica in running.replicas]
        for system in systems:
            system.api.timeout = 600
        yield Scene(running, systems, broker.address, database)
        for system in systems:
            system.api.close()
        running.stop()
    finally:
        broker.stop()


@pytest.fixture
def harness() -> PostgreSQLHarness:
    return PostgreSQLHarness(server("postgresql"))


@pytest.mark.stack
def test_a_run_at_a_worker_is_cancelled_and_its_query_ends(stack: Scene, harness: PostgreSQLHarness) -> None:
    system = stack.systems[0]
    connector = system.register(SLOW, harness.config)

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(system.pull, connector)
        until(lambda: harness.connections() == 1)
        run = stack.runs("STARTED")[0]["runId"]
        system.ask_dagster(TERMINATE, id=run)
        until(lambda: harness.connections() == 0)
        answer = asked.result()

    assert (answer.status_code, answer.json()["code"]) == (409, "pull_cancelled")
    assert finished(system, run)["status"] == "CANCELED"


@pytest.mark.stack
def test_a_run_that_waits_for_a_worker_and_is_cancelled_is_not_begun(stack: Scene, harness: PostgreSQLHarness) -> None:
    system = stack.systems[0]
    connector = system.register(SLOW, harness.config)

    for name in hosts.WORKERS:
        stack.hosts.signal_main_process(name, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as client:
            asked = client.submit(system.pull, connector)
            until(lambda: _said(stack.runs("STARTING"), "forwarded to the broker"))
            run = stack.runs("STARTING")[0]["runId"]
            system.ask_dagster(FORCE, id=run)
            answer = asked.result()
    finally:
        for name in hosts.WORKERS:
            stack.hosts.signal_main_process(name, signal.SIGCONT)

    assert (answer.status_code, answer.json()["code"]) == (409, "pull_cancelled")
    until(lambda: _said([finished(system, run)], "canceled before execution could start"))
    assert finished(system, run)["status"] == "CANCELED"


@pytest.mark.stack
def test_a_run_that_is_killed_says_so_at_once_and_its_pull_is_begun_again(
    stack: Scene, harness: PostgreSQLHarness
) -> None:
    system = stack.systems[0]
    connector = system.register(STEADY, harness.config, batch_size=10)

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(system.pull, connector)
        until(lambda: _said(stack.runs("STARTED"), "Started process for run"))
        (run,) = stack.runs("STARTED")
        os.kill(_process(run), signal.SIGKILL)
        answer = asked.result()

    killed = finished(system, run["runId"])
    assert killed["status"] == "FAILURE"
    assert _said([killed], "ended by SIGKILL")
    assert (answer.status_code, answer.json()["records_ingested"]) == (200, ROWS)


@pytest.mark.stack
def test_a_run_is_lost_once_no_worker_has_it_at_two_rolls_unless_its_pull_is_over(
    stack: Scene, harness: PostgreSQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = stack.systems[0]
    connector = system.register(SLOW, harness.config)
    over = system.pull(system.register("SELECT 1 AS id, 'Item' AS name", harness.config)).json()["run_id"]
    monkeypatch.setattr(celery, "_FRESH_SECONDS", 0)
    for name, value in system.stack.environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(read_settings())
    monkeypatch.setattr(celery, "opened_store", lambda: store)

    with ThreadPoolExecutor(4) as threads:
        asked = threads.submit(system.pull, connector)
        until(lambda: harness.connections() == 1)
        (run,) = stack.runs("STARTED")
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        there = threads.submit(_health, stack.broker, tags[DAGSTER_CELERY_TASK_ID_TAG], run["runId"])
        gone = threads.submit(_health, stack.broker, "of a worker that died", run["runId"])
        done = threads.submit(_health, stack.broker, "of a worker that died", over)
        wait([there, gone, done])
        system.ask_dagster(TERMINATE, id=run["runId"])
        asked.result()
    store.engine.dispose()

    assert there.result() == [WorkerStatus.RUNNING, WorkerStatus.RUNNING]
    assert gone.result() == [WorkerStatus.RUNNING, WorkerStatus.FAILED]
    assert done.result() == [WorkerStatus.RUNNING, WorkerStatus.RUNNING]


def test_no_run_is_lost_where_nobody_answers() -> None:
    broker = redis.start()
    broker.stop()

    assert _health(broker.address, "anybody's", str(uuid4())) == [WorkerStatus.RUNNING, WorkerStatus.RUNNING]


@pytest.mark.stack
@pytest.mark.timeout(600)
def test_pulls_by_two_apis_outlive_one_of_two_workers(
    stack: Scene, harness: PostgreSQLHarness, figures: Callable[[str], None]
) -> None:
    """The replicas are asked in turns, for every fifth pull both are. The worker that is killed has runs just then."""
    registrar = stack.systems[0]
    connectors = [registrar.register(STEADY, harness.config, batch_size=10) for _ in range(CONNECTORS)]
    asked = [(stack.systems[number % 2], connector) for number, connector in enumerate(connectors)]
    asked += [
        (stack.systems[1 - number % 2], connector) for number, connector in enumerate(connectors) if number % 5 == 0
    ]

    before = {run["runId"] for run in stack.runs()}
    began = time.monotonic()
    with ThreadPoolExecutor(len(asked)) as clients:
        waiting = [clients.submit(system.pull, connector) for system, connector in asked]
        until(lambda: _count(stack, "pull WHERE status = 'completed'") >= CONNECTORS // 5)
        lost = _kill_with_runs(stack)
        answers = [pull.result() for pull in waiting]
    seconds = time.monotonic() - began

    assert [answer.status_code for answer in answers] == [200] * len(asked)
    assert {answer.json()["records_pulled"] for answer in answers} == {ROWS}
    assert {answer.json()["records_ingested"] for answer in answers} == {ROWS}
    pulls = {connector["id"]: answer.json()["pull_id"] for (_, connector), answer in zip(asked, answers, strict=True)}
    assert len({answer.json()["pull_id"] for answer in answers}) == CONNECTORS  # both replicas tell of the same pull
    assert _entities(stack, connectors) == {
        (connector["entity_type"], str(item)): [pulls[connector["id"]]]
        for connector in connectors
        for item in range(1, ROWS + 1)
    }
    assert _count(stack, "staged") == 0
    runs = [run for run in stack.runs() if run["runId"] not in before]
    own = ", ".join(f"'{pull}'" for pull in pulls.values())
    again = _count(stack, f"pull WHERE attempt > 1 AND id IN ({own})")
    figures(
        f"scale-out: {CONNECTORS} pulls by {len(asked)} requests in {seconds:.0f} s; runs by worker "
        f"{_by_worker(runs)}; {len(lost)} died with one, "
        f"{again} pulls begun again, 0 lost, 0 doubled"
    )
    if DEEP:  # those that had committed are told by a sensor, which waits a minute
        until(lambda: not stack.runs("STARTED", "STARTING", "CANCELING"), seconds=180)


def _kill_with_runs(stack: Scene) -> list[str]:
    """Kill the victim and its runs at a moment when it has some: their ids."""
    while True:
        stack.hosts.signal_worker(VICTIM, signal.SIGSTOP)
        running = stack.runs("STARTED")
        found = [run["runId"] for run in running if _said([run], f"{TAKEN}{VICTIM}@")]
        if found:
            stack.hosts.signal_worker(VICTIM, signal.SIGKILL)
            return found
        stack.hosts.signal_worker(VICTIM, signal.SIGCONT)
        time.sleep(0.2)


def _entities(stack: Scene, connectors: list[dict[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Of each entity set and key, by which pulls its entities are."""
    sets = [connector["entity_type"] for connector in connectors]
    found: dict[tuple[str, str], list[str]] = {}
    with psycopg.connect(stack.database) as connection:
        for entity_type, key, pull in connection.execute(
            "SELECT entity_type, source_id, pull_id::text FROM qanatix.entity "
            "JOIN qanatix.entity_set ON number = set_number WHERE entity_type = ANY(%s)",
            [sets],
        ):
            found.setdefault((entity_type, key), []).append(pull)
    return found


def _count(stack: Scene, what: str) -> int:
    with psycopg.connect(stack.database) as connection:
        row = connection.execute(f"SELECT count(*) FROM qanatix.{what}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def _by_worker(runs: list[dict[str, Any]]) -> dict[str, int]:
    """How many of the runs each worker took."""
    took = Counter(
        event["message"].removeprefix(TAKEN).partition("@")[0]
        for run in runs
        for event in run["eventConnection"]["events"]
        if event.get("message", "").startswith(TAKEN)
    )
    return dict(sorted(took.items()))


def _health(broker: str, task: str, run_id: str) -> list[WorkerStatus]:
    """What is said of a run at two looks, by a launcher of its own."""
    launcher = celery.CeleryPullLauncher(broker)
    run = DagsterRun("job", run_id=run_id, tags={DAGSTER_CELERY_TASK_ID_TAG: task})
    return [launcher.check_run_worker_health(run).status for _ in range(2)]


def _said(runs: list[dict[str, Any]], text: str) -> bool:
    return any(text in event.get("message", "") for run in runs for event in run["eventConnection"]["events"])


def _process(run: dict[str, Any]) -> int:
    """The id of a run's process, as its event log tells it."""
    (said,) = [
        event["message"]
        for event in run["eventConnection"]["events"]
        if event.get("message", "").startswith("Started process for run")
    ]
    return int(said.partition("pid: ")[2].rstrip(")."))
