"""The sensor that begins lost pulls again, against a real store and an instance of Dagster's in memory."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterRunStatus

from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.defs import lost_pulls, resources
from qanatix_pipelines.extents import Extent
from qanatix_pipelines.naming import CONNECTOR_TAG, DRAFT_TAG, LOOK_JOB, PULL_TAG
from qanatix_pipelines.receipts import PullStatus
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store, open_store
from qanatix_pipelines.tenants import Tenant
from tests.conftest import ENCRYPTION_KEY, PEPPER

pytestmark = pytest.mark.slow

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
JOB = "pull_postgresql"


@pytest.fixture
def store(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("QANATIX_DATA_DIR", str(data_dir))
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", ENCRYPTION_KEY)
    opened = open_store(Settings(data_dir=data_dir, encryption_key=ENCRYPTION_KEY, pepper=PEPPER))
    yield opened
    opened.engine.dispose()
    resources.close_stores()


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(
        NewConnector(
            name="Products",
            connector_type="postgresql",
            vertical="manufacturing",
            entity_type="product",
            connection_config={"dsn": "postgresql://reader:hunter2@db/shop"},
            query="SELECT 1",
        )
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def tick(store: Store, instance: dg.DagsterInstance) -> Callable[[], list[dg.RunRequest]]:  # noqa: ARG001
    """Evaluate the sensor once; what it asks to be run."""
    from qanatix_pipelines.definitions import defs

    def evaluate() -> list[dg.RunRequest]:
        context = dg.build_sensor_context(
            instance=instance, definitions=defs, resources={resources.STORE: resources.StoreResource()}
        )
        result: Any = defs.resolve_sensor_def("lost_pulls")(context)
        return list(result.run_requests)

    return evaluate


@pytest.fixture
def start_run(instance: dg.DagsterInstance) -> Callable[..., str]:
    """A run that Dagster shows in a status, and whose process is not there."""
    from qanatix_pipelines.definitions import defs

    def started(status: DagsterRunStatus = DagsterRunStatus.STARTED, job_name: str = JOB, **tags: str) -> str:
        job = defs.resolve_job_def(job_name)
        run = instance.create_run_for_job(job, run_id=str(uuid4()), tags=tags)
        if status is not DagsterRunStatus.NOT_STARTED:
            event = {
                DagsterRunStatus.STARTING: DagsterEventType.PIPELINE_STARTING,
                DagsterRunStatus.STARTED: DagsterEventType.PIPELINE_START,
            }[status]
            instance.report_dagster_event(dg.DagsterEvent(event.value, job_name=job_name), run_id=run.run_id)
        return run.run_id

    return started


def test_a_pull_that_gives_signs_of_life_is_left_alone(
    store: Store, connector: Connector, tick: Callable[[], list[dg.RunRequest]], start_run: Callable[..., str]
) -> None:
    receipt = store.pulls.begin(connector, start_run())

    assert tick() == []
    assert store.pulls.get(receipt.id).status is PullStatus.RUNNING


def test_another_tenants_pulls_are_looked_after_too(
    store: Store,
    connector: Connector,
    instance: dg.DagsterInstance,
    tick: Callable[[], list[dg.RunRequest]],
    start_run: Callable[..., str],
) -> None:
    acme = store.of(Tenant("acme"))
    same = connector.model_dump(include=NewConnector.model_fields.keys())
    lost, done = (acme.connectors.add(NewConnector(**same, connection_config={})) for _ in range(2))
    run_id = start_run()
    completed = Ingestion(store.engine, done, acme.pulls.begin(done, run_id)).commit(None, datetime.now(UTC), 0)
    _end_long_ago(store)
    begun = acme.pulls.begin(lost, start_run())
    _expire(store)

    (request,) = tick()

    assert (request.partition_key, acme.pulls.get(begun.id).attempt) == (lost.partition_key, 2)
    assert _status(instance, run_id) is DagsterRunStatus.SUCCESS
    assert _told(instance) == str(completed.id)


def test_a_lost_pull_is_begun_again_by_a_run_of_its_own(
    store: Store, connector: Connector, tick: Callable[[], list[dg.RunRequest]], start_run: Callable[..., str]
) -> None:
    receipt = store.pulls.begin(connector, start_run())
    _expire(store)

    (request,) = tick()

    assert (request.job_name, request.partition_key) == (JOB, connector.partition_key)
    assert request.tags[PULL_TAG] == str(receipt.id)
    assert store.pulls.get(receipt.id).attempt == 2
    assert tick() == []


def test_a_lost_pull_of_a_part_is_begun_again_as_one(
    store: Store, connector: Connector, tick: Callable[[], list[dg.RunRequest]], start_run: Callable[..., str]
) -> None:
    receipt = store.pulls.begin(connector, start_run(), Extent(limit=5))
    _expire(store)

    (request,) = tick()

    assert request.tags["qanatix/limit"] == "5"
    assert store.pulls.get(receipt.id).extent == Extent(limit=5)


def test_the_run_of_a_lost_pull_is_failed(
    store: Store,
    connector: Connector,
    instance: dg.DagsterInstance,
    tick: Callable[[], list[dg.RunRequest]],
    start_run: Callable[..., str],
) -> None:
    run_id = start_run()
    store.pulls.begin(connector, run_id)
    _expire(store)

    tick()

    assert _status(instance, run_id) is DagsterRunStatus.FAILURE


@pytest.mark.parametrize(("minutes", "status"), [(9, DagsterRunStatus.STARTED), (12, DagsterRunStatus.FAILURE)])
def test_the_run_of_a_test_is_failed_once_its_draft_is_over_for_long(
    instance: dg.DagsterInstance,
    tick: Callable[[], list[dg.RunRequest]],
    start_run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    status: DagsterRunStatus,
) -> None:
    run_id = start_run(job_name=LOOK_JOB)
    later = datetime.now(UTC) + timedelta(minutes=minutes)
    monkeypatch.setattr(lost_pulls, "datetime", type("Later", (datetime,), {"now": lambda _zone: later}))

    tick()

    assert _status(instance, run_id) is status


@pytest.mark.parametrize(("kept", "status"), [(True, DagsterRunStatus.STARTED), (False, DagsterRunStatus.FAILURE)])
def test_the_run_of_a_dry_run_may_go_on_as_long_as_its_draft_is_kept(
    store: Store,
    instance: dg.DagsterInstance,
    tick: Callable[[], list[dg.RunRequest]],
    start_run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    kept: bool,
    status: DagsterRunStatus,
) -> None:
    draft_id = store.of(Tenant("acme")).drafts.add("dry_run", {}, lifetime=timedelta(hours=2))
    run_id = start_run(job_name=LOOK_JOB, **{DRAFT_TAG: str(draft_id)})
    if not kept:
        store.of(Tenant("acme")).drafts.drop(draft_id)
    later = datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr(lost_pulls, "datetime", type("Later", (datetime,), {"now": lambda _zone: later}))

    tick()

    assert _status(instance, run_id) is status


def test_drafts_that_nobody_collected_are_deleted(store: Store, tick: Callable[[], list[dg.RunRequest]]) -> None:
    store.of(Tenant("acme")).drafts.add("test", {})
    with store.engine.begin() as transaction:
        transaction.execute(tables.draft.update().values(expires_at=LONG_AGO))

    tick()

    with store.engine.connect() as connection:
        assert connection.execute(tables.draft.select()).first() is None


def test_a_pull_that_was_begun_three_times_is_lost(
    store: Store, connector: Connector, tick: Callable[[], list[dg.RunRequest]]
) -> None:
    receipt, _ = store.pulls.queue(connector.id)
    asked = []
    for _ in range(3):
        _expire(store)
        asked.append(len(tick()))

    assert asked == [1, 1, 0]
    assert store.pulls.get(receipt.id).error_code == "pull_lost"


def test_a_queued_pull_whose_run_is_being_started_waits_for_it(
    store: Store, connector: Connector, tick: Callable[[], list[dg.RunRequest]], start_run: Callable[..., str]
) -> None:
    receipt, _ = store.pulls.queue(connector.id)
    start_run(DagsterRunStatus.STARTING, **{PULL_TAG: str(receipt.id)})
    _expire(store)

    assert tick() == []
    assert store.pulls.get(receipt.id).lease_until > datetime.now(UTC)


def test_a_pull_whose_run_was_cancelled_is_cancelled(
    store: Store,
    connector: Connector,
    instance: dg.DagsterInstance,
    tick: Callable[[], list[dg.RunRequest]],
    start_run: Callable[..., str],
) -> None:
    receipt, _ = store.pulls.queue(connector.id)
    run = instance.get_run_by_id(start_run(DagsterRunStatus.STARTING, **{PULL_TAG: str(receipt.id)}))
    assert run is not None
    instance.report_run_canceled(run)
    _expire(store)

    assert tick() == []
    assert store.pulls.get(receipt.id).status is PullStatus.CANCELLED


def test_a_pull_whose_run_succeeded_without_beginning_it_is_told_to_use_another_store(
    store: Store,
    connector: Connector,
    instance: dg.DagsterInstance,
    tick: Callable[[], list[dg.RunRequest]],
    start_run: Callable[..., str],
) -> None:
    receipt, _ = store.pulls.queue(connector.id)
    run_id = start_run(DagsterRunStatus.STARTED, **{PULL_TAG: str(receipt.id)})
    success = dg.DagsterEvent(DagsterEventType.PIPELINE_SUCCESS.value, job_name=JOB)
    instance.report_dagster_event(success, run_id=run_id)
    _expire(store)

    assert tick() == []
    assert store.pulls.get(receipt.id).error_code == "wrong_store"


def test_a_run_that_another_code_server_was_starting_is_not_waited_for(
    store: Store,
    connector: Connector,
    tick: Callable[[], list[dg.RunRequest]],
    start_run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receipt, _ = store.pulls.queue(connector.id)
    start_run(DagsterRunStatus.STARTING, **{PULL_TAG: str(receipt.id)})
    _expire(store)
    monkeypatch.setattr(lost_pulls, "_LOADED_AT", datetime.now(UTC) + timedelta(seconds=1))

    assert len(tick()) == 1


@pytest.mark.parametrize("job_name", [JOB, "__ASSET_JOB"], ids=["ours", "backfill"])
def test_a_run_that_died_after_its_pull_completed_is_a_success_and_told(
    store: Store,
    connector: Connector,
    instance: dg.DagsterInstance,
    tick: Callable[[], list[dg.RunRequest]],
    start_run: Callable[..., str],
    job_name: str,
) -> None:
    run_id = start_run(DagsterRunStatus.STARTED, job_name, **{CONNECTOR_TAG: connector.partition_key})
    receipt = store.pulls.begin(connector, run_id)
    Ingestion(store.engine, connector, receipt).commit(None, datetime.now(UTC), 0)
    tick()
    assert _status(instance, run_id) is DagsterRunStatus.STARTED  # it may yet say so itself

    _end_long_ago(store)
    tick()

    assert _status(instance, run_id) is DagsterRunStatus.SUCCESS
    assert _told(instance) == str(receipt.id)


def test_a_run_that_died_after_its_pull_failed_is_failed(
    store: Store,
    connector: Connector,
    instance: dg.DagsterInstance,
    tick: Callable[[], list[dg.RunRequest]],
    start_run: Callable[..., str],
) -> None:
    run_id = start_run()
    store.pulls.begin(connector, run_id)
    store.connectors.remove(connector.id)
    _end_long_ago(store)

    tick()

    assert _status(instance, run_id) is DagsterRunStatus.FAILURE


@pytest.mark.parametrize("asked", [True, False])
def test_a_run_that_died_before_it_was_cancelled_has_been_cancelled(
    store: Store,
    connector: Connector,
    instance: dg.DagsterInstance,
    tick: Callable[[], list[dg.RunRequest]],
    start_run: Callable[..., str],
    asked: bool,
) -> None:
    """Whether Dagster was asked to stop it, or was away."""
    run_id = start_run()
    receipt = store.pulls.begin(connector, run_id)
    store.pulls.cancel(receipt.id)
    if asked:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        instance.report_run_canceling(run)
    tick()
    assert _status(instance, run_id) in (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)  # it may yet end itself

    _end_long_ago(store)
    tick()

    assert _status(instance, run_id) is DagsterRunStatus.CANCELED


def _status(instance: dg.DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def _told(instance: dg.DagsterInstance) -> object:
    """The pull that was told last to be materialized."""
    event = instance.get_latest_materialization_event(dg.AssetKey(["connectors", "postgresql"]))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization.metadata["pull_id"].value


def _expire(store: Store) -> None:
    with store.engine.begin() as transaction:
        transaction.execute(tables.pull.update().values(lease_until=LONG_AGO))


def _end_long_ago(store: Store) -> None:
    with store.engine.begin() as transaction:
        transaction.execute(tables.pull.update().values(finished_at=LONG_AGO))
