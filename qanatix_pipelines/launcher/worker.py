"""The worker: a process that has loaded what runs need, and forks itself for each run.

It has one thread and holds no connection, for neither survives a fork.
"""

import json
import os
import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from qanatix_pipelines.launcher.calls import SOCKET, gave_up, read_line
from qanatix_pipelines.launcher.forks import ENDING, fork

_REQUEST_SECONDS = 1.0  # a caller has its request ready when it connects
_LOOK_SECONDS = 2.0
_BACKLOG = 128


class Worker:
    """Listens in Dagster's home, and forks a process for each run that it is asked to start.

    `execute` is what that process does, given the run's id and a pipe that closes when the worker ends. If that process
    is killed, another one calls `bury` with the run's id and the exit code. Both return an exit code. `is_stale` says
    whether our code has changed since it was loaded. `runs` are those that are its children already, by process id.
    """

    def __init__(
        self,
        home: Path,
        execute: Callable[[str, int], int],
        bury: Callable[[str, int], int],
        is_stale: Callable[[], bool],
        runs: dict[int, str],
    ) -> None:
        self._execute, self._bury, self._is_stale = execute, bury, is_stale
        self._ending = False
        self._path = home / SOCKET
        self._listening = _listen(self._path)
        self._woken, self._wake = socket.socketpair()
        self._lifeline, self._held = os.pipe()
        self.runs = runs

    def serve(self) -> bool:
        """Answer requests until it is time to end, then remove the socket. Returns whether the loaded code is stale.

        After a SIGINT or SIGTERM it starts no more runs, and returns once the last one has ended.
        """
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (*ENDING, signal.SIGCHLD):
            signal.signal(number, self._note)
        with selectors.DefaultSelector() as selector, self._listening:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(self._listening, selectors.EVENT_READ)
            while not self._ending:
                ready = [key.fileobj for key, _ in selector.select(_LOOK_SECONDS)]
                self._attend(ready)
                stale = self._is_stale()
                if self._listening in ready:
                    self._answer(stale=stale)
                if stale:
                    break
            self._path.unlink(missing_ok=True)  # from here on runs start cold
            selector.unregister(self._listening)
            self._listening.close()
            while self._ending and self.runs:
                self._attend([key.fileobj for key, _ in selector.select()])
        return not self._ending

    def _note(self, number: int, _frame: object) -> None:
        self._ending |= number in ENDING

    def _attend(self, ready: list[Any]) -> None:
        if self._woken in ready:
            self._woken.recv(4096)
        self._reap()

    def _answer(self, *, stale: bool) -> None:
        connection, _ = self._listening.accept()
        with connection, suppress(OSError, ValueError):  # the caller has gone, so nobody waits for an answer
            connection.settimeout(_REQUEST_SECONDS)
            asked = read_line(connection)
            if not gave_up(connection):  # a caller that gave up has started its run in another way
                connection.sendall(json.dumps(self._do(asked, stale=stale)).encode() + b"\n")

    def _do(self, asked: dict[str, Any], *, stale: bool) -> dict[str, Any]:
        match asked:
            case {"start": str(run_id)} if not stale:
                pid = self._fork(lambda: self._execute(run_id, self._lifeline))
                self.runs[pid] = run_id
                return {"done": True}
            case {"stop": str(run_id)}:
                pids = [pid for pid, running in self.runs.items() if running == run_id]
                for pid in pids:
                    os.kill(pid, signal.SIGTERM)  # its own child, not reaped yet, so no other process has the id
                return {"done": bool(pids)}
        return {"done": False}

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                run_id, code = self.runs.pop(pid, None), os.waitstatus_to_exitcode(status)
                if run_id is not None and code != 0:
                    self._fork(lambda run_id=run_id, code=code: self._bury(run_id, code))  # type: ignore[misc]

    def _fork(self, work: Callable[[], int]) -> int:
        return fork(partial(self._as_child, work))

    def _as_child(self, work: Callable[[], int]) -> int:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for ours in (self._listening, self._woken, self._wake):
            ours.close()
        os.close(self._held)
        return work()


def _listen(path: Path) -> socket.socket:
    """Raises RuntimeError if another worker listens there."""
    with socket.socket(socket.AF_UNIX) as other:
        if other.connect_ex(str(path)) == 0:
            raise RuntimeError(f"A worker is running already: it answers at {path}.")
    path.unlink(missing_ok=True)  # left by a worker that was killed
    listening = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)  # whoever can connect can start and stop runs
    try:
        listening.bind(str(path))
    finally:
        os.umask(mask)
    listening.listen(_BACKLOG)
    return listening
