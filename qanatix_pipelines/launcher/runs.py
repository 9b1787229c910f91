"""What a forked process does: one run from its start to its end, or the last words of a run that was killed."""

import os
import signal
import threading

from dagster import DagsterInstance, DagsterRunStatus
from dagster._cli.api import _execute_run_command_body
from dagster._core.execution.run_cancellation_thread import start_run_cancellation_thread
from dagster._utils.interrupts import capture_interrupts

# What Dagster's webserver does for itself: connections to PostgreSQL are kept, and not made anew for each event.
_POOLING = {"statement_timeout": 60_000, "pool_recycle": 3600, "max_overflow": 5}


def execute(instance: DagsterInstance, run_id: str, lifeline: int | None = None) -> int:
    """Execute a run, as `dagster api execute_run` does. 0 if how it went was told, too.

    `lifeline` is a pipe that ends when the worker does: from then on nobody can tell the process to end, and it looks
    for itself whether its run was cancelled. There is none where the process ends with its worker.
    """
    if lifeline is not None:
        threading.Thread(target=_look_when_orphaned, args=(instance, run_id, lifeline), daemon=True).start()
    with capture_interrupts():
        instance.optimize_for_webserver(**_POOLING)
        return _execute_run_command_body(run_id, instance, lambda _event: None, set_exit_code_on_failure=False)


def _look_when_orphaned(instance: DagsterInstance, run_id: str, lifeline: int) -> None:
    os.read(lifeline, 1)
    start_run_cancellation_thread(instance, run_id)


def bury(instance: DagsterInstance, run_id: str, code: int) -> int:
    """End a run whose own process could not: it ended with `code`, or by the signal of that negative. An exit code."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        message = f"The run's process ended {how}, and could not say so itself."
        if run.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message)
        else:
            instance.report_run_failed(run, message)
    return 0
