"""Which runs start at once and which queue. A run that a caller waits for goes first, within the limits for all."""

import logging
from functools import cache
from threading import Lock
from typing import Any

from dagster import DagsterRun, DagsterRunStatus, QueuedRunCoordinator, RunsFilter
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES
from dagster._core.storage.tags import (
    AUTOMATION_CONDITION_TAG,
    BACKFILL_ID_TAG,
    PRIORITY_TAG,
    SCHEDULE_NAME_TAG,
    SENSOR_NAME_TAG,
)
from dagster._utils.tags import TagConcurrencyLimitsCounter

from qanatix_pipelines.errors import NotFound, StoreUnavailable
from qanatix_pipelines.launcher import revisions
from qanatix_pipelines.naming import CONNECTOR_TAG, PARTITION_TAG, RE_EXECUTION, SOURCE_TAG, TENANT_TAG, TRIGGER_TAG
from qanatix_pipelines.settings import read_settings
from qanatix_pipelines.store.opening import Store, open_store

log = logging.getLogger(__name__)

_TRIGGERS = {
    BACKFILL_ID_TAG: "backfill",
    AUTOMATION_CONDITION_TAG: "automation",
    SCHEDULE_NAME_TAG: "schedule",
    SENSOR_NAME_TAG: "sensor",
}


class PullRunCoordinator(QueuedRunCoordinator):
    """Dagster's queue. A pull that was asked for over REST skips it unless a limit stops it.

    Every run of a pull gets the tags that the limits count by, whoever starts it. The API sets them itself.

    The daemon makes a coordinator as it starts, the webserver for its first run. In production it raises SettingsError
    if the store could not be opened.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        settings = read_settings()
        if settings.production:
            settings.encryption_keys()
            settings.store_address()
        super().__init__(*arguments, **named)
        self._admitting = Lock()
        # Runs that are being launched, by id: Dagster may not list them as active yet.
        self._admitted: dict[str, DagsterRun] = {}
        revisions.remember()

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        run = self._tagged(context.dagster_run)
        if run.status is DagsterRunStatus.NOT_STARTED and run.tags.get(TRIGGER_TAG) == "api":
            if self._admit(run):
                try:
                    return self._instance.launch_run(run.run_id, context.workspace)
                finally:
                    del self._admitted[run.run_id]
            run = self._with_tags(run, {PRIORITY_TAG: "1"})
        return super().submit_run(context._replace(dagster_run=run))

    def _admit(self, run: DagsterRun) -> bool:
        """Whether the daemon would start the run now. If so, the run takes its place within the limits.

        The limit of one run a connector is left out: the API has made sure that this is the connector's only pull. The
        run of the pull before may still be ending, and is not waited for.
        """
        queue = self.get_run_queue_config()
        limits = [limit for limit in queue.tag_concurrency_limits if limit["key"] != CONNECTOR_TAG]
        with self._admitting:
            taken = dict(self._admitted)  # read first: a run launched in between is among the active ones then
            taken |= {one.run_id: one for one in self._instance.get_runs(RunsFilter(statuses=ACTIVE_RUN_STATUSES))}
            if 0 <= queue.max_concurrent_runs <= len(taken):
                return False
            if TagConcurrencyLimitsCounter(limits, list(taken.values())).is_blocked(run):
                return False
            self._admitted[run.run_id] = run
            return True

    def _tagged(self, run: DagsterRun) -> DagsterRun:
        partition = run.tags.get(PARTITION_TAG)
        if partition is None:
            return run
        tags = {}
        if run.parent_run_id is not None or TRIGGER_TAG not in run.tags:  # a re-executed run has its parent's trigger
            tags[TRIGGER_TAG] = _trigger(run)
        if CONNECTOR_TAG not in run.tags:
            try:
                connectors = opened_store().connectors.of(opened_store().tenants.of_partition(partition))
                connector = connectors.by_partition(partition)
                tags[SOURCE_TAG] = connectors.source_of(connector.id)
            except (NotFound, StoreUnavailable) as error:  # the run will find that out by itself, and say so
                log.warning("The run %s is not counted: %s", run.run_id, error)
                return run
            tags |= {CONNECTOR_TAG: connector.partition_key, TENANT_TAG: connector.tenant}
        return self._with_tags(run, tags) if tags else run

    def _with_tags(self, run: DagsterRun, tags: dict[str, str]) -> DagsterRun:
        self._instance.add_run_tags(run.run_id, tags)
        return run.with_tags({**run.tags, **tags})


@cache
def opened_store() -> Store:
    """The process's store, opened when the first run without tags is submitted."""
    return open_store(read_settings())


def _trigger(run: DagsterRun) -> str:
    """What started a run, by Dagster's own tags, if it has no tag of ours."""
    if run.parent_run_id is not None:
        return RE_EXECUTION
    for tag, trigger in _TRIGGERS.items():
        if tag in run.tags:
            return trigger
    return "ui"
