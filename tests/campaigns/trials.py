"""Runs of the tests of a copy of our code, each forked from one process that has imported everything but that code."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import new_folder, remove

SECONDS = 240
_TRIED = Path(__file__).with_name("tried.py")


@dataclass(frozen=True)
class Trial:
    """How a run ended: pytest's exit code, or None if it told none, and what it printed."""

    code: int | None
    said: str


class Trials:
    """Runs of tests by the process that listens at `address`: as many at once as there are callers."""

    def __init__(self, address: Path) -> None:
        self._address = address

    def run(self, copy: Path, tests: Iterable[str]) -> Trial:
        """Run these tests of the code in a folder."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(self._address))
            connection.sendall(json.dumps([str(copy), *tests]).encode() + b"\n")
            with connection.makefile(encoding="utf-8", errors="replace") as answer:
                said, _, code = answer.read().rpartition("\n")
        return Trial(int(code) if code.isdigit() else None, said)


@contextmanager
def trials() -> Iterator[Trials]:
    """The process, for as long as the block lasts."""
    folder = new_folder("trials", {})  # whose path is short, as a socket's must be
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # to load what none of the tests use takes a second
    # -P: what lies beside the program is no library.
    command = [sys.executable, "-P", _TRIED, folder / "socket"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield Trials(folder / "socket")
        finally:
            process.terminate()
            remove(folder)
