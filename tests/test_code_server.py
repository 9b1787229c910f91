"""The code server as processes of its own, of which some are killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import stack as stacks
from tests.code_server import CodeServer, children
from tests.conftest import server as database
from tests.harness.postgresql import PostgreSQLHarness
from tests.servers import free_port
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


def _below(pid: int) -> list[int]:
    return [one for child in children(pid) for one in (child, *_below(child))]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
