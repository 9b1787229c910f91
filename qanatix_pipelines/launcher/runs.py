"""What a forked process does: it executes one run, or ends a run whose process was killed."""

import os
import signal
import threading

from dagster import DagsterInstance, DagsterRunStatus
from dagster._cli.api import _execute_run_command_body
from dagster._core.execution.run_cancellation_thread import start_run_cancellation_thread
from dagster._utils.interrupts import capture_interrupts

from qanatix_pipelines.pull import tune_garbage_collector

# As Dagster's webserver does for itself: connections to PostgreSQL are kept, not made anew for each event.
_POOLING = {"statement_timeout": 60_000, "pool_recycle": 3600, "max_overflow": 5}


def execute(instance: DagsterInstance, run_id: str, lifeline: int | None = None) -> int:
    """Execute a run, as `dagster api execute_run` does. Returns 0 once the outcome is reported.

    `lifeline` is a pipe that closes when the worker ends. From then on nobody can tell the process to end, so it checks
    by itself whether its run was cancelled. None if the process ends together with its worker.
    """
    if lifeline is not None:
        threading.Thread(target=_look_when_orphaned, args=(instance, run_id, lifeline), daemon=True).start()
    tune_garbage_collector()
    with capture_interrupts():
        instance.optimize_for_webserver(**_POOLING)
        return _execute_run_command_body(run_id, instance, lambda _event: None, set_exit_code_on_failure=False)


def _look_when_orphaned(instance: DagsterInstance, run_id: str, lifeline: int) -> None:
    os.read(lifeline, 1)
    start_run_cancellation_thread(instance, run_id)


def bury(instance: DagsterInstance, run_id: str, code: int) -> int:
    """End a run whose process could not. `code` is its exit code, or the negative of a signal. Returns an exit code."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        message = f"The run's process ended {how}, and could not say so itself."
        if run.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message)
        else:
            instance.report_run_failed(run, message)
    return 0
