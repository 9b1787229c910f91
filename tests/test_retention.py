"""Which runs are deleted from Dagster, on an instance of its own with its files."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterEvent, DagsterEventType, DagsterRunStatus
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.tags import BACKFILL_ID_TAG, REPOSITORY_LABEL_TAG

from qanatix_pipelines.defs import retention
from qanatix_pipelines.launcher.storage import KeptSqliteStorage
from qanatix_pipelines.naming import LOOK_JOB, PARTITION_TAG

pytestmark = pytest.mark.slow

NOW = datetime.now(UTC)
OLD = timedelta(days=40)
BEFORE = NOW - timedelta(days=30)
ENDS = {
    DagsterRunStatus.SUCCESS: DagsterEventType.PIPELINE_SUCCESS,
    DagsterRunStatus.FAILURE: DagsterEventType.PIPELINE_FAILURE,
    DagsterRunStatus.CANCELED: DagsterEventType.PIPELINE_CANCELED,
    DagsterRunStatus.STARTED: DagsterEventType.PIPELINE_START,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def kept_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """To make one takes seconds. Its storage is ours, which writes an event in a fraction of the time of Dagster's."""
    storage = {"module": KeptSqliteStorage.__module__, "class": KeptSqliteStorage.__name__}
    ours = {"storage": {"custom": {**storage, "config": {"base_dir": str(home)}}}}
    with dg.DagsterInstance.local_temp(str(home), overrides=ours) as made:
        made.add_dynamic_partitions("connectors_postgresql", ["shop-1", "shop-2"])
        yield made


