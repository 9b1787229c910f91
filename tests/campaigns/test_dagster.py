"""Real runs of the whole system: many callers at once, a deletion during a pull, and everything killed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

from tests import stack as stacks
from tests.campaigns.conftest import DEEP
from tests.conftest import server
from tests.harness.postgresql import PostgreSQLHarness
from tests.system import System

# Twenty rows a second, for ten seconds: time to be killed in.
SLOW = "SELECT n AS id, 'Item ' || n AS name, pg_sleep(0.05)::text AS slept FROM generate_series(1, 200) AS n"
STUCK_SECONDS = 90
KILLS = 30 if DEEP else 1

RUNS = "{ runsOrError { ... on Runs { results { status } } } }"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = stacks.start(tmp_path_factory.mktemp("stack"))
    system = System(running)
    yield system
    system.api.close()
    running.stop()


@pytest.fixture
def harness() -> PostgreSQLHarness:
    return PostgreSQLHarness(server("postgresql"))


@pytest.mark.stack
def test_fifty_requests_at_once_share_one_run(
    stack: System, harness: PostgreSQLHarness, figures: Callable[[str], None]
) -> None:
    harness.fill(100)
    connector = stack.register(harness.everything, harness.config)

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
        _until(lambda: harness.connections() == 1)
        started = time.monotonic()
        deleted = stack.api.delete(f"/connectors/{connector['id']}")
        seconds = time.monotonic() - started
        answer = asked.result()

    figures(f"deletion: answered {deleted.status_code} after {seconds:.2f} s, {_entities(stack, connector)} entities")
    assert deleted.status_code == 204
    assert seconds < 10
    assert answer.status_code == 409
    _until(lambda: harness.connections() == 0)
    assert _entities(stack, connector) == 0


@pytest.mark.stack
@pytest.mark.timeout(400 if not DEEP else 6000)
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
            _until(lambda: harness.connections() == 1)
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
    _until(lambda: {"SUCCESS", "FAILURE", "CANCELED"} >= set(_runs(stack)), seconds=STUCK_SECONDS)
    figures(f"dagster: {KILLS} kills of everything, longest wait {max(waits):.0f} s, 0 stuck, 0 different")
    assert max(waits) < STUCK_SECONDS


def _kill_dagster(stack: System) -> None:
    """SIGKILL for the webserver, the daemon, the code server, the worker and its runs, all at once."""
    for name in ("worker", "dagster"):
        process = stack.stack.processes[name]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _entities(stack: System, connector: dict[str, Any]) -> int:
    page = stack.api.get("/entities", params={"entity_type": connector["entity_type"], "limit": 100}).json()
    return len(page["items"])


def _runs(stack: System) -> list[str]:
    """The statuses of all runs."""
    return [run["status"] for run in stack.ask_dagster(RUNS)["runsOrError"]["results"]]


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
