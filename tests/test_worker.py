"""Runs in the worker, with every process running: started, stopped, killed, without a worker, and of new code."""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qanatix_pipelines.settings import new_fernet_key
from tests import stack as stacks
from tests.conftest import server
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System, finished, process_of, until

SLOW = "SELECT id, name, pg_sleep(60)::text AS slept FROM items"
# Twenty rows a second, for five seconds.
STEADY = "SELECT n AS id, 'Item ' || n AS name, pg_sleep(0.05)::text AS slept FROM generate_series(1, 100) AS n"
TERMINATE = "mutation T($id: String!) { terminateRun(runId: $id) { __typename } }"
RELOAD = """
mutation R { reloadRepositoryLocation(repositoryLocationName: "qanatix") { __typename } }
"""


@pytest.fixture
def harness() -> PostgreSQLHarness:
    return PostgreSQLHarness(server("postgresql"))


def test_a_run_is_a_child_of_the_worker(stack: System, harness: PostgreSQLHarness) -> None:
    connector = stack.register(STEADY, harness.config, batch_size=10)

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(stack.pull, connector)
        run = stack.run_of(connector)
        parent = _parent(process_of(stack, run))
        answer = asked.result()

    assert parent == stack.stack.processes["worker"].pid
    assert (answer.status_code, finished(stack, run)["status"]) == (200, "SUCCESS")


def test_a_run_that_is_terminated_is_cancelled_and_its_query_ends(stack: System, harness: PostgreSQLHarness) -> None:
    harness.fill(1)
    connector = stack.register(SLOW, harness.config)

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(stack.pull, connector)
        until(lambda: harness.connections() == 1)
        run = stack.run_of(connector)
        stack.ask_dagster(TERMINATE, id=run)
        until(lambda: harness.connections() == 0)
        answer = asked.result()

    assert (answer.status_code, answer.json()["code"]) == (409, "pull_cancelled")
    assert finished(stack, run)["status"] == "CANCELED"


def test_a_run_that_is_killed_has_failed_and_its_pull_is_begun_again(stack: System, harness: PostgreSQLHarness) -> None:
    connector = stack.register(STEADY, harness.config, batch_size=10)

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(stack.pull, connector)
        run = stack.run_of(connector)
        os.kill(process_of(stack, run), signal.SIGKILL)
        answer = asked.result()

    assert finished(stack, run)["status"] == "FAILURE"
    assert (answer.status_code, answer.json()["records_ingested"]) == (200, 100)
    assert answer.json()["run_id"] != run
    assert finished(stack, answer.json()["run_id"])["status"] == "SUCCESS"


def test_a_run_outlives_its_worker(stack: System, harness: PostgreSQLHarness) -> None:
    connector = stack.register(STEADY, harness.config, batch_size=10)

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(stack.pull, connector)
        run = stack.run_of(connector)
        _kill_worker(stack)
        answer = asked.result()
    stacks.restart_worker(stack.stack)

    assert (answer.status_code, answer.json()["records_ingested"]) == (200, 100)
    assert answer.json()["run_id"] == run
    assert finished(stack, run)["status"] == "SUCCESS"


def test_a_run_whose_worker_was_killed_can_be_terminated(stack: System, harness: PostgreSQLHarness) -> None:
    harness.fill(1)
    connector = stack.register(SLOW, harness.config)

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(stack.pull, connector)
        until(lambda: harness.connections() == 1)
        run = stack.run_of(connector)
        _kill_worker(stack)
        stack.ask_dagster(TERMINATE, id=run)
        until(lambda: harness.connections() == 0)
        answer = asked.result()
    stacks.restart_worker(stack.stack)

    assert (answer.status_code, answer.json()["code"]) == (409, "pull_cancelled")
    assert finished(stack, run)["status"] == "CANCELED"


def test_a_run_outlives_the_code_server(stack: System, harness: PostgreSQLHarness) -> None:
    connector = stack.register(STEADY, harness.config, batch_size=10)

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(stack.pull, connector)
        run = stack.run_of(connector)
        stack.ask_dagster(RELOAD)
        answer = asked.result()

    assert (answer.status_code, answer.json()["run_id"]) == (200, run)


