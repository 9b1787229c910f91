"""The code server as a process of a test's own, and the processes below it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.servers import keeper
from tests.stack import READY_SECONDS, ROOT
from tests.system import until

_COMMAND = [sys.executable, "-m", "qanatix_pipelines.launcher.code_server"]


class CodeServer:
    """`process` is the one that was started last."""

    def __init__(self, port: str, environment: Mapping[str, str]) -> None:
        self.port = port
        self._environment = environment
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [*_COMMAND, "-p", self.port]
        self.process = subprocess.Popen(command, env=self._environment, cwd=ROOT, start_new_session=True)
        keeper.keep(f"code server {self.port}", self.process.pid)
        until(lambda: self.answers() and self.process.poll() is None, seconds=READY_SECONDS)

    def answers(self) -> bool:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", int(self.port))) != 0:
                return False  # a check costs a second of a core
        command = [*_COMMAND, "-p", self.port, "--check"]
        return subprocess.run(command, env=self._environment, cwd=ROOT, check=False).returncode == 0

    def parent(self) -> int:
        """Dagster's process that listens."""
        (pid,) = children(self.process.pid)
        return pid

    def child(self) -> int:
        """Dagster's process that has our code, once it is alone: one that it replaces ends up to a minute later."""
        until(lambda: len(children(self.parent())) == 1, seconds=READY_SECONDS)
        (pid,) = children(self.parent())
        return pid

    def kill(self) -> None:
        """All of it at once, as a host that dies."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        keeper.forget(f"code server {self.port}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.kill()


def children(pid: int) -> list[int]:
    """Of a process; one that it has begun in a thread is listed with that."""
    return [int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()]
