"""Dagster keeps runs and their events for ever; each day this job deletes those that are old.

Kept are the last run of each connector, and its last that succeeded: the grid of partitions is made of them; and those
of a backfill that is not over, which knows by them which partitions failed.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._core.storage.tags import BACKFILL_ID_TAG, REPOSITORY_LABEL_TAG

from qanatix_pipelines.defs.backfills import unfinished
from qanatix_pipelines.naming import CODE_LOCATION, PARTITION_TAG, REPOSITORY, partitions_name
from qanatix_pipelines.settings import read_settings
from qanatix_pipelines.sources import connector_types

FINISHED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
OURS = {REPOSITORY_LABEL_TAG: f"{REPOSITORY}@{CODE_LOCATION}"}
# A run is deleted in some hundredths of a second. What is left after an hour is deleted on the next day.
LONGEST_SECONDS = 3600.0
_PAGE = 100


@dataclass
class Done:
    deleted: int = 0
    kept: int = 0


@dg.op(description="Deletes runs that ended more than QANATIX_RUN_RETENTION_DAYS ago.")
def delete_old_runs(context: dg.OpExecutionContext) -> None:
    days = read_settings().run_retention_days
    if days == 0:
        context.log.info("QANATIX_RUN_RETENTION_DAYS is 0: all runs are kept.")
        return
    done = delete_runs_before(context.instance, datetime.now(UTC) - timedelta(days=days))
    told = "%d runs deleted; %d that are as old are their connector's last, or of a backfill that is not over."
    context.log.info(told, done.deleted, done.kept)


@dg.job(
    executor_def=dg.in_process_executor,
    description=(
        "Deletes old runs and their events, but no connector's last run, none of a backfill that is not over, and none "
        "of other code locations."
    ),
)
def retention() -> None:
    delete_old_runs()


# Not on the hour, when much else begins.
retention_schedule = dg.ScheduleDefinition(
    job=retention, cron_schedule="17 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)


def delete_runs_before(
    instance: dg.DagsterInstance, before: datetime, longest_seconds: float = LONGEST_SECONDS
) -> Done:
    """Delete this code location's runs that ended before a time, the oldest first, for so many seconds at most."""
    deadline = time.monotonic() + longest_seconds
    partitions = {
        key
        for connector_type in connector_types()
        for key in instance.get_dynamic_partitions(partitions_name(connector_type))
    }
    backfills = {backfill.backfill_id for backfill in unfinished(instance)}
    done = Done()
    for record in _ended(instance, before):
        if time.monotonic() > deadline:
            break
        if record.dagster_run.tags.get(BACKFILL_ID_TAG) in backfills or _is_last(instance, record, partitions):
            done.kept += 1
        else:
            _delete(instance, record.dagster_run.run_id)
            done.deleted += 1
    return done


def _ended(instance: dg.DagsterInstance, before: datetime) -> Iterator[RunRecord]:
    """Page by page, while those that were given are deleted."""
    wanted = RunsFilter(statuses=FINISHED, tags=OURS, updated_before=before)
    cursor = None
    while page := instance.get_run_records(wanted, limit=_PAGE, cursor=cursor, ascending=True):
        yield from page
        # A page begins after a run that is still there.
        kept = instance.get_runs(RunsFilter(run_ids=[record.dagster_run.run_id for record in page]), ascending=True)
        cursor = kept[-1].run_id if kept else cursor


def _is_last(instance: dg.DagsterInstance, record: RunRecord, partitions: set[str]) -> bool:
    """Whether the grid shows this run: the last of its connector, or the last that succeeded."""
    run = record.dagster_run
    partition = run.tags.get(PARTITION_TAG)
    if partition not in partitions:  # no connector's, or that of one that was deleted
        return False
    statuses = [DagsterRunStatus.SUCCESS] if run.is_success else None
    newer = RunsFilter(tags={PARTITION_TAG: partition}, statuses=statuses, created_after=record.create_timestamp)
    return not instance.get_run_records(newer, limit=1)


def _delete(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.delete_run(run_id)
    events = instance.event_log_storage
    if isinstance(events, SqliteEventLogStorage):  # it empties the run's own file, and leaves that
        for end in ("", "-wal", "-shm"):
            Path(events.path_for_shard(run_id) + end).unlink(missing_ok=True)