def test_without_a_worker_a_run_is_started_cold(stack: System, harness: PostgreSQLHarness) -> None:
    harness.fill(3)
    connector = stack.register(harness.everything, harness.config)

    _kill_worker(stack)
    try:
        answer = stack.pull(connector)
    finally:
        stacks.restart_worker(stack.stack)

    assert (answer.status_code, answer.json()["records_ingested"]) == (200, 3)
    run = finished(stack, answer.json()["run_id"])
    assert run["status"] == "SUCCESS"
    assert any("No worker takes" in event["message"] for event in run["eventConnection"]["events"])


def test_a_worker_that_is_stopped_does_not_hold_a_run_up(stack: System, harness: PostgreSQLHarness) -> None:
    harness.fill(3)
    connector = stack.register(harness.everything, harness.config)
    worker = stack.stack.processes["worker"].pid

    os.kill(worker, signal.SIGSTOP)
    try:
        answer = stack.pull(connector)
    finally:
        os.kill(worker, signal.SIGCONT)

    assert (answer.status_code, answer.json()["records_ingested"]) == (200, 3)
    run = finished(stack, answer.json()["run_id"])
    started = [event for event in run["eventConnection"]["events"] if event["__typename"] == "RunStartEvent"]
    assert len(started) == 1  # the worker, once it goes on, sees that nobody waits for it


def test_a_run_that_was_started_cold_is_terminated_too(stack: System, harness: PostgreSQLHarness) -> None:
    harness.fill(1)
    connector = stack.register(SLOW, harness.config)

    _kill_worker(stack)
    try:
        with ThreadPoolExecutor(1) as client:
            asked = client.submit(stack.pull, connector)
            until(lambda: harness.connections() == 1)
            run = stack.run_of(connector)
            stack.ask_dagster(TERMINATE, id=run)
            answer = asked.result()
    finally:
        stacks.restart_worker(stack.stack)

    assert (answer.status_code, answer.json()["code"]) == (409, "pull_cancelled")
    assert finished(stack, run)["status"] == "CANCELED"


def test_a_second_worker_in_the_same_home_does_not_start(stack: System) -> None:
    second = _another_worker(stack)

    assert (second.returncode, "A worker is running already" in second.stderr) == (1, True)
    assert stack.stack.processes["worker"].poll() is None


def test_a_worker_that_has_another_key_than_the_store_does_not_start(stack: System) -> None:
    other = _another_worker(stack, CONNECTOR_ENCRYPTION_KEY=new_fernet_key())

    assert (other.returncode, "CONNECTOR_ENCRYPTION_KEY is not the one with which" in other.stderr) == (1, True)


def test_only_its_own_user_may_ask_the_worker(stack: System) -> None:
    assert (stack.stack.folder / "dagster" / "worker.sock").stat().st_mode & 0o777 == 0o600


def test_a_run_is_of_the_code_as_it_is_when_it_starts(harness: PostgreSQLHarness, tmp_path: Path) -> None:
    harness.fill(1)
    root = tmp_path / "root"
    for package in ("qanatix_pipelines", "qanatix_api"):
        shutil.copytree(stacks.ROOT / package, root / package)
    shutil.copy(stacks.ROOT / "workspace.yaml", root)
    running = stacks.start(tmp_path / "data", {"PYTHONPATH": str(root)}, root=root)
    try:
        changing = System(running)
        connector = changing.register(harness.everything, harness.config)
        before = _messages(changing, changing.pull(connector).json()["run_id"])
        progress = root / "qanatix_pipelines" / "defs" / "progress.py"
        progress.write_text(progress.read_text().replace("%d rows so far", "%d rows by now"))
        changing.ask_dagster(RELOAD)
        after = _messages(changing, changing.pull(connector).json()["run_id"])
        changing.api.close()
    finally:
        running.stop()

    assert any(message.startswith("1 rows so far") for message in before)
    assert any(message.startswith("1 rows by now") for message in after)


def _messages(stack: System, run_id: str) -> list[str]:
    return [event.get("message", "") for event in finished(stack, run_id)["eventConnection"]["events"]]


def _another_worker(stack: System, **variables: str) -> subprocess.CompletedProcess[str]:
    """One that is not expected to start, with these variables beside the others'."""
    return subprocess.run(
        [Path(sys.executable).with_name("qanatix-worker")],
        env={**stack.stack.environment, **variables},
        cwd=stacks.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _kill_worker(stack: System) -> None:
    """SIGKILL for the worker, and not for its runs."""
    worker = stack.stack.processes["worker"]
    worker.kill()
    worker.wait()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
