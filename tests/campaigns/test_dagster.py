"""Real runs of the whole system: many callers at once, a deletion during a pull, and everything killed."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from qanatix_pipelines.store import tables
from qanatix_pipelines.store.engine import connect
from tests import stack as stacks
from tests.campaigns.conftest import DEEP
from tests.conftest import server
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System, until

# Twenty rows a second, for ten seconds: time to be killed in.
SLOW = "SELECT n AS id, 'Item ' || n AS name, pg_sleep(0.05)::text AS slept FROM generate_series(1, 200) AS n"
STUCK_SECONDS = 300
KILLS = 30 if DEEP else 1
SCHEDULED = 60 if DEEP else 12

RUNS = "{ runsOrError { ... on Runs { results { status } } } }"
BY_TRIGGER = """
query Runs($trigger: String!) {
  runsOrError(filter: {tags: [{key: "qanatix/trigger", value: $trigger}]}) {
    ... on Runs { results { status tags { key value } } }
  }
}
"""


@pytest.fixture
def harness() -> PostgreSQLHarness:
    return PostgreSQLHarness(server("postgresql"))


@pytest.mark.stack
def test_fifty_requests_at_once_share_one_run(
    stack: System, harness: PostgreSQLHarness, figures: Callable[[str], None]
) -> None:
    # It takes a while, for a request that comes after it begins another.
    query = "SELECT n AS id, 'Item ' || n AS name FROM generate_series(1, 100) n, (SELECT pg_sleep(5)) AS pause"
    connector = stack.register(query, harness.config)

    before = len(_runs(stack))
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(lambda _: stack.pull(connector), range(50)))

    runs = len(_runs(stack)) - before
    figures(f"concurrency: 50 requests, {runs} run, {len({answer.text for answer in answers})} different answers")
    assert [answer.status_code for answer in answers] == [200] * 50
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["records_ingested"] == 100
    assert runs == 1


@pytest.mark.stack
def test_a_deletion_during_a_pull_is_answered_soon_and_nothing_of_the_pull_appears(
    stack: System, harness: PostgreSQLHarness, figures: Callable[[str], None]
) -> None:
    connector = stack.register(SLOW, harness.config, batch_size=10)

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(stack.pull, connector)
        until(lambda: harness.connections() == 1)
        started = time.monotonic()
        deleted = stack.api.delete(f"/connectors/{connector['id']}")
        seconds = time.monotonic() - started
        answer = asked.result()

    figures(f"deletion: answered {deleted.status_code} after {seconds:.2f} s, {_entities(stack, connector)} entities")
    assert deleted.status_code == 204
    assert seconds < 10
    assert answer.status_code == 409
    until(lambda: harness.connections() == 0)
    assert _entities(stack, connector) == 0


@pytest.mark.stack
@pytest.mark.timeout(900 if not DEEP else 6000)
def test_a_pull_whose_worker_code_server_and_daemon_are_killed_goes_on(
    stack: System, harness: PostgreSQLHarness, figures: Callable[[str], None]
) -> None:
    """Killed at a random instant of the pull, as by a host that dies; Dagster is then started again."""
    random = Random(20261124)
    waits: list[float] = []
    for kill in range(KILLS):
        connector = stack.register(SLOW, harness.config, batch_size=10)
        with ThreadPoolExecutor(1) as client:
            asked = client.submit(stack.pull, connector)
            until(lambda: harness.connections() == 1)
            time.sleep(random.uniform(0, 9 if kill else 5))
            _kill_dagster(stack)
            stacks.restart_worker(stack.stack)
            stacks.restart_dagster(stack.stack)
            restarted = time.monotonic()
            answer = asked.result()
        waits.append(time.monotonic() - restarted)
        assert answer.status_code == 200, answer.text
        counts = [answer.json()[count] for count in ("records_pulled", "records_ingested", "duplicates_skipped")]
        assert counts == [200, 200, 0]
        assert _entities(stack, connector) == 100  # a page's worth: all of them are there
    until(lambda: {"SUCCESS", "FAILURE", "CANCELED"} >= set(_runs(stack)), seconds=STUCK_SECONDS)
    figures(f"dagster: {KILLS} kills of everything, longest wait {max(waits):.0f} s, 0 stuck, 0 different")
    assert max(waits) < STUCK_SECONDS


@pytest.mark.stack
@pytest.mark.timeout(900 if not DEEP else 6000)
def test_what_is_due_is_pulled_once_though_the_daemon_is_killed_while_it_submits(
    stack: System, harness: PostgreSQLHarness, figures: Callable[[str], None]
) -> None:
    random = Random(20261125)
    harness.fill(10)
    once_a_year = {"cron": "0 0 1 1 *"}
    connectors = [stack.register(harness.everything, harness.config, schedule=once_a_year) for _ in range(SCHEDULED)]
    ids = {connector["id"] for connector in connectors}
    kills, waits, submitted = 3 if DEEP else 1, [], []
    for _ in range(kills):
        before = _pulled_by(stack, "schedule", ids)
        _make_due(stack)
        until(lambda: _pulled_by(stack, "schedule", ids) != before, seconds=STUCK_SECONDS)  # noqa: B023
        time.sleep(random.uniform(0, 1))
        submitted.append((_pulled_by(stack, "schedule", ids) - before).total())
        _kill(stack, "dagster")
        stacks.restart_dagster(stack.stack)
        restarted = time.monotonic()
        until(lambda: all(stack.api.get(f"/connectors/{one}").json()["next_due_at"] > _now() for one in ids))
        waits.append(time.monotonic() - restarted)

    runs = _pulled_by(stack, "schedule", ids)
    # A run that died within its pull is followed by another.
    ended = {"completed", "failed", "cancelled"}
    until(lambda: all(pull["status"] in ended for pull in _last_pulls(stack, ids)), seconds=STUCK_SECONDS)
    # What the daemon was just launching when it died never starts: Dagster fails it, and its receipt says so.
    failed = [pull["error"]["code"] for pull in _last_pulls(stack, ids) if pull["status"] != "completed"]
    figures(
        f"schedules: {SCHEDULED} connectors, {kills} kills of the daemon when it had submitted {submitted}, "
        f"{runs.total()} runs, {len(failed)} that never started, all that was due asked for after {max(waits):.0f} s"
    )
    assert runs == Counter(dict.fromkeys(ids, kills))
    assert set(failed) <= {"pull_not_begun"}
    if failed:
        _make_due(stack)
    until(lambda: all(pull["status"] == "completed" for pull in _last_pulls(stack, ids)), seconds=STUCK_SECONDS)


def _make_due(stack: System) -> None:
    """All that is scheduled is due now."""
    engine = connect(f"sqlite:///{stack.stack.folder}/qanatix/qanatix.db")
    with engine.begin() as transaction:
        scheduled = tables.connector.c.next_due_at.is_not(None)
        now = datetime.now(UTC).replace(microsecond=0)
        transaction.execute(sa.update(tables.connector).where(scheduled).values(next_due_at=now))
    engine.dispose()


def _pulled_by(stack: System, trigger: str, ids: set[str]) -> Counter[str]:
    """How many runs a trigger has started for each of these connectors."""
    runs = stack.ask_dagster(BY_TRIGGER, trigger=trigger)["runsOrError"]["results"]
    tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in runs]
    by_key = {one[:8]: one for one in ids}  # with which a partition's key ends
    keys = [tag["qanatix/connector"].rpartition("-")[2] for tag in tags]
    return Counter(by_key[key] for key in keys if key in by_key)


def _last_pulls(stack: System, ids: set[str]) -> list[dict[str, Any]]:
    """The receipts of the connectors' last pulls. One that has none yet is as if it was queued."""
    pages = [stack.api.get(f"/connectors/{one}/pulls", params={"limit": 1}).json()["items"] for one in ids]
    return [page[0] if page else {"status": "queued"} for page in pages]


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _kill(stack: System, *names: str) -> None:
    for name in names:
        process = stack.stack.processes[name]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _kill_dagster(stack: System) -> None:
    """SIGKILL for the webserver, the daemon, the code server, the worker and its runs, all at once."""
    _kill(stack, "worker", "dagster")


def _entities(stack: System, connector: dict[str, Any]) -> int:
    page = stack.api.get("/entities", params={"entity_type": connector["entity_type"], "limit": 100}).json()
    return len(page["items"])


def _runs(stack: System) -> list[str]:
    """The statuses of all runs."""
    return [run["status"] for run in stack.ask_dagster(RUNS)["runsOrError"]["results"]]
