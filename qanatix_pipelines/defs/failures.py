"""Runs that fail before they begin their pull. Their connector gets a receipt that says so.

A run that was started for a queued pull is left to `lost_pulls`. A run that had begun its pull has a receipt already.
"""

from datetime import UTC, datetime

import dagster as dg

from qanatix_pipelines.defs.resources import StoreResource
from qanatix_pipelines.errors import NotFound, PullInProgress, PullNotBegun
from qanatix_pipelines.naming import DAGSTER, PARTITION_TAG, PULL_TAG, TRIGGER_TAG

INTERVAL_SECONDS = 15


@dg.run_failure_sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes a receipt for a run that failed without one, so that its connector tells of it, too.",
)
def failed_runs(context: dg.RunFailureSensorContext, qanatix_store: StoreResource) -> None:
    """Acts on runs without a queued pull: those that a click, a schedule or a backfill started."""
    run = context.dagster_run
    partition = run.tags.get(PARTITION_TAG)
    if partition is None or (PULL_TAG in run.tags and run.parent_run_id is None):
        return
    opened = qanatix_store.open()
    try:
        ours = opened.of(opened.tenants.of_partition(partition))
        connector = ours.connectors.by_partition(partition)
    except NotFound:  # it was deleted, or never existed
        return
    if opened.tenants.of_run(run.run_id) is None and _code(context) != PullInProgress.code:
        record = context.instance.get_run_record_by_id(run.run_id)
        failed_at = datetime.now(UTC) if record is None else record.create_timestamp
        ours.pulls.note_failed(connector, run.run_id, failed_at, PullNotBegun(), run.tags.get(TRIGGER_TAG, DAGSTER))


def _code(context: dg.RunFailureSensorContext) -> object:
    """The code in the failure of the run's step, if the run came so far."""
    for event in context.get_step_failure_events():
        told = event.step_failure_data.user_failure_data
        if told is not None and (code := told.metadata.get("code")) is not None:
            return code.value
    return None