@pytest.fixture
def instance(kept_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    for one in kept_instance.get_runs():
        kept_instance.delete_run(one.run_id)
    return kept_instance


@dg.op
def nothing() -> None: ...


@dg.job
def some() -> None:
    nothing()


@dg.job(name=LOOK_JOB)
def looking() -> None:
    nothing()


def run(
    instance: dg.DagsterInstance,
    age: timedelta,
    partition: str | None = "shop-1",
    status: DagsterRunStatus = DagsterRunStatus.SUCCESS,
    location: str = "qanatix",
    backfill: str | None = None,
    job: dg.JobDefinition = some,
) -> str:
    """A run that ended so long ago, in the order in which this is called."""
    tags = {REPOSITORY_LABEL_TAG: f"__repository__@{location}"}
    if partition is not None:
        tags[PARTITION_TAG] = partition
    if backfill is not None:
        tags[BACKFILL_ID_TAG] = backfill
    run_id = instance.create_run_for_job(job, run_id=str(uuid4()), tags=tags).run_id
    instance.report_dagster_event(DagsterEvent(ENDS[status].value, job_name=job.name), run_id=run_id)
    at = (NOW - age).replace(tzinfo=None)
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        connection.execute(
            sa.update(RunsTable).where(RunsTable.c.run_id == run_id).values(create_timestamp=at, update_timestamp=at)
        )
    return run_id


def left(instance: dg.DagsterInstance) -> list[str]:
    return [one.run_id for one in instance.get_runs(ascending=True)]


def test_of_a_connectors_old_runs_the_last_stays(instance: dg.DagsterInstance) -> None:
    *_, last = [run(instance, OLD - timedelta(days=day)) for day in range(3)]

    done = retention.delete_runs_before(instance, BEFORE)

    assert (done.deleted, done.kept) == (2, 1)
    assert left(instance) == [last]


def test_the_last_that_succeeded_stays_beside_the_last_that_failed(instance: dg.DagsterInstance) -> None:
    run(instance, OLD)
    succeeded = run(instance, OLD - timedelta(days=1))
    run(instance, OLD - timedelta(days=2), status=DagsterRunStatus.FAILURE)
    failed = run(instance, OLD - timedelta(days=3), status=DagsterRunStatus.FAILURE)

    retention.delete_runs_before(instance, BEFORE)

    assert left(instance) == [succeeded, failed]


def test_an_old_run_with_a_newer_one_goes_and_a_new_one_stays(instance: dg.DagsterInstance) -> None:
    run(instance, OLD)
    new = run(instance, timedelta(days=1))

    retention.delete_runs_before(instance, BEFORE)

    assert left(instance) == [new]


def test_connectors_do_not_count_for_one_another(instance: dg.DagsterInstance) -> None:
    kept = [run(instance, OLD, "shop-1"), run(instance, timedelta(days=1), "shop-2")]

    retention.delete_runs_before(instance, BEFORE)

    assert left(instance) == kept


@pytest.mark.parametrize(("status", "kept"), [("REQUESTED", True), ("COMPLETED_SUCCESS", False)])
def test_a_run_stays_until_its_backfill_is_over(instance: dg.DagsterInstance, status: str, *, kept: bool) -> None:
    backfill = str(uuid4())
    instance.add_backfill(
        PartitionBackfill(
            backfill,
            BulkActionStatus(status),
            from_failure=False,
            tags={},
            backfill_timestamp=0.0,
            partition_names=["shop-1"],
        )
    )
    old = run(instance, OLD, status=DagsterRunStatus.FAILURE, backfill=backfill)
    new = run(instance, timedelta(days=1))

    retention.delete_runs_before(instance, BEFORE)

    assert left(instance) == ([old, new] if kept else [new])


def test_a_deleted_connectors_runs_go_all(instance: dg.DagsterInstance) -> None:
    run(instance, OLD, "deleted-3")

    retention.delete_runs_before(instance, BEFORE)

    assert left(instance) == []


def test_a_run_that_has_not_ended_stays(instance: dg.DagsterInstance) -> None:
    started = run(instance, OLD, status=DagsterRunStatus.STARTED)
    new = run(instance, timedelta(days=1))

    retention.delete_runs_before(instance, BEFORE)

    assert left(instance) == [started, new]


def test_runs_of_other_code_locations_stay(instance: dg.DagsterInstance) -> None:
    theirs = run(instance, OLD, None, location="downstream")
    run(instance, OLD, None)

    retention.delete_runs_before(instance, BEFORE)

    assert left(instance) == [theirs]


@pytest.mark.slow
def test_all_pages_are_gone_through(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_PAGE", 2)
    runs = [run(instance, OLD - timedelta(hours=number), f"shop-{1 + number % 2}") for number in range(9)]

    done = retention.delete_runs_before(instance, BEFORE)

    assert (done.deleted, done.kept) == (7, 2)
    assert left(instance) == runs[-2:]


def test_what_does_not_fit_into_the_time_is_left(instance: dg.DagsterInstance) -> None:
    run(instance, OLD, None)

    assert retention.delete_runs_before(instance, BEFORE, longest_seconds=-1).deleted == 0
    assert len(left(instance)) == 1


def test_a_deleted_runs_events_and_file_are_gone(instance: dg.DagsterInstance, home: Path) -> None:
    gone = run(instance, OLD, None)
    kept = run(instance, timedelta(days=1), None)

    retention.delete_runs_before(instance, BEFORE)

    files = {file.name for file in home.rglob("*.db*") if file.name.startswith((gone, kept))}
    assert {name.split(".")[0] for name in files} == {kept}
    assert list(instance.all_logs(kept)) != []


@pytest.mark.parametrize(("days", "runs"), [("0", 1), ("30", 0), ("50", 1)])
def test_the_job_keeps_runs_for_as_many_days_as_the_operator_says(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, days: str, runs: int
) -> None:
    monkeypatch.setenv("QANATIX_RUN_RETENTION_DAYS", days)
    old = run(instance, OLD, None)

    done = retention.retention.execute_in_process(instance=instance)

    assert done.success
    assert (old in left(instance)) == bool(runs)


@pytest.mark.parametrize("days", ["0", "30"])
def test_the_job_keeps_tests_and_dry_runs_for_a_day(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, days: str
) -> None:
    monkeypatch.setenv("QANATIX_RUN_RETENTION_DAYS", days)
    day = timedelta(days=1)
    gone = run(instance, day + timedelta(hours=1), None, job=looking)
    kept = [
        run(instance, timedelta(hours=23), None, job=looking),
        run(instance, day + timedelta(hours=1), None, job=looking, location="another"),
        run(instance, day + timedelta(hours=1), None, DagsterRunStatus.STARTED, job=looking),
        run(instance, day + timedelta(hours=1), None),
    ]

    assert retention.retention.execute_in_process(instance=instance).success

    assert gone not in left(instance)
    assert set(kept) <= set(left(instance))
