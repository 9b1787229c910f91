"""A Celery worker: `celery -A qanatix_pipelines.launcher.celery_app worker`.

It loads what runs need, then forks the processes that wait for runs, as `qanatix-worker` does. Each of these forks
itself for each run. So credentials end with their run, and nothing of one run reaches the next. (Celery can end a
process after each task, but it hands tasks to processes that are ending: every fifth run then waits for seconds.)

Broker and queue are those of the launcher in `dagster.yaml`.
"""

import gc
import sys
from functools import partial
from typing import Any

from celery import Celery, Task
from celery.platforms import set_pdeathsig
from celery.signals import worker_init
from dagster import DagsterInstance

from qanatix_pipelines.errors import SettingsError, StoreNotReady
from qanatix_pipelines.launcher import preload, revisions, runs
from qanatix_pipelines.launcher.celery import EXECUTE_RUN, CeleryPullLauncher
from qanatix_pipelines.launcher.forks import outcome
from qanatix_pipelines.tracebacks import outline


def execute_run(task: Task, run_id: str) -> None:
    """Execute one run in a process of its own, and end the run if that process is killed."""
    code = outcome(partial(_execute, run_id, task.request.hostname))
    if code != 0:
        outcome(partial(runs.bury, _instance, run_id, code))


def _execute(run_id: str, worker: str) -> int:
    set_pdeathsig("SIGKILL")  # as Celery's own processes do: no run outlives its worker
    _instance.report_engine_event(f"Taken by the worker {worker}.", _instance.get_run_by_id(run_id))
    return runs.execute(_instance, run_id)


def load(**_signal: Any) -> None:
    """Load what runs need. End the worker if a forked process could not use it."""
    revisions.remember()
    try:
        preload.check_environment()
    except (SettingsError, StoreNotReady) as error:
        sys.exit(str(error))
    try:
        preload.definitions()
        preload.check_forks()
    except Exception as error:  # noqa: BLE001  # whatever is wrong: Celery itself would carry on
        sys.exit(f"The worker cannot load what runs need.\n{outline(error)}")
    preload.touch(_instance)
    gc.collect()
    gc.freeze()  # a child's garbage collector then leaves the shared pages alone


def _app() -> Celery:
    launcher = _instance.run_launcher
    if not isinstance(launcher, CeleryPullLauncher):
        sys.exit(f"The launcher in {_instance.root_directory}/dagster.yaml is not {CeleryPullLauncher.__name__}.")
    launcher.celery.task(execute_run, name=EXECUTE_RUN, bind=True)
    return launcher.celery


# Opened once for all runs. Dagster's storages keep no connection unless told to.
_instance = DagsterInstance.get()
app = _app()
worker_init.connect(load)
