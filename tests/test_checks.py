"""The checks of all connectors of a type, and the receipts of runs that failed before their pull."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.defs import checks, failures, resources
from qanatix_pipelines.defs.build import with_entity_sets
from qanatix_pipelines.errors import PullInProgress
from qanatix_pipelines.health import Health
from qanatix_pipelines.naming import PARTITION_TAG, PULL_TAG
from qanatix_pipelines.receipts import PullStatus
from qanatix_pipelines.row_keys import PullWarning, WarningCode
from qanatix_pipelines.settings import Settings, read_settings
from qanatix_pipelines.sources import connector_types
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store, open_store
from qanatix_pipelines.tenants import DEFAULT, Tenant
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.test_health import columns
from tests.test_store import NEW, READ_AT

pytestmark = pytest.mark.slow

AT = datetime(2026, 3, 7, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
JOB = "pull_postgresql"
NO_KEY = PullWarning(code=WarningCode.NO_KEY, detail="There is none.")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("QANATIX_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", ENCRYPTION_KEY)
    opened = open_store(Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER))
    yield opened
    opened.engine.dispose()
    resources.close_stores()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


def health(name: str, **facts: Any) -> Health:
    given = {
        "connector_id": UUID(int=1),
        "tenant": DEFAULT,
        "partition_key": f"{name.lower()}-1",
        "name": name,
        "created_at": AT - 100 * HOUR,
        "completed_at": AT - HOUR,
        "emptied_at": None,
        "columns": (("id", "int8"),),
        "before": None,
        "changed_at": None,
    }
    return Health(**(given | facts))


def found(*connectors: Health) -> dict[str, list[tuple[str, str]]]:
    """Who is amiss by each check, and why."""
    return {
        finding.check: [(name, why) for _, name, why in finding.amiss]
        for finding in checks.findings(connectors, "postgresql", AT, 24 * HOUR)
    }


def test_connectors_that_are_well_pass_all_checks() -> None:
    assert found(health("Shop"), health("Ledger")) == {
        "fresh": [],
        "not_empty": [],
        "same_columns": [],
        "none_rejected": [],
        "sound_keys": [],
    }


def test_a_connector_that_is_amiss_is_named_beside_those_that_are_well() -> None:
    amiss = found(
        health("Shop"),
        health("Old", completed_at=AT - 25 * HOUR),
        health("Never", completed_at=None),
        health("Empty", emptied_at=AT),
        health("Changed", before=(("id", "int4"),), changed_at=AT - HOUR),
        health("Rejects", rejected={"row_too_large": 1, "name_missing": 1200}, rejected_at=AT - HOUR),
        health("Keyless", warnings=(NO_KEY, NO_KEY), warned_at=AT - HOUR),
        health("Keyed", warnings=(NO_KEY,), warned_at=AT - 25 * HOUR),
        health("Rejected", rejected={"name_missing": 1}, rejected_at=AT - 25 * HOUR),
    )

    assert amiss == {
        "fresh": [
            ("Old", "the last pull completed at 2026-03-06 11:00 UTC"),
            ("Never", "no pull has ever completed"),
        ],
        "not_empty": [("Empty", "the pull of 2026-03-07 12:00 UTC found no row")],
        "same_columns": [("Changed", "id was int4 and is int8")],
        "none_rejected": [("Rejects", "1,201 rejected: 1,200 name_missing, 1 row_too_large")],
        "sound_keys": [("Keyless", "There is none. There is none.")],
    }


def test_what_is_amiss_warns_and_fails_nothing() -> None:
    finding = next(checks.findings([health("Old", completed_at=None)], "postgresql", AT, HOUR))

    told = finding.fields
    assert (told["passed"], told["severity"]) == (False, dg.AssetCheckSeverity.WARN)
    assert told["description"] == "1 of 1 connectors"
    assert [record.data["partition"] for record in told["metadata"]["which"].records] == ["old-1"]


def test_of_very_many_fifty_are_named_and_all_are_counted() -> None:
    many = [health(f"Old{number}", completed_at=None) for number in range(200)]

    told = next(checks.findings(many, "postgresql", AT, HOUR)).fields["metadata"]

    assert (len(told["which"].records), told["amiss"]) == (50, 200)


class TestSensor:
    @pytest.fixture
    def tick(self, store: Store, instance: dg.DagsterInstance) -> Callable[[], list[tuple[str, bool]]]:  # noqa: ARG002
        sensor = with_entity_sets(read_settings(), []).resolve_sensor_def("connector_health")
        cursor: list[str | None] = [None]

        def evaluate() -> list[tuple[str, bool]]:
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor[0], resources={resources.STORE: resources.StoreResource()}
            )
            result: Any = sensor(context)
            cursor[0] = result.cursor
            return [(event.check_name, event.passed) for event in result.asset_events]

        return evaluate

    def test_it_tells_each_check_once_and_then_what_changed(
        self, store: Store, connector: Connector, tick: Callable[[], list[tuple[str, bool]]]
    ) -> None:
        first = tick()
        unchanged = tick()
        for types in ({"id": "int4"}, {"id": "int8"}):
            pull = Ingestion(store.engine, connector, store.pulls.begin(connector, "run"))
            pull.commit(None, READ_AT, 0, columns(**types))
        changed = tick()

        assert {name for name, _ in first} == {spec.name for spec in checks.connector_checks.check_specs}
        assert all(passed for _, passed in first)
        assert unchanged == []
        assert changed == [("same_columns_postgresql", False)]


@pytest.mark.slow
def test_the_checks_can_be_run_from_dagsters_page(
    store: Store,
    connector: Connector,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    acme = store.of(Tenant("acme")).connectors.add(NEW)
    pull = Ingestion(store.engine, acme, store.of(Tenant("acme")).pulls.begin(acme, "run"))
    pull.commit(None, READ_AT, 0)

    selection = dg.AssetSelection.checks(checks.connector_checks)
    job = dg.define_asset_job("check", selection, executor_def=dg.in_process_executor)
    definitions = dg.Definitions(
        assets=[checks.health_asset("team:tests")],
        asset_checks=[checks.connector_checks],
        jobs=[job],
        resources={resources.STORE: resources.StoreResource()},
    )
    result = definitions.resolve_job_def("check").execute_in_process(instance=instance)

    evaluations = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert len(evaluations) == 5 * len(connector_types())
    assert evaluations["fresh_postgresql"].passed
    assert evaluations["fresh_postgresql"].metadata["connectors"].value == 2


class TestFailedRuns:
    @pytest.fixture
    def fail(self, store: Store, instance: dg.DagsterInstance) -> Callable[..., str]:  # noqa: ARG002
        """A run that fails with these tags, and what the sensor does about it."""
        job = with_entity_sets(read_settings(), []).resolve_job_def(JOB)

        def failed(tags: dict[str, str], before: Callable[[str], None] = lambda _run_id: None) -> str:
            run = instance.create_run_for_job(job, run_id=str(uuid4()), tags=tags)
            before(run.run_id)
            event = DagsterEvent(DagsterEventType.PIPELINE_FAILURE.value, job_name=JOB)
            instance.report_dagster_event(event, run_id=run.run_id)
            context = dg.build_run_status_sensor_context(
                "failed_runs",
                event,
                instance,
                run,
                resources={resources.STORE: resources.StoreResource()},
            ).for_run_failure()
            failures.failed_runs(context)
            return run.run_id

        return failed

    def test_a_run_that_failed_before_its_pull_has_a_receipt(
        self, store: Store, connector: Connector, fail: Callable[..., str]
    ) -> None:
        run_id = fail({PARTITION_TAG: connector.partition_key})

        receipt = store.pulls.of_run(run_id)
        assert receipt is not None
        assert (receipt.connector_id, receipt.status, receipt.error_code) == (
            connector.id,
            PullStatus.FAILED,
            "pull_not_begun",
        )
        assert store.connectors.last_pulls()[connector.id].status is PullStatus.FAILED

    def test_a_run_that_has_a_receipt_keeps_it(
        self, store: Store, connector: Connector, fail: Callable[..., str]
    ) -> None:
        run_id = fail(
            {PARTITION_TAG: connector.partition_key}, lambda run_id: store.pulls.end(*_failed(store, connector, run_id))
        )

        receipt = store.pulls.of_run(run_id)
        assert receipt is not None
        assert receipt.error_code == "pull_in_progress"

    def test_a_run_of_a_queued_pull_is_left_to_the_sensor_of_lost_pulls(
        self, store: Store, connector: Connector, fail: Callable[..., str]
    ) -> None:
        queued, _ = store.pulls.queue(connector.id)
        run_id = fail({PARTITION_TAG: connector.partition_key, PULL_TAG: str(queued.id)})

        assert store.pulls.of_run(run_id) is None
        assert store.pulls.get(queued.id).status is PullStatus.QUEUED

    def test_a_run_of_nobodys_partition_is_nobodys(self, store: Store, fail: Callable[..., str]) -> None:
        assert store.pulls.of_run(fail({PARTITION_TAG: "2026-01-01"})) is None
        assert store.pulls.of_run(fail({})) is None


def _failed(store: Store, connector: Connector, run_id: str) -> tuple[Any, PullInProgress]:
    """A receipt of the run's, and an error that nothing else would write."""
    return store.pulls.begin(connector, run_id), PullInProgress(uuid4())
