"""The code server as processes of its own, of which some are killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.code_server import CodeServer
from tests.servers import free_port
from tests.system import until

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
