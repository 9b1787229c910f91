"""Lost pulls, whose process or host died. They are begun again, and their old runs are ended in Dagster.

Lost looks, too: their runs are ended, and drafts whose answer nobody collected are deleted. So is what lost pulls had
staged.

Dagster's default launcher notices when a process dies, but not when a host does: it would show the run as started for
ever. The receipts tell, for a running pull writes its heartbeat there.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
from dagster import DagsterEvent, DagsterEventType, DagsterRun, DagsterRunStatus, RunRecord, RunsFilter

from qanatix_pipelines.defs.resources import StoreResource
from qanatix_pipelines.errors import NotFound, PullCancelled, WrongStore
from qanatix_pipelines.naming import (
    CONNECTOR_TAG,
    CONNECTORS_KEY_PREFIX,
    DRAFT_TAG,
    LOOK_JOB,
    PULL_TAG,
    TRIGGER_TAG,
    job_name,
    partitions_name,
)
from qanatix_pipelines.receipts import LEASE_SECONDS, PullStatus, Receipt
from qanatix_pipelines.sources import connector_types
from qanatix_pipelines.store.drafts import LIFETIME
from qanatix_pipelines.store.engine import PULL_PATIENCE_SECONDS
from qanatix_pipelines.store.heaps import sweep
from qanatix_pipelines.store.opening import Store

INTERVAL_SECONDS = 5
# How long a run may take to end after its pull has ended, or to begin its pull after it has started. A run without a
# queued pull may also have to wait for the store.
GRACE = timedelta(seconds=2 * LEASE_SECONDS)
# A run that was starting before this is orphaned: the code server that was starting it is gone.
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
    def lost_pulls(context: dg.SensorEvaluationContext, qanatix_store: StoreResource) -> dg.SensorResult:
        """Begins lost pulls again, and ends runs whose own process cannot say how they ended."""
        opened = qanatix_store.open()
        requests = [
            request for tenant in opened.tenants.all() for request in _begun_again(context.instance, opened.of(tenant))
        ]
        _settle(context.instance, opened)
        _settle_looks(context.instance, opened)
        opened.drafts.sweep()
        sweep(opened.engine)
        return dg.SensorResult(run_requests=requests)

    return lost_pulls


def _begun_again(instance: dg.DagsterInstance, store: Store) -> Iterator[dg.RunRequest]:
    for pull in store.pulls.lapsed():
        record = _newest_run(instance, pull)
        status = None if record is None else record.dagster_run.status
        if status is DagsterRunStatus.CANCELED:
            store.pulls.end(pull, PullCancelled())
        elif pull.status is PullStatus.QUEUED and status is DagsterRunStatus.SUCCESS:
            store.pulls.end(pull, WrongStore())
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
                tags={PULL_TAG: str(pull.id), TRIGGER_TAG: "lost_pulls", **pull.extent.tags()},
            )


def _fail(instance: dg.DagsterInstance, run_id: str | None) -> None:
    run = None if run_id is None else instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, "The run's heartbeat has stopped: another run begins its pull again.")


def _newest_run(instance: dg.DagsterInstance, pull: Receipt) -> RunRecord | None:
    """The newest run that was started for a pull."""
    return next(iter(instance.get_run_records(RunsFilter(tags={PULL_TAG: str(pull.id)}), limit=1)), None)


def _on_its_way(record: RunRecord) -> bool:
    """Whether a run may still begin its pull. Dagster itself limits how long a start may take."""
    match record.dagster_run.status:
        case DagsterRunStatus.QUEUED:
            return True
        case DagsterRunStatus.NOT_STARTED | DagsterRunStatus.STARTING:
            return record.create_timestamp > _LOADED_AT
        case _:
            return False


def _settle(instance: dg.DagsterInstance, opened: Store) -> None:
    """End the runs that Dagster shows as running, though their pull is over, is another run's, or never began."""
    now = datetime.now(UTC)
    ours = {job_name(connector_type) for connector_type in connector_types()}
    for record in instance.get_run_records(RunsFilter(statuses=_GOING_ON)):
        run = record.dagster_run
        # The runs of a backfill have the tag, but are of no job of ours.
        if run.job_name not in ours and CONNECTOR_TAG not in run.tags:
            continue
        tenant = opened.tenants.of_run(run.run_id)
        pull = None if tenant is None else opened.of(tenant).pulls.of_run(run.run_id)
        if tenant is None or pull is None:
            patience = GRACE if PULL_TAG in run.tags else GRACE + timedelta(seconds=PULL_PATIENCE_SECONDS)
            if record.start_time is not None and record.start_time < (now - patience).timestamp():
                instance.report_run_failed(run, "The run's heartbeat has stopped, and its pull is no longer its own.")
        elif pull.finished_at is not None and pull.finished_at < now - GRACE:
            if pull.status is PullStatus.COMPLETED:
                _tell_completed(instance, opened.of(tenant), run, pull)
            elif pull.error_code == PullCancelled.code:
                instance.report_run_canceled(run, pull.error_detail)
            else:
                instance.report_run_failed(run, pull.error_detail)


def _settle_looks(instance: dg.DagsterInstance, opened: Store) -> None:
    """End the runs of looks that Dagster still shows as running when nobody can wait for their answer any more."""
    over = (datetime.now(UTC) - LIFETIME - GRACE).timestamp()
    for record in instance.get_run_records(RunsFilter(job_name=LOOK_JOB, statuses=_GOING_ON)):
        old = record.start_time is not None and record.start_time < over
        if old and not _has_draft(opened, record.dagster_run):
            instance.report_run_failed(record.dagster_run, "The run has gone on for longer than any draft is kept.")


def _has_draft(opened: Store, run: DagsterRun) -> bool:
    """Whether the draft is kept that a run answers. That of a dry run may be for longer than LIFETIME."""
    try:
        opened.tenants.of_draft(UUID(run.tags.get(DRAFT_TAG, "")))
    except (NotFound, ValueError):
        return False
    return True


def _tell_completed(instance: dg.DagsterInstance, store: Store, run: DagsterRun, pull: Receipt) -> None:
    """End a run as succeeded whose process died after its pull's commit, before it could say so."""
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
