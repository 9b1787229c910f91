"""Ends servers whose tests have ended without stopping them: killed, or out of time.

Each process that starts servers has a keeper, a process beside it. It learns of each server by a pipe, and the system
closes that pipe however the process ends. What is kept then is ended, and its folders are removed. A process is held
by a descriptor, so that no other one that has got its id is ever ended.

The keeper runs this file by itself, so it imports nothing of ours.
"""

import atexit
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ENDING_SECONDS = 5

_keepers: dict[int, subprocess.Popen[bytes]] = {}  # by the process that started it: a fork needs one of its own


def keep(name: str, pid: int, *folders: Path, ending: signal.Signals = signal.SIGKILL) -> None:
    """From here on a server ends with this process, by the signal `ending`, and by SIGKILL if that does not do.

    If it leads a process group, all of that ends. `name` is any text by which to forget it. One that is kept again,
    under another id, takes the place of the first.
    """
    _tell({"keep": name, "pid": pid, "folders": [str(folder) for folder in folders], "ending": int(ending)})


def forget(name: str) -> None:
    """It has been stopped."""
    _tell({"forget": name})


def _tell(told: dict[str, object]) -> None:
    keeper = _keepers.get(os.getpid())
    if keeper is None:
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # what interrupts the tests is not for it
        )
        _keepers[os.getpid()] = keeper
        atexit.register(_close)
    assert keeper.stdin is not None
    os.write(keeper.stdin.fileno(), json.dumps(told).encode() + b"\n")


def _close() -> None:
    """Have what is still kept ended, and wait for that. In a fork of the tests there is nothing to do."""
    if (keeper := _keepers.pop(os.getpid(), None)) is not None:
        with keeper:
            pass


@dataclass(frozen=True)
class _Kept:
    pid: int
    descriptor: int
    leads: bool
    folders: list[str]
    ending: int

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, 0 if self.leads else number)
            if self.leads:  # while it is there, no other group has its id
                os.killpg(self.pid, number)

    def ends(self, seconds: float) -> bool:
        """Whether it has ended, or does within so long."""
        return bool(select.select([self.descriptor], [], [], seconds)[0])


def main() -> None:
    kept: dict[str, _Kept] = {}
    for line in sys.stdin:
        told = json.loads(line)
        known = kept.pop(told.get("keep", told.get("forget")), None)
        if known is not None:
            os.close(known.descriptor)
        if "keep" in told:
            with suppress(ProcessLookupError):  # it has ended by itself
                pid = told["pid"]
                descriptor = os.pidfd_open(pid)
                kept[told["keep"]] = _Kept(pid, descriptor, os.getpgid(pid) == pid, told["folders"], told["ending"])
    _end(kept.values())


def _end(kept: Iterable[_Kept]) -> None:
    for one in kept:
        one.signal(one.ending)
    for one in kept:
        if not one.ends(ENDING_SECONDS):
            one.signal(signal.SIGKILL)
            one.ends(ENDING_SECONDS)
        for folder in one.folders:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
