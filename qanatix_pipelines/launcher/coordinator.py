"""Which runs start at once and which wait: who waits for an answer goes first, within the limits that hold for all."""

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
from qanatix_pipelines.naming import CONNECTOR_TAG, PARTITION_TAG, SOURCE_TAG, TENANT_TAG, TRIGGER_TAG
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
    """Dagster's queue, past which a pull goes that was asked for over REST, unless a limit holds it.

    Every run of a pull is given the tags that the limits count by, whoever starts it: the API gives them itself.

    The daemon makes one as it starts, the webserver for its first run. Raises SettingsError in production where they
    could not open the store.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        settings = read_settings()
        if settings.production:
            settings.encryption_keys()
            settings.store_address()
        super().__init__(*arguments, **named)
        self._admitting = Lock()
        self._admitted: dict[str, DagsterRun] = {}  # that are not known to be active yet, by their ids
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
        """Whether the daemon would start it now, by the same rules but for the connector's. Then it takes up its room.

        The API has made sure that it is the connector's only pull. The run of the one before may still have its last
        words to say, and is not waited for.
        """
        queue = self.get_run_queue_config()
        limits = [limit for limit in queue.tag_concurrency_limits if limit["key"] != CONNECTOR_TAG]
        with self._admitting:
            taken = dict(self._admitted)  # first: who is launched meanwhile is among the active then
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
        if run.parent_run_id is not None or TRIGGER_TAG not in run.tags:  # one that is executed again has its parent's
            tags[TRIGGER_TAG] = _trigger(run)
        if CONNECTOR_TAG not in run.tags:
            try:
                connectors = opened_store().connectors.of(opened_store().tenants.of_partition(partition))
                connector = connectors.by_partition(partition)
                tags[SOURCE_TAG] = connectors.source_of(connector.id)
            except (NotFound, StoreUnavailable) as error:  # the run will find out by itself, and tell it
                log.warning("The run %s is not counted: %s", run.run_id, error)
                return run
            tags |= {CONNECTOR_TAG: connector.partition_key, TENANT_TAG: connector.tenant}
        return self._with_tags(run, tags) if tags else run

    def _with_tags(self, run: DagsterRun, tags: dict[str, str]) -> DagsterRun:
        self._instance.add_run_tags(run.run_id, tags)
        return run.with_tags({**run.tags, **tags})


@cache
def opened_store() -> Store:
    """One store a process, opened when the first run without tags is submitted."""
    return open_store(read_settings())


def _trigger(run: DagsterRun) -> str:
    """What started a run that does not say so itself, by the tags that Dagster gives."""
    if run.parent_run_id is not None:
        return "re-execution"
    for tag, trigger in _TRIGGERS.items():
        if tag in run.tags:
            return trigger
    return "ui"
