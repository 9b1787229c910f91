"""The code server as processes of its own, of which some are killed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import stack as stacks
from tests.backfills import launch, told
from tests.code_server import CodeServer, children
from tests.conftest import server as database
from tests.held import held
from tests.servers import free_port
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"DAGSTER_HOME": str(tmp_path), "QANATIX_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def server(environment: dict[str, str]) -> Iterator[CodeServer]:
    served = CodeServer(str(free_port()), environment)
    served.start()
    yield served
    served.stop()


def test_it_ends_when_its_child_is_killed_and_answers_once_it_is_started_again(server: CodeServer) -> None:
    server.kill()
    server.start()

    os.kill(server.process.pid, signal.SIGSTOP)  # so that it does not look yet
    os.kill(server.child(), signal.SIGKILL)

    dagster = Path(sys.executable).with_name("dagster")
    health = subprocess.run([dagster, "api", "grpc-health-check", "-p", server.port], check=False)
    assert health.returncode == 0  # by Dagster's own account nothing is amiss
    os.kill(server.process.pid, signal.SIGCONT)
    assert server.process.wait(60) == 1
    assert not server.answers()
    server.start()


def test_it_is_stopped_whole_by_a_signal_to_it_alone(server: CodeServer) -> None:
    below = [server.parent(), server.child()]

    server.process.terminate()

    assert server.process.wait(60) == 0
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
    assert not server.answers()


def test_it_serves_under_the_code_locations_name(environment: dict[str, str]) -> None:
    served = CodeServer(str(free_port()), environment | {"QANATIX_CODE_LOCATION": "supply-chain"})
    try:
        served.start()
        assert b"\0--location-name\0supply-chain\0" in _command(served.parent())
    finally:
        served.stop()


def test_a_pull_that_finds_no_code_has_dagster_load_it_anew(tmp_path: Path) -> None:
    """Also where Dagster has a code server of its own, as in development, and nothing looks at that."""
    harness = PostgreSQLHarness(database("postgresql"))
    harness.fill(3)
    with ExitStack() as ending:
        running = stacks.start(tmp_path)
        ending.callback(running.stop)
        system = System(running)
        ending.callback(system.api.close)
        connector = system.register(harness.everything, harness.config)
        assert system.pull(connector).status_code == 200
        (child,) = [pid for pid in _below(running.processes["dagster"].pid) if b"\0grpc\0" in _command(pid)]

        os.kill(child, signal.SIGKILL)

        assert system.pull(connector).status_code == 503
        until(lambda: system.pull(connector).status_code == 200, seconds=180)


@pytest.mark.timeout(600)  # the daemon looks at a backfill every half minute
def test_a_code_server_that_is_killed_and_started_again_ends_no_backfill(tmp_path: Path) -> None:
    """And pulls over REST are served again: the server ends when its child is gone, so that it is started again."""
    harness = PostgreSQLHarness(database("postgresql"))
    port = str(free_port())
    served = {"QANATIX_CODE_HOST": "127.0.0.1", "QANATIX_CODE_PORT": port}
    waiting = {"DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1"}
    home = {"DAGSTER_HOME": str(tmp_path / "dagster"), "QANATIX_DATA_DIR": str(tmp_path / "qanatix")}
    (tmp_path / "dagster").mkdir()
    shutil.copy(stacks.ROOT / "dagster.yaml", tmp_path / "dagster")
    server = CodeServer(port, os.environ | home)
    with ExitStack() as ending:
        ending.callback(server.stop)
        server.start()
        running = stacks.start(tmp_path, served | waiting, workspace="deploy/workspace.yaml")
        ending.callback(running.stop)
        stack = System(running)
        ending.callback(stack.api.close)
        query, let_go = ending.enter_context(held(harness.server.address, rows=20, after=10))
        slow = [stack.register(query, harness.config, name=f"Slow {n}", batch_size=10) for n in range(2)]
        backfill = launch(stack, [stack.partition(one) for one in slow])
        until(lambda: harness.connections() == 2, seconds=120)

        os.kill(server.child(), signal.SIGKILL)
        assert server.process.wait(60) == 1
        lost = "was unable to continue due to a missing asset or partition"
        until(lambda: lost in (tmp_path / "dagster.log").read_text(), seconds=180)
        server.start()
        let_go()

        until(lambda: told(stack, backfill)["status"] == "COMPLETED_SUCCESS", seconds=180)
        assert stack.pull(slow[0]).status_code == 200


def _below(pid: int) -> list[int]:
    return [one for child in children(pid) for one in (child, *_below(child))]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
