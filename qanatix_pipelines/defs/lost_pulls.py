"""Pulls whose process or host died: begun again, and their runs told how it ended.

Dagster's default launcher notices a process that dies, but not a host: then a run is shown as started for ever. The
receipts know better, for a live pull gives signs of life there.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster import DagsterEvent, DagsterEventType, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter

from qanatix_pipelines.defs.resources import StoreResource
from qanatix_pipelines.errors import PullCancelled
from qanatix_pipelines.naming import (
    CONNECTOR_TAG,
    CONNECTORS_KEY_PREFIX,
    PULL_TAG,
    TRIGGER_TAG,
    job_name,
    partitions_name,
)
from qanatix_pipelines.pulls import LEASE_SECONDS, Pull, PullStatus
from qanatix_pipelines.sources import connector_types
from qanatix_pipelines.store.engine import PULL_PATIENCE_SECONDS
from qanatix_pipelines.store.opening import Store

INTERVAL_SECONDS = 5
# A run has so long to end after its pull has, or to begin its pull after it has started; a run that nobody queued a
# pull for may also have to wait for the store.
GRACE = timedelta(seconds=2 * LEASE_SECONDS)
# Runs that were being started before are nobody's now: who started them was this code server's predecessor.
_LOADED_AT = datetime.now(UTC)
_GOING_ON = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def lost_pulls_sensor(jobs: Sequence[Any]) -> dg.SensorDefinition:
    """`jobs` are the pulls' jobs, by Dagster's nameless type of a job that is not resolved yet."""

    @dg.sensor(
        name="lost_pulls",
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Begins pulls again whose process or host died, and settles runs that cannot tell how they ended.",
    )
    def lost_pulls(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
        """Begins pulls again whose process or host died, and settles runs that their own processes cannot."""
        opened = store.open()
        requests = [
            request for tenant in opened.tenants.all() for request in _begun_again(context.instance, opened.of(tenant))
        ]
        _settle(context.instance, opened)
        return dg.SensorResult(run_requests=requests)

    return lost_pulls


def _begun_again(instance: dg.DagsterInstance, store: Store) -> Iterator[dg.RunRequest]:
    for pull in store.pulls.lapsed():
        record = _newest_run(instance, pull)
        if record is not None and record.dagster_run.status is DagsterRunStatus.CANCELED:
            store.pulls.end(pull, PullCancelled())
        elif pull.status is PullStatus.QUEUED and record is not None and _on_its_way(record):
            store.pulls.await_run(pull)
        elif store.pulls.retry(pull):
            _fail(instance, pull.run_id)
            connector = store.connectors.get(pull.connector_id)
            instance.add_dynamic_partitions(partitions_name(connector.connector_type), [connector.partition_key])
            yield dg.RunRequest(
                run_key=f"{pull.id}/{pull.attempt + 1}",
                job_name=job_name(connector.connector_type),
                partition_key=connector.partition_key,
                tags={PULL_TAG: str(pull.id), TRIGGER_TAG: "lost_pulls"},
            )


def _fail(instance: dg.DagsterInstance, run_id: str | None) -> None:
    run = None if run_id is None else instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, "The run gave no sign of life: its pull is begun again by another.")


def _newest_run(instance: dg.DagsterInstance, pull: Pull) -> RunRecord | None:
    """The newest run that was started for a pull."""
    return next(iter(instance.get_run_records(RunsFilter(tags={PULL_TAG: str(pull.id)}), limit=1)), None)


def _on_its_way(record: RunRecord) -> bool:
    """Whether a run that has not begun its pull may yet do so. Dagster itself bounds how long a start may take."""
    match record.dagster_run.status:
        case DagsterRunStatus.QUEUED:
            return True
        case DagsterRunStatus.NOT_STARTED | DagsterRunStatus.STARTING:
            return record.create_timestamp > _LOADED_AT
        case _:
            return False


def _settle(instance: dg.DagsterInstance, opened: Store) -> None:
    """End the runs that Dagster shows as going on, but whose pull is over, another run's now, or was never begun."""
    now = datetime.now(UTC)
    ours = {job_name(connector_type) for connector_type in connector_types()}
    for record in instance.get_run_records(RunsFilter(statuses=_GOING_ON)):
        run = record.dagster_run
        if run.job_name not in ours and CONNECTOR_TAG not in run.tags:  # a backfill's are of no job of ours
            continue
        tenant = opened.tenants.of_run(run.run_id)
        pull = None if tenant is None else opened.of(tenant).pulls.of_run(run.run_id)
        if tenant is None or pull is None:
            patience = GRACE if PULL_TAG in run.tags else GRACE + timedelta(seconds=PULL_PATIENCE_SECONDS)
            if record.start_time is not None and record.start_time < (now - patience).timestamp():
                instance.report_run_failed(run, "The run gave no sign of life, and its pull is not its own.")
        elif pull.finished_at is not None and pull.finished_at < now - GRACE:
            if pull.status is PullStatus.COMPLETED:
                _tell_completed(instance, opened.of(tenant), run, pull)
            elif pull.error_code == PullCancelled.code:
                instance.report_run_canceled(run, pull.error_detail)
            else:
                instance.report_run_failed(run, pull.error_detail)


def _tell_completed(instance: dg.DagsterInstance, store: Store, run: DagsterRun, pull: Pull) -> None:
    """A run whose process died between its pull's commit and its own last words: the pull is as good as any."""
    told = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION).records
    connector = next((one for one in store.connectors.list() if one.id == pull.connector_id), None)
    if not told and connector is not None:
        counts = ("records_pulled", "records_ingested", "duplicates_skipped", "records_rejected")
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key=[CONNECTORS_KEY_PREFIX, connector.connector_type],
                partition=connector.partition_key,
                description="Told by the pull's receipt: its run died before it could.",
                metadata={"pull_id": str(pull.id)} | {count: getattr(pull, count) for count in counts},
            )
        )
    message = "The pull had completed when the run's process died, as its receipt tells."
    success = DagsterEvent(DagsterEventType.PIPELINE_SUCCESS.value, job_name=run.job_name, message=message)
    instance.report_dagster_event(success, run_id=run.run_id)
