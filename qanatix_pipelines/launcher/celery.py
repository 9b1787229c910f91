"""Runs on several hosts: Dagster's own Celery launcher, with what our runs need and it lacks.

Celery keeps no results. Dagster's storage and our receipt say how a run went; the worker that has a run says whether it
is still running.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from dagster import DagsterRun, Field, Noneable, StringSource
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._serdes import ConfigurableClassData
from dagster_celery.defaults import task_default_queue
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import OperationalError

from qanatix_pipelines.errors import StoreUnavailable
from qanatix_pipelines.launcher.coordinator import opened_store

EXECUTE_RUN = "execute_run"  # the only task
ROLL_SECONDS = 2.0  # a live worker answers within milliseconds; how many there are is not known, so we wait this long
_FRESH_SECONDS = 3.0  # one roll call serves all runs that Dagster checks in a row

SETTINGS: dict[str, Any] = {
    "worker_pool": "prefork",
    # A worker takes a task only when it has a process for it. A task that it held back would wait for this worker
    # alone.
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    # A task is acknowledged when it begins, for a run cannot begin twice; its pull can, by another run. If a worker
    # dies with a task that it took and had not begun, the task goes to another: from Redis after this time, from
    # RabbitMQ at once.
    "task_acks_late": False,
    "broker_transport_options": {
        "visibility_timeout": 60,
        "max_retries": 3,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 0.5,
    },
    "broker_connection_retry_on_startup": True,
    "task_ignore_result": True,
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
}

# Variables that Celery prefers to what it is given in code. Its command line sets them from BROKER_URL, RESULT_BACKEND,
# LOADER and CONFIG_MODULE, which other programs may have set.
CELERYS_OWN = (
    "CELERY_BROKER_URL",
    "CELERY_BROKER_READ_URL",
    "CELERY_BROKER_WRITE_URL",
    "CELERY_RESULT_BACKEND",
    "CELERY_LOADER",
    "CELERY_CONFIG_MODULE",
)


class CeleryPullLauncher(CeleryRunLauncher):
    """Hands runs to any worker that has room. `broker` is a URL; `config_source` has further settings for Celery.

    It removes Celery's own variables from the process, so that webserver, daemon and workers all use this broker.
    """

    def __init__(
        self,
        broker: str,
        default_queue: str = task_default_queue,
        config_source: dict[str, Any] | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        for name in CELERYS_OWN:
            os.environ.pop(name, None)
        super().__init__(
            default_queue=default_queue,
            broker=broker,
            config_source={**SETTINGS, **(config_source or {})},
            inst_data=inst_data,
        )
        self._held: frozenset[str] | None = None
        self._called_at = float("-inf")
        self._missing: set[str] = set()
        self._missed_before: set[str] = set()

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {
            "broker": Field(StringSource),
            "default_queue": Field(StringSource, is_required=False, default_value=task_default_queue),
            "config_source": Field(Noneable(dict), is_required=False),
        }

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> "CeleryPullLauncher":
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand a run over. The broker gets its id and nothing else."""
        run = context.dagster_run
        task = self.celery.signature(EXECUTE_RUN, kwargs={"run_id": run.run_id}, immutable=True)
        self._launch_celery_task_run(run, task, EXECUTE_RUN)

    def terminate(self, run_id: str) -> bool:
        """Tell a run's process to end, and return whether it was told. The process itself reports that it has ended.

        Dagster asks this of runs that have begun. A run that waits for a worker can be cancelled by force, and is not
        begun then.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        self.celery.control.revoke(run.tags[DAGSTER_CELERY_TASK_ID_TAG], terminate=True, signal="SIGTERM")
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether a worker has the run. It is lost once two roll calls miss it: one may miss a run that has just begun.

        If no worker answers, the broker may be away: the lease of a run's pull then tells whether the run has died. A
        run whose pull has ended is not failed here: the sensor `lost_pulls` ends it as its pull ended.
        """
        self._call_the_roll()
        if self._held is not None and run.tags.get(DAGSTER_CELERY_TASK_ID_TAG) not in self._held:
            if run.run_id in self._missed_before and not _has_ended_its_pull(run):
                return CheckRunHealthResult(WorkerStatus.FAILED, "No worker has the run any more.")
            self._missing.add(run.run_id)
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def _call_the_roll(self) -> None:
        if time.monotonic() - self._called_at < _FRESH_SECONDS:
            return
        self._missed_before, self._missing = self._missing, set()
        try:
            answers = self.celery.control.inspect(timeout=ROLL_SECONDS).active(safe=True)
        except (OperationalError, OSError):
            answers = None
        self._held = answers and frozenset(task["id"] for tasks in answers.values() for task in tasks)
        self._called_at = time.monotonic()

    def get_run_worker_debug_info(
        self,
        run: DagsterRun,
        include_container_logs: bool | None = True,
    ) -> None:
        """Nothing: Dagster's own method asks for a result that is not kept."""

    @property
    def supports_resume_run(self) -> bool:
        return False

    def app_args(self) -> dict[str, Any]:
        return {**super().app_args(), "backend": None}


def _has_ended_its_pull(run: DagsterRun) -> bool:
    """Whether the run's pull has ended. True if the store cannot be asked: the next check asks again."""
    try:
        store = opened_store()
        tenant = store.tenants.of_run(run.run_id)
        pull = None if tenant is None else store.of(tenant).pulls.of_run(run.run_id)
    except StoreUnavailable:
        return True
    return pull is not None and not pull.status.live
