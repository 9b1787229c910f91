"""The daily job that deletes old runs and their events, which Dagster would keep for ever.

It keeps each connector's last run and its last successful one, for the grid of partitions is made of them. It keeps the
runs of an unfinished backfill, by which the backfill knows the partitions that failed. Tests and dry runs are kept for
a day: they have changed nothing.
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
from qanatix_pipelines.naming import CODE_LOCATION, LOOK_JOB, PARTITION_TAG, REPOSITORY, partitions_name
from qanatix_pipelines.settings import read_settings
from qanatix_pipelines.sources import connector_types

FINISHED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
# To delete a run takes some hundredths of a second. What is left after an hour is deleted on the next day.
LONGEST_SECONDS = 3600.0
LOOKS_KEPT = timedelta(days=1)
_PAGE = 100


@dataclass
class Done:
    deleted: int = 0
    kept: int = 0


@dg.op(description="Deletes runs that ended more than QANATIX_RUN_RETENTION_DAYS ago.")
def delete_old_runs(context: dg.OpExecutionContext) -> None:
    settings = read_settings()
    days = settings.run_retention_days
    looks = delete_looks_before(context.instance, datetime.now(UTC) - LOOKS_KEPT, code_location=settings.code_location)
    context.log.info("%d runs of tests and dry runs deleted.", looks)
    if days == 0:
        context.log.info("QANATIX_RUN_RETENTION_DAYS is 0: all runs are kept.")
        return
    before = datetime.now(UTC) - timedelta(days=days)
    done = delete_runs_before(context.instance, before, code_location=settings.code_location)
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


# Off the hour, when many other jobs begin.
retention_schedule = dg.ScheduleDefinition(
    job=retention, cron_schedule="17 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)


def delete_looks_before(
    instance: dg.DagsterInstance,
    before: datetime,
    longest_seconds: float = LONGEST_SECONDS,
    code_location: str = CODE_LOCATION,
) -> int:
    """Delete the runs of tests and dry runs that ended before `before`. Returns how many."""
    deadline = time.monotonic() + longest_seconds
    deleted = 0
    for record in _ended(instance, before, code_location, LOOK_JOB):
        if time.monotonic() > deadline:
            break
        _delete(instance, record.dagster_run.run_id)
        deleted += 1
    return deleted


def delete_runs_before(
    instance: dg.DagsterInstance,
    before: datetime,
    longest_seconds: float = LONGEST_SECONDS,
    code_location: str = CODE_LOCATION,
) -> Done:
    """Delete a code location's runs that ended before `before`, the oldest first, for `longest_seconds` at most."""
    deadline = time.monotonic() + longest_seconds
    partitions = {
        key
        for connector_type in connector_types()
        for key in instance.get_dynamic_partitions(partitions_name(connector_type))
    }
    backfills = {backfill.backfill_id for backfill in unfinished(instance)}
    done = Done()
    for record in _ended(instance, before, code_location):
        if time.monotonic() > deadline:
            break
        if record.dagster_run.tags.get(BACKFILL_ID_TAG) in backfills or _is_last(instance, record, partitions):
            done.kept += 1
        else:
            _delete(instance, record.dagster_run.run_id)
            done.deleted += 1
    return done


def _ended(
    instance: dg.DagsterInstance, before: datetime, code_location: str, job_name: str | None = None
) -> Iterator[RunRecord]:
    """The runs to look at, page by page. The caller deletes them meanwhile."""
    ours = {REPOSITORY_LABEL_TAG: f"{REPOSITORY}@{code_location}"}
    wanted = RunsFilter(job_name=job_name, statuses=FINISHED, tags=ours, updated_before=before)
    cursor = None
    while page := instance.get_run_records(wanted, limit=_PAGE, cursor=cursor, ascending=True):
        yield from page
        # The next page begins after the last run that still exists.
        kept = instance.get_runs(RunsFilter(run_ids=[record.dagster_run.run_id for record in page]), ascending=True)
        cursor = kept[-1].run_id if kept else cursor


def _is_last(instance: dg.DagsterInstance, record: RunRecord, partitions: set[str]) -> bool:
    """Whether the grid shows this run: the last of its connector, or the last that succeeded."""
    run = record.dagster_run
    partition = run.tags.get(PARTITION_TAG)
    if partition not in partitions:  # of no connector, or of a deleted one
        return False
    statuses = [DagsterRunStatus.SUCCESS] if run.is_success else None
    newer = RunsFilter(tags={PARTITION_TAG: partition}, statuses=statuses, created_after=record.create_timestamp)
    return not instance.get_run_records(newer, limit=1)


def _delete(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.delete_run(run_id)
    events = instance.event_log_storage
    if isinstance(events, SqliteEventLogStorage):  # it empties the run's own file and leaves the file there
        for end in ("", "-wal", "-shm"):
            Path(events.path_for_shard(run_id) + end).unlink(missing_ok=True)
