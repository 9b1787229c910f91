"""Processes that do one thing and end. They are forked from one that has loaded what they need."""

import logging
import os
import signal
import sys
from collections.abc import Callable

from qanatix_pipelines.tracebacks import outline

log = logging.getLogger("qanatix.worker")

ENDING = (signal.SIGINT, signal.SIGTERM)


def fork(work: Callable[[], int]) -> int:
    """Fork a process that does `work` and ends with its exit code. A signal interrupts it. Returns its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for number in ENDING:
            signal.signal(number, signal.default_int_handler)
        code = work()
    except BaseException as error:  # noqa: BLE001  # nothing may return into the forked program
        log.error("The process of a run broke.\n%s", outline(error))  # noqa: TRY400
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def outcome(work: Callable[[], int]) -> int:
    """Fork a process that does `work`, and wait. Returns its exit code, or the negative of the signal that ended it.

    A SIGTERM that comes meanwhile is passed on to it.
    """
    pid = fork(work)
    before = signal.signal(signal.SIGTERM, lambda number, _frame: os.kill(pid, number))
    try:
        _, status = os.waitpid(pid, 0)
    finally:
        signal.signal(signal.SIGTERM, before)
    return os.waitstatus_to_exitcode(status)
