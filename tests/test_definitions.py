"""What Dagster sees, and what a materialization does, in process."""

import importlib
import logging
import os
import re
import subprocess
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa
import yaml
from dagster import DagsterExecutionInterruptedError
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.defs import resources, sensors
from qanatix_pipelines.defs.assets import partitions_of
from qanatix_pipelines.defs.build import with_entity_sets
from qanatix_pipelines.defs.checks import HEALTH
from qanatix_pipelines.defs.entity_sets import known_entity_sets
from qanatix_pipelines.defs.opening import open_store
from qanatix_pipelines.naming import CODE_LOCATION, PARTITION_TAG, PULL_TAG
from qanatix_pipelines.settings import Settings, new_fernet_key, read_settings
from qanatix_pipelines.store.entity_sets import EntitySet
from qanatix_pipelines.store.history import WantedPulls
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tenants import DEFAULT, Tenant
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.servers import Server, free_port
from tests.sources.harness import Harness
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.stack import ROOT


@pytest.fixture
def settings(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The process's environment names a SQLite store of the test's own."""
    monkeypatch.setenv("QANATIX_DATA_DIR", str(data_dir))
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", ENCRYPTION_KEY)
    monkeypatch.setenv("QANATIX_API_KEY_PEPPER", PEPPER)
    yield Settings(data_dir=data_dir, encryption_key=ENCRYPTION_KEY, pepper=PEPPER)
    resources.close_stores()


@pytest.fixture
def definitions(settings: Settings) -> dg.Definitions:  # noqa: ARG001  # it sets the environment
    return with_entity_sets(read_settings(), [])


@pytest.fixture
def code_location(
    settings: Settings,  # noqa: ARG001  # it sets the environment
    monkeypatch: pytest.MonkeyPatch,
) -> dg.Definitions:
    """All of ours, which another project does not have."""
    # It is loaded anew: another test of this process may have loaded it over a store of its own.
    monkeypatch.delitem(sys.modules, "qanatix_pipelines.definitions", raising=False)
    defs: dg.Definitions = importlib.import_module("qanatix_pipelines.definitions").defs
    return defs


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def harness(postgresql_server: Server) -> Harness:
    return PostgreSQLHarness(postgresql_server)


def materialize(
    definitions: dg.Definitions, instance: dg.DagsterInstance, key: str, tags: dict[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions("connectors_postgresql", [key])
    return definitions.resolve_job_def("pull_postgresql").execute_in_process(
        partition_key=key, instance=instance, tags=tags or {}, raise_on_error=False
    )


def test_the_page_says_of_each_sensor_and_schedule_when_it_acts(code_location: dg.Definitions) -> None:
    repository = code_location.get_repository_def()
    acting = {
        **{one.name: f"every {one.minimum_interval_seconds} seconds" for one in repository.sensor_defs},
        **{one.name: cron(str(one.cron_schedule)) for one in repository.schedule_defs},
    }
    page = (ROOT / "docs" / "dagster.md").read_text()

    assert dict(re.findall(r"^\| `(\w+)` \| (every \d+ seconds|\d\d:\d\d UTC) \|", page, re.MULTILINE)) == acting


def cron(daily: str) -> str:
    """How the page writes the time of a daily schedule."""
    minute, hour, *_ = daily.split()
    return f"{int(hour):02}:{int(minute):02} UTC"


def test_dagster_sees_these_assets_jobs_and_sensors(code_location: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(code_location)
    repository = code_location.get_repository_def()
    seen = {
        "assets": sorted(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()),
        "checks": sorted(key.to_user_string() for key in repository.asset_graph.asset_check_keys),
        "jobs": sorted(name for name in repository.job_names if not name.startswith("__")),
        "schedules": sorted(schedule.name for schedule in repository.schedule_defs),
        "sensors": sorted(sensor.name for sensor in repository.sensor_defs),
        "resources": sorted(repository.get_top_level_resources()),
    }

    types = ("mongodb", "mysql", "neo4j", "postgresql", "sqlite")
    checks = ("fresh", "none_rejected", "not_empty", "same_columns", "sound_keys")
    assert seen == {
        "assets": ["connectors/health", *(f"connectors/{name}" for name in types)],
        "checks": [
            *(f"connectors/health:{check}_{name}" for check in checks for name in types),
            *(f"connectors/{name}:counts_add_up" for name in types),
        ],
        "jobs": [*(f"pull_{name}" for name in types), "retention", "test_connector"],
        "schedules": ["retention_schedule"],
        "sensors": [
            "connector_health",
            "connector_partitions",
            "connector_schedules",
            "connector_watches",
            "failed_runs",
            "lost_pulls",
        ],
        "resources": [*sorted(f"qanatix_{name}" for name in (*types, "store"))],
    }


def test_the_code_location_has_one_name_however_dagster_is_started() -> None:
    """`dagster dev` reads pyproject.toml, the webserver and the daemon workspace.yaml, and the API asks by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (location,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]

    assert project["code_location_name"] == CODE_LOCATION
    assert location["python_module"]["location_name"] == CODE_LOCATION


@pytest.mark.stack
def test_dagsters_own_validation_passes(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("dagster"), "definitions", "validate", "-w", "workspace.yaml"]
    environment = os.environ | {"DAGSTER_HOME": str(tmp_path), "QANATIX_DATA_DIR": str(tmp_path / "data")}

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location qanatix" in done.stdout + done.stderr


def test_every_asset_is_partitioned_described_and_owned(definitions: dg.Definitions) -> None:
    graph = definitions.get_repository_def().asset_graph
    for key in graph.get_all_asset_keys() - {HEALTH}:
        node = graph.get(key)
        assert isinstance(node.partitions_def, dg.DynamicPartitionsDefinition)
        assert node.partitions_def.name == f"connectors_{key.path[-1]}"
        assert node.description
        assert node.group_name == "connectors"
        assert node.owners
        assert "polars" in node.kinds


def test_a_pull_is_one_step(definitions: dg.Definitions) -> None:
    """The checks of all connectors are no part of it."""
    job = definitions.resolve_job_def("pull_postgresql")

    assert [node.name for node in job.nodes] == ["connectors__postgresql"]


def test_an_entity_set_stands_below_the_connectors_that_fill_it(definitions: dg.Definitions) -> None:  # noqa: ARG001
    ours = EntitySet(DEFAULT, "spare-parts", "bolt.metric", ("mysql", "postgresql"))
    theirs = EntitySet(Tenant("acme"), "spare-parts", "bolt.metric", ("neo4j",))
    graph = with_entity_sets(read_settings(), [ours, theirs]).get_repository_def().asset_graph

    found = {
        key: (sorted(parent.path[-1] for parent in graph.get(key).parent_keys), graph.get(key).group_name)
        for key in graph.get_all_asset_keys()
        if key.path[0] != "connectors"
    }
    assert found == {
        dg.AssetKey(["spare-parts", "bolt.metric"]): (["mysql", "postgresql"], "spare_parts"),
        dg.AssetKey(["acme", "spare-parts", "bolt.metric"]): (["neo4j"], "acme/spare_parts"),
    }


def test_entity_sets_are_read_from_the_store(store: Store, settings: Settings) -> None:
    new = NewConnector(
        name="Ours", connector_type="mysql", vertical="a", entity_type="b", query="SELECT 1", connection_config={}
    )
    store.connectors.add(new)
    store.of(Tenant("acme")).connectors.add(new)

    assert known_entity_sets(settings) == [
        EntitySet(Tenant("acme"), "a", "b", ("mysql",)),
        EntitySet(DEFAULT, "a", "b", ("mysql",)),
    ]


@pytest.mark.parametrize("address", ["sqlite:///{folder}/empty.db", "postgresql://nobody@127.0.0.1:{port}/none"])
def test_without_the_store_there_are_no_entity_sets_and_no_error(tmp_path: Path, address: str) -> None:
    url = address.format(folder=tmp_path, port=free_port())

    assert known_entity_sets(Settings(store_url=url)) == []
    assert list(tmp_path.iterdir()) == []  # nor is one made


def test_a_pull_runs_in_one_process(code_location: dg.Definitions) -> None:
    for name in ("pull_postgresql", "__ASSET_JOB"):
        assert code_location.resolve_job_def(name).executor_def is dg.in_process_executor


def test_a_materialization_is_a_pull_with_its_counts_as_metadata(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
) -> None:
    harness.fill(7)
    connector = register(harness, harness.since, name_column="name")
    harness.forget_name(3)

    result = materialize(definitions, instance, connector.partition_key)

    assert result.success
    entity_set, connectors = result.asset_materializations_for_node("connectors__postgresql")
    metadata = {key: getattr(value, "value", value) for key, value in connectors.metadata.items()}
    counts = ("records_pulled", "records_ingested", "duplicates_skipped", "records_rejected")
    assert [metadata[count] for count in counts] == [7, 6, 0, 1]
    assert metadata["dagster/partition_row_count"] == 7
    assert [column.name for column in metadata["dagster/column_schema"].columns] == ["id", "name", "updated_at"]
    assert metadata["rejected_by_reason"] == {"name_missing": 1}
    assert [record.data for record in metadata["rejections"].records] == [
        {"row": 7, "key": "3", "reason": "name_missing", "column": "name"}
    ]
    assert entity_set.asset_key == dg.AssetKey(["testing", "item"])
    assert entity_set.partition is None
    told = {key: getattr(value, "value", value) for key, value in entity_set.metadata.items()}
    assert [told[count] for count in counts] == [7, 6, 0, 1]
    assert told["dagster/row_count"] == 6
    assert told["rows_per_second"] > 0
    assert told["partition"] == connector.partition_key
    assert [column.name for column in told["dagster/column_schema"].columns] == ["id", "name", "updated_at"]
    assert not told.keys() & {"newest", "entities", "connector_in_api"}


def test_a_key_that_is_none_is_told_in_the_metadata(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
) -> None:
    connector = register(harness, "SELECT n % 2 AS id, n AS name FROM generate_series(1, 10) n")

    result = materialize(definitions, instance, connector.partition_key)

    _, connectors = result.asset_materializations_for_node("connectors__postgresql")
    metadata = {key: getattr(value, "value", value) for key, value in connectors.metadata.items()}
    assert (metadata["duplicates_skipped"], metadata["keys_repeated"]) == (8, 8)
    assert (metadata["key_column"], metadata["name_column"]) == ("id", "name")
    (warning,) = [record.data for record in metadata["warnings"].records]
    assert warning["code"] == "keys_repeated"
    assert warning["detail"].endswith("Keys with the most such rows: '0', '1'.")


def test_an_operator_may_have_the_newest_entities_and_links_shown(
    settings: Settings,  # noqa: ARG001  # it sets the environment
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QANATIX_PREVIEW_ENTITIES", "2")
    monkeypatch.setenv("QANATIX_PUBLIC_URL", "https://connectors.example.com/")
    definitions = with_entity_sets(read_settings(), [])
    harness.fill(3)
    connector = register(harness, "SELECT id, repeat('long', 1000) AS note FROM items ORDER BY id")

    result = materialize(definitions, instance, connector.partition_key)

    entity_set, _ = result.asset_materializations_for_node("connectors__postgresql")
    newest = [record.data for record in entity_set.metadata["newest"].records]
    assert len(newest) == 2
    assert {len(record["data"]) for record in newest} == {161}
    base = "https://connectors.example.com/api/v1"
    assert entity_set.metadata["entities"].value == f"{base}/entities?vertical=testing&entity_type=item"
    assert entity_set.metadata["connector_in_api"].value == f"{base}/connectors/{connector.id}"


def test_the_check_of_the_counts_passes(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
) -> None:
    harness.fill(3)

    result = materialize(definitions, instance, register(harness, harness.everything).partition_key)

    (evaluation,) = result.get_asset_check_evaluations()
    assert (evaluation.check_name, evaluation.passed) == ("counts_add_up", True)


def test_another_tenants_entity_set_is_an_asset_of_its_own(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
) -> None:
    harness.fill(3)
    ours = register(harness, harness.everything)
    acme = store.of(Tenant("acme"))
    fields = ours.model_dump(include=NewConnector.model_fields.keys() - {"connection_config"})
    theirs = acme.connectors.add(NewConnector(**fields, connection_config=harness.config))
    materialize(definitions, instance, ours.partition_key)
    harness.fill(2)

    result = materialize(definitions, instance, theirs.partition_key)

    entity_set, _ = result.asset_materializations_for_node("connectors__postgresql")
    assert entity_set.asset_key == dg.AssetKey(["acme", "testing", "item"])
    assert entity_set.metadata["dagster/row_count"].value == acme.entities.counted("testing", "item").entities == 2
    assert store.entities.counted("testing", "item").entities == 3


def test_a_failed_pull_says_why_and_is_not_retried(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
) -> None:
    connector = register(harness, harness.missing)

    result = materialize(definitions, instance, connector.partition_key)

    assert not result.success
    failure = _failure(result)
    assert failure.metadata["code"].value == "query_rejected"
    assert "undefined table, SQLSTATE 42P01" in (failure.description or "")
    assert store.connectors.last_pulls()[connector.id].status == "failed"


def test_a_process_that_has_other_keys_than_the_store_says_so_on_the_receipt(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connector = register(harness, harness.everything)
    queued, _ = store.pulls.queue(connector.id)
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", new_fernet_key())

    result = materialize(definitions, instance, connector.partition_key, {PULL_TAG: str(queued.id)})

    receipt = store.pulls.get(queued.id)
    assert (result.success, receipt.status, receipt.error_code) == (False, "failed", "credentials_unreadable")
    assert "restart what has the old one" in str(receipt.error_detail)


def test_a_fault_of_ours_shows_its_place_and_not_its_text(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness.fill(1)
    connector = register(harness, harness.everything)

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a row with hunter2 in it")

    monkeypatch.setattr("qanatix_pipelines.store.ingestion.Ingestion.stage", broken)
    result = materialize(definitions, instance, connector.partition_key)

    failure = _failure(result)
    assert "pull.py" in str(failure.metadata["where"].value)
    assert "hunter2" not in repr(result.all_events)
    assert store.pulls.live(connector.id) is None


@pytest.mark.parametrize("known", [True, False], ids=["before the sensor looks", "after it"])
def test_a_pull_of_a_deleted_connector_is_skipped_with_a_sentence(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
    known: bool,
) -> None:
    key = register(harness, harness.everything).partition_key
    store.connectors.remove(store.connectors.by_partition(key).id)

    if known:
        instance.add_dynamic_partitions("connectors_postgresql", [key])

    job = definitions.resolve_job_def("pull_postgresql")
    result = job.execute_in_process(instance=instance, tags={PARTITION_TAG: key}, raise_on_error=False)

    assert result.success
    assert result.asset_materializations_for_node("connectors__postgresql") == []
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.passed
    said = f"The connector of the partition {key} has been deleted: the run is skipped, and nothing is pulled."
    assert [entry.user_message for entry in instance.all_logs(result.run_id)].count(said) == 1


@pytest.mark.parametrize("asked", ["entity_set", "rejection"])
def test_the_run_of_a_completed_pull_succeeds_though_the_store_goes_away_then(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
) -> None:
    """Just before this table is asked. What only the store knows is not told."""
    harness.fill(3)
    monkeypatch.setenv("QANATIX_STORE_URL", database)
    store = resources.StoreResource().open()
    new = NewConnector(
        name="Items",
        connector_type="postgresql",
        vertical="testing",
        entity_type="item",
        query="SELECT id, CASE WHEN id > 1 THEN name END AS name FROM items",
        name_column="name",
        connection_config=harness.config,
    )
    connector = store.connectors.add(new)
    away = []

    def go_away(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if not away and statement.startswith("SELECT") and f"FROM qanatix.{asked} " in statement.replace("\n", " "):
            away.extend(
                _closed(harness.server.address, database, "SELECT 1 FROM qanatix.pull WHERE status = 'completed'")
            )

    sa.event.listen(store.engine, "before_cursor_execute", go_away)

    result = materialize(definitions, instance, connector.partition_key)

    assert (result.success, len(away)) == (True, 1)
    entity_set, connectors = result.asset_materializations_for_node("connectors__postgresql")
    assert entity_set.asset_key == dg.AssetKey(["testing", "item"])
    assert ("dagster/row_count" in entity_set.metadata) == (asked == "rejection")
    metadata = {key: getattr(value, "value", value) for key, value in connectors.metadata.items()}
    assert (metadata["records_ingested"], metadata["records_rejected"]) == (2, 1)
    assert metadata["rejected_by_reason"] == {"name_missing": 1}
    assert "rejections" not in metadata
    said = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    assert [message.partition(":")[0] for message in said] == [
        "The materialization does not show what the entity set holds",
        "The run does not show which rows were rejected",
    ][asked == "rejection" :]


def _closed(server: str, database: str, condition: str) -> list[str]:
    """End all connections to a database, and let none begin, once a query there has a row."""
    with psycopg.connect(database) as asking:
        if asking.execute(condition.encode()).fetchone() is None:
            return []
    name = database.rpartition("/")[2]
    with psycopg.connect(server, autocommit=True) as closing:
        closing.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        closing.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
    return [name]


def test_a_pull_whose_connector_is_deleted_meanwhile_is_skipped(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness.fill(1)
    connector = register(harness, harness.everything)
    stage = Ingestion.stage

    def staged_and_deleted(*given: Any) -> None:
        stage(*given)
        store.connectors.remove(connector.id)

    monkeypatch.setattr("qanatix_pipelines.store.ingestion.Ingestion.stage", staged_and_deleted)

    result = materialize(definitions, instance, connector.partition_key)

    assert result.success
    assert result.asset_materializations_for_node("connectors__postgresql") == []
    ((receipt,), _) = store.history.page(WantedPulls(connector.id), limit=2, cursor=None)
    assert (receipt.status, receipt.error_code) == ("cancelled", "pull_superseded")


def test_a_run_that_is_ended_since_its_connector_is_deleted_says_so(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness.fill(1)
    connector = register(harness, harness.everything)

    def deleted_and_ended(*_: Any, **__: Any) -> None:
        store.connectors.remove(connector.id)
        (begun,) = instance.get_runs()
        instance.report_run_canceling(begun)
        raise DagsterExecutionInterruptedError

    monkeypatch.setattr("qanatix_pipelines.defs.assets.run_pull", deleted_and_ended)
    result = materialize(definitions, instance, connector.partition_key)

    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert "The connector was deleted: the pull is given up." in [
        entry.user_message for entry in instance.all_logs(run.run_id)
    ]


@pytest.mark.parametrize("redacted", ["0", "1"])
def test_a_run_without_a_partition_fails_with_a_sentence_that_says_what_to_do(
    definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, redacted: str
) -> None:
    """Also where Dagster is told to keep what errors say from its events."""
    monkeypatch.setenv("DAGSTER_REDACT_USER_CODE_ERRORS", redacted)

    job = definitions.resolve_job_def("pull_postgresql")
    result = job.execute_in_process(instance=instance, raise_on_error=False)

    failure = _failure(result)
    assert failure.metadata["code"].value == "no_partition"
    assert (failure.description or "").startswith("This run names no partition")
    assert "Choose one partition and launch the run again" in (failure.description or "")
    assert "where" not in failure.metadata


def test_a_run_without_a_partition_makes_no_connector_a_failed_one(
    definitions: dg.Definitions, instance: dg.DagsterInstance, harness: Harness, register: Callable[..., Connector]
) -> None:
    """Dagster plans a materialization of the whole asset as it makes the run. The grid is that of the partitions."""
    harness.fill(1)
    partition = register(harness, harness.everything).partition_key
    asset = dg.AssetKey(["connectors", "postgresql"])
    assert materialize(definitions, instance, partition).success

    assert (
        not definitions.resolve_job_def("pull_postgresql")
        .execute_in_process(instance=instance, raise_on_error=False)
        .success
    )

    shown = instance.get_status_by_partition(asset, [partition], partitions_of("postgresql"))
    assert shown == {partition: AssetPartitionStatus.MATERIALIZED}
    assert instance.fetch_failed_materializations(asset, limit=1).records == []


def test_a_queued_pull_is_taken_by_its_run(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
) -> None:
    harness.fill(2)
    connector = register(harness, harness.everything)
    queued, _ = store.pulls.queue(connector.id)

    result = materialize(definitions, instance, connector.partition_key, {PULL_TAG: str(queued.id)})

    receipt = store.pulls.get(queued.id)
    assert (receipt.status, receipt.run_id, receipt.records_pulled) == ("completed", result.run_id, 2)


def test_a_run_that_nobody_queued_waits_for_no_live_pull(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
) -> None:
    connector = register(harness, harness.everything)
    live = store.pulls.begin(connector, "another run")

    result = materialize(definitions, instance, connector.partition_key)

    failure = _failure(result)
    assert failure.metadata["code"].value == "pull_in_progress"
    assert store.pulls.get(live.id).status == "running"


def test_the_sensor_brings_partitions_in_step_with_the_store(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
) -> None:
    connector = register(harness, harness.everything)
    new = NewConnector(
        name="Theirs", connector_type="mysql", vertical="a", entity_type="b", query="SELECT 1", connection_config={}
    )
    theirs = store.of(Tenant("acme")).connectors.add(new)
    instance.add_dynamic_partitions("connectors_postgresql", ["deleted-12345678"])
    sensor = definitions.resolve_sensor_def("connector_partitions")
    context = dg.build_sensor_context(
        instance=instance, definitions=definitions, resources={resources.STORE: resources.StoreResource()}
    )

    result = sensor(context)

    asked = {(type(request).__name__, tuple(request.partition_keys)) for request in result.dynamic_partitions_requests}
    assert asked == {
        ("AddDynamicPartitionsRequest", (connector.partition_key,)),
        ("AddDynamicPartitionsRequest", (theirs.partition_key,)),
        ("DeleteDynamicPartitionsRequest", ("deleted-12345678",)),
    }


def test_what_is_registered_while_the_sensor_looks_is_not_taken_for_deleted(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = sensors._registered

    def registered_meanwhile(store: resources.StoreResource) -> dict[str, set[str]]:
        """The API registers one, and adds its partition."""
        found = read(store)
        connector = register(harness, harness.everything)
        instance.add_dynamic_partitions("connectors_postgresql", [connector.partition_key])
        return found

    monkeypatch.setattr(sensors, "_registered", registered_meanwhile)
    sensor = definitions.resolve_sensor_def("connector_partitions")
    context = dg.build_sensor_context(
        instance=instance, definitions=definitions, resources={resources.STORE: resources.StoreResource()}
    )

    assert sensor(context).dynamic_partitions_requests == []


@pytest.mark.parametrize(("status", "kept"), [("REQUESTED", True), ("CANCELING", True), ("COMPLETED_FAILED", False)])
@pytest.mark.parametrize("kind", ["assets", "job"])
def test_a_partition_stays_while_an_unfinished_backfill_names_it(
    definitions: dg.Definitions, instance: dg.DagsterInstance, kind: str, status: str, *, kept: bool
) -> None:
    names = ["deleted-12345678", "deleted-23456789"]
    instance.add_dynamic_partitions("connectors_postgresql", names)
    subset = dg.DynamicPartitionsDefinition(name="connectors_postgresql").subset_with_partition_keys(names[:1])
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id="some",
        backfill_timestamp=0.0,
        tags={},
        dynamic_partitions_store=instance,
        asset_graph_subset=AssetGraphSubset({dg.AssetKey(["connectors", "postgresql"]): subset}),
        title=None,
        description=None,
        run_config=None,
    )
    if kind == "job":
        backfill = backfill._replace(asset_backfill_data=None, partition_names=names[:1])
    instance.add_backfill(backfill.with_status(BulkActionStatus(status)))
    sensor = definitions.resolve_sensor_def("connector_partitions")
    context = dg.build_sensor_context(
        instance=instance, definitions=definitions, resources={resources.STORE: resources.StoreResource()}
    )

    (request,) = sensor(context).dynamic_partitions_requests

    assert list(request.partition_keys) == names[kept:]


def test_a_run_whose_pull_was_cancelled_before_it_began_is_cancelled(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
) -> None:
    connector = register(harness, harness.everything)
    queued, _ = store.pulls.queue(connector.id)
    store.pulls.cancel(queued.id)

    result = materialize(definitions, instance, connector.partition_key, {PULL_TAG: str(queued.id)})

    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED


@pytest.mark.parametrize(("tags", "trigger"), [({}, "dagster"), ({"qanatix/trigger": "schedule"}, "schedule")])
def test_a_receipt_says_who_asked_for_its_run(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
    tags: dict[str, str],
    trigger: str,
) -> None:
    harness.fill(1)
    connector = register(harness, harness.everything)

    materialize(definitions, instance, connector.partition_key, tags)

    ((receipt,), _) = store.history.page(WantedPulls(connector.id), limit=2, cursor=None)
    assert receipt.trigger == trigger


def test_a_run_with_the_tags_of_a_part_reads_it_and_leaves_the_watermark(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
) -> None:
    """As a backfill's runs have them, which somebody launched in the UI."""
    harness.fill(3)
    connector = register(harness, harness.since)
    materialize(definitions, instance, connector.partition_key)
    before = store.connectors.get(connector.id)

    result = materialize(definitions, instance, connector.partition_key, {"qanatix/since": "2000-01-01T00:00:00Z"})

    assert result.success
    ((receipt, first), _) = store.history.page(WantedPulls(connector.id), limit=2, cursor=None)
    assert (receipt.since, receipt.records_pulled) == (datetime(2000, 1, 1, tzinfo=UTC), 3)
    assert (first.since, first.watermark) == (None, before.watermark)
    assert store.connectors.get(connector.id) == before


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"qanatix/since": "hunter2"}, "The run's tag qanatix/since must be a time with its zone"),
        ({"qanatix/since": "5"}, "The run's tag qanatix/since must be a time: the connector has no cursor_column."),
        ({"qanatix/until": "2026-01-01T00:00:00Z"}, "The run's tag qanatix/until needs since"),
        (
            {"qanatix/since": "2026-01-01T00:00:00Z", "qanatix/until": "2026-02-01T00:00:00Z"},
            "The run's tag qanatix/until needs a query that says :until",
        ),
        ({"qanatix/limit": "many"}, "The run's tag qanatix/limit"),
    ],
)
def test_a_run_with_wrong_tags_fails_and_names_the_tag(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    harness: Harness,
    register: Callable[..., Connector],
    store: Store,
    tags: dict[str, str],
    said: str,
) -> None:
    connector = register(harness, harness.since)

    failure = _failure(materialize(definitions, instance, connector.partition_key, tags))

    assert failure.description.startswith(said)
    assert "hunter2" not in failure.description
    assert store.history.page(WantedPulls(connector.id), limit=1, cursor=None) == ([], None)


def _failure(result: dg.ExecuteInProcessResult) -> Any:
    """What the one failed step told of its failure, by its own will."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    told = event.step_failure_data.user_failure_data
    assert told is not None
    return told


def test_only_the_environment_allows_strong_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = resources.SourceResource(connector_type="postgresql")
    config = {"dsn": "postgresql://reader:secret@db.internal/shop"}
    monkeypatch.delenv("QANATIX_ALLOW_STRONG_ACCOUNTS", raising=False)
    refused = resource.open(config)
    monkeypatch.setenv("QANATIX_ALLOW_STRONG_ACCOUNTS", "true")
    allowed = resource.open(config)

    assert (refused.strong_accounts, allowed.strong_accounts) == (False, True)


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("postgresql://u:hunter2@127.0.0.1:1/x", "store_unavailable"),
        ("postgresql://u:p@127.0.0.1:1/x?sslmode=hunter2", None),
    ],
)
def test_a_run_without_its_store_tells_nothing_of_the_stores_address(
    address: str, code: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE", address)
    monkeypatch.setenv("QANATIX_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", ENCRYPTION_KEY)
    monkeypatch.setattr("qanatix_pipelines.defs.resources.PULL_PATIENCE_SECONDS", 0)

    with pytest.raises(dg.Failure) as raised:
        open_store(resources.StoreResource(store_url=dg.EnvVar("STORE")))

    assert code in (None, raised.value.metadata["code"].value), raised.value.description
    assert raised.value.allow_retries is False
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))
