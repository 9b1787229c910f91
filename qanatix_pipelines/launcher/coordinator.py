"""Which runs start at once and which wait: who waits for an answer goes first, within the limits that hold for all."""

import logging
from functools import cache
from typing import Any

from dagster import DagsterRun, DagsterRunStatus, QueuedRunCoordinator, RunsFilter
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.storage.dagster_run import ACTIVE_RUN_STATUSES
from dagster._core.storage.tags import PRIORITY_TAG
from dagster._utils.tags import TagConcurrencyLimitsCounter

from qanatix_pipelines.errors import NotFound, StoreUnavailable
from qanatix_pipelines.launcher import revisions
from qanatix_pipelines.naming import CONNECTOR_TAG, PARTITION_TAG, SOURCE_TAG, TRIGGER_TAG
from qanatix_pipelines.settings import read_settings
from qanatix_pipelines.store.opening import Store, open_store

log = logging.getLogger(__name__)


class PullRunCoordinator(QueuedRunCoordinator):
    """Dagster's queue, past which a pull goes that was asked for over REST, unless a limit holds it.

    Every run of a pull is given the tags that the limits count by, whoever starts it: the API gives them itself.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        revisions.remember()

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        run = self._tagged(context.dagster_run)
        if run.status is DagsterRunStatus.NOT_STARTED and run.tags.get(TRIGGER_TAG) == "api":
            if self._is_room_for(run):
                return self._instance.launch_run(run.run_id, context.workspace)
            run = self._with_tags(run, {PRIORITY_TAG: "1"})
        return super().submit_run(context._replace(dagster_run=run))

    def _is_room_for(self, run: DagsterRun) -> bool:
        """Whether the daemon would start it now, by the same rules but for the connector's.

        The API has made sure that it is the connector's only pull. The run of the one before may still have its last
        words to say, and is not waited for.
        """
        queue = self.get_run_queue_config()
        active = self._instance.get_runs(RunsFilter(statuses=ACTIVE_RUN_STATUSES))
        if 0 <= queue.max_concurrent_runs <= len(active):
            return False
        limits = [limit for limit in queue.tag_concurrency_limits if limit["key"] != CONNECTOR_TAG]
        return not TagConcurrencyLimitsCounter(limits, active).is_blocked(run)

    def _tagged(self, run: DagsterRun) -> DagsterRun:
        partition = run.tags.get(PARTITION_TAG)
        if partition is None or CONNECTOR_TAG in run.tags:
            return run
        try:
            connectors = _store().connectors.of(_store().tenants.of_partition(partition))
            connector = connectors.by_partition(partition)
            source = connectors.source_of(connector.id)
        except (NotFound, StoreUnavailable) as error:  # the run will find out by itself, and tell it
            log.warning("The run %s is not counted: %s", run.run_id, error)
            return run
        return self._with_tags(run, {CONNECTOR_TAG: str(connector.id), SOURCE_TAG: source})

    def _with_tags(self, run: DagsterRun, tags: dict[str, str]) -> DagsterRun:
        self._instance.add_run_tags(run.run_id, tags)
        return run.with_tags({**run.tags, **tags})


@cache
def _store() -> Store:
    """One store a process, opened when the first run without tags is submitted."""
    return open_store(read_settings())
