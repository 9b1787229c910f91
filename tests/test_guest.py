"""Our definitions inside another Dagster project: it keeps its resources, its executor, and its process."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterResourceFunctionError
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._core.remote_representation.external_data import ResourceConfigEnvVarSnap as ByName
from dagster._serdes import serialize_value

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.defs.build import build_defs, with_entity_sets
from qanatix_pipelines.defs.resources import SourceResource, StoreResource, close_stores
from qanatix_pipelines.errors import SettingsError
from qanatix_pipelines.launcher import runs
from qanatix_pipelines.settings import Settings, read_settings
from qanatix_pipelines.store.history import WantedPulls
from qanatix_pipelines.store.opening import Store
from tests import stack as stacks
from tests.conftest import ENCRYPTION_KEY
from tests.servers import Server
from tests.sources.harness import Harness
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.stack import ROOT
from tests.system import System, finished, until

DAGSTER = Path(sys.executable).with_name("dagster")
PROJECT = ROOT / "examples" / "merged" / "definitions.py"
SECRET_URL = "postgresql://me:hunter2@db/store"

IMPORTED = """
import gc, logging, sys, warnings

import alembic, dagster, sqlalchemy  # the project and Dagster's own storage have imported these

def process():
    loggers = {name: (one.level, len(one.handlers), len(one.filters))
               for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    return gc.get_threshold(), gc.get_freeze_count(), logging.root.level, len(logging.root.handlers), loggers

hooked = []
before = process()
real = sys.addaudithook
sys.addaudithook = hooked.append
import qanatix_pipelines.defs.build
after = process()
changed = {name for name in before[-1] if before[-1][name] != after[-1][name]}
new = {name for name in after[-1].keys() - before[-1].keys() if after[-1][name] != (0, 0, 0)}
print(before[:-1] == after[:-1], sorted(changed | new), hooked)
"""


@pytest.fixture
def harness(postgresql_server: Server) -> Harness:
    return PostgreSQLHarness(postgresql_server)


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture(autouse=True)
def _environment(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The project's own variables, and none of those that we use by ourselves."""
    for variable in ("QANATIX_STORE_URL", "CONNECTOR_ENCRYPTION_KEY", "QANATIX_API_KEY_PEPPER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("QANATIX_DATA_DIR", str(data_dir))
    monkeypatch.setenv("TEAM_STORE_URL", f"sqlite:///{data_dir}/qanatix.db")
    monkeypatch.setenv("TEAM_ENCRYPTION_KEY", ENCRYPTION_KEY)
    monkeypatch.setenv("DAGSTER_HOME", str(data_dir))
    yield
    close_stores()


def team_store() -> StoreResource:
    return StoreResource(store_url=dg.EnvVar("TEAM_STORE_URL"), encryption_key=dg.EnvVar("TEAM_ENCRYPTION_KEY"))


def shown(definitions: dg.Definitions) -> RepositorySnap:
    """What the code server tells Dagster's webserver."""
    return RepositorySnap.from_def(definitions.get_repository_def())


@pytest.mark.slow
def test_an_import_reads_no_settings_and_changes_nothing_of_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "cwd"
    folder.mkdir()
    environment = os.environ | {"QANATIX_ENV": "a wrong one, if it is read", "QANATIX_DATA_DIR": str(folder / "made")}

    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "True [] []\n"
    assert list(folder.iterdir()) == []


def test_a_secret_is_shown_by_the_name_of_its_variable() -> None:
    snap = shown(build_defs(read_settings(), team_store()))

    values = {resource.name: resource.configured_values for resource in snap.resources}
    assert values["qanatix_store"]["store_url"] == ByName(name="TEAM_STORE_URL")
    assert values["qanatix_store"]["encryption_key"] == ByName(name="TEAM_ENCRYPTION_KEY")
    assert ENCRYPTION_KEY not in serialize_value(snap)


def test_the_usual_variables_are_named_where_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANATIX_STORE_URL", SECRET_URL)
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", ENCRYPTION_KEY)

    snap = shown(with_entity_sets(read_settings(), []))

    values = {resource.name: resource.configured_values for resource in snap.resources}["qanatix_store"]
    assert (values["store_url"], values["encryption_key"]) == (
        ByName(name="QANATIX_STORE_URL"),
        ByName(name="CONNECTOR_ENCRYPTION_KEY"),
    )
    assert "hunter2" not in serialize_value(snap)


@pytest.mark.parametrize("field", ["store_url", "encryption_key"])
def test_a_secret_as_text_is_refused_without_being_shown(field: str) -> None:
    with pytest.raises(SettingsError, match=rf"^StoreResource\.{field} is a secret.*dg\.EnvVar") as refused:
        dg.Definitions(resources={"qanatix_store": StoreResource(**{field: SECRET_URL})}).get_repository_def()

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("variable", ["QANATIX_STORE_URL", "CONNECTOR_ENCRYPTION_KEY"])
def test_settings_whose_secret_stands_in_no_variable_are_refused(variable: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} does not hold") as refused:
        build_defs(Settings(**{variable: SECRET_URL}))

    assert "hunter2" not in str(refused.value)


def test_a_run_shows_its_resources_without_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_STORE_URL", SECRET_URL)
    said = []

    @dg.op(required_resource_keys={"qanatix_store"})
    def look(context: dg.OpExecutionContext) -> None:
        assert context.resources.qanatix_store.store_url == SECRET_URL
        said.append(f"{context.resources.qanatix_store!r} {context.resources.qanatix_store} {context.resources}")

    @dg.job(resource_defs={"qanatix_store": team_store()})
    def looking() -> None:
        look()

    assert looking.execute_in_process().success
    assert "StoreResource(" in said[0]
    assert "hunter2" not in said[0]
    assert ENCRYPTION_KEY not in said[0]


@pytest.mark.parametrize("kind", [StoreResource, SourceResource])
def test_what_a_run_would_configure_is_refused_without_being_shown(kind: type[StoreResource | SourceResource]) -> None:
    with pytest.raises(SettingsError, match=rf"^{kind.__name__}\.configure_at_launch is not for") as refused:
        kind.configure_at_launch(store_url=SECRET_URL)

    assert "hunter2" not in str(refused.value)


def previewed(store: StoreResource) -> int:
    """How many entities a run would preview."""
    seen: list[int] = []

    @dg.op(required_resource_keys={"qanatix_store"})
    def look(context: dg.OpExecutionContext) -> None:
        seen.append(context.resources.qanatix_store.settings().preview_entities)

    @dg.job(resource_defs={"qanatix_store": store})
    def looking() -> None:
        look()

    looking.execute_in_process()
    return seen[0]


def test_a_number_is_given_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_PREVIEW", "7")
    store = StoreResource(**team_store().given(), preview_entities=dg.EnvVar.int("TEAM_PREVIEW"))

    definitions = build_defs(read_settings(), store)

    assert store.settings().preview_entities == 7
    assert previewed((definitions.resources or {})["qanatix_store"]) == 7


def test_a_run_does_not_change_a_number_that_a_variable_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_PREVIEW", "7")

    @dg.op(required_resource_keys={"qanatix_store"})
    def look() -> None:
        raise AssertionError("it ran")

    @dg.job(resource_defs={"qanatix_store": StoreResource(preview_entities=dg.EnvVar.int("TEAM_PREVIEW"))})
    def looking() -> None:
        look()

    with pytest.raises(DagsterResourceFunctionError) as refused:
        looking.execute_in_process({"resources": {"qanatix_store": {"config": {"preview_entities": 8}}}})

    assert "preview_entities cannot be changed by a run's configuration" in str(refused.value.__cause__)


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "is not set"), ("", "is not set"), ("hunter2", "is not a whole number"), ("99", "is wrong: ")],
)
def test_a_variable_that_holds_no_such_number_is_named(
    monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    if text is not None:
        monkeypatch.setenv("TEAM_PREVIEW", text)

    with pytest.raises(SettingsError, match=f"^TEAM_PREVIEW {said}") as refused:
        build_defs(read_settings(), StoreResource(preview_entities=dg.EnvVar.int("TEAM_PREVIEW")))

    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "kind", "advice"),
    [
        ("stale_hours", dg.EnvVar, r"Leave it out and set QANATIX_STALE_HOURS\.$"),
        ("stale_hours", dg.EnvVar.int, r"Leave it out and set QANATIX_STALE_HOURS\.$"),
        ("preview_entities", dg.EnvVar, r"Use dg\.EnvVar\.int\(\.{3}\)\. Or leave it out and set QANATIX_PREVIEW_ENT"),
        ("data_dir", dg.EnvVar.int, r"Use dg\.EnvVar\(\.{3}\)\. Or leave it out and set QANATIX_DATA_DIR\.$"),
    ],
)
def test_a_variable_of_a_type_that_dagster_cannot_read_is_refused(
    field: str, kind: Callable[[str], Any], advice: str
) -> None:
    with pytest.raises(SettingsError, match=rf"^StoreResource\.{field} cannot be this kind of EnvVar\. {advice}"):
        StoreResource(**{field: kind("7")})


def test_a_switch_is_not_given_by_a_variable() -> None:
    with pytest.raises(SettingsError, match=r"Leave it out and set QANATIX_ALLOW_STRONG_ACCOUNTS\.$"):
        SourceResource(connector_type="mysql", allow_strong_accounts=dg.EnvVar("true"))


@pytest.mark.parametrize("address", ["foo://host/store", "zzz", "postgresql://me:hunter2@host:port/store", "sqlite://"])
def test_definitions_do_not_load_with_a_wrong_store(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("TEAM_STORE_URL", address)

    with pytest.raises(SettingsError, match=r"^TEAM_STORE_URL (is not a database URL|must )") as refused:
        build_defs(read_settings(), team_store())

    assert address not in str(refused.value)


def test_definitions_do_not_load_with_a_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_ENCRYPTION_KEY", "hunter2")

    with pytest.raises(SettingsError, match=r"^TEAM_ENCRYPTION_KEY is malformed") as refused:
        build_defs(read_settings(), team_store())

    assert "hunter2" not in str(refused.value)


def test_a_store_of_the_projects_own_class_stays_one() -> None:
    class TeamStore(StoreResource):
        """With a field of its own."""

        team: str = "reports"

    given = TeamStore(team="sales", **team_store().given())

    store = (build_defs(read_settings(), given).resources or {})["qanatix_store"]

    assert isinstance(store, TeamStore)
    assert (store.team, store.given()["store_url"].env_var_name) == ("sales", "TEAM_STORE_URL")


def test_a_variable_that_is_not_set_is_named() -> None:
    store = StoreResource(store_url=dg.EnvVar("NO_SUCH_STORE"))

    with pytest.raises(SettingsError, match=r"^NO_SUCH_STORE is not set"):
        build_defs(read_settings(), store)


def test_settings_that_are_given_in_code_hold_in_a_run() -> None:
    given = Settings(
        environment="production", allow_networks="10.20.0.0/16", answer_seconds=7, allow_strong_accounts=True
    )
    resources = with_entity_sets(given, [], team_store()).resources or {}
    source: SourceResource = resources["qanatix_postgresql"]

    assert source.limits().answer_seconds == 7
    assert (source.egress().permits("10.20.0.1"), source.egress().permits("127.0.0.1")) == (True, False)
    assert source.open({"dsn": "postgresql://reader:secret@db.internal/shop"}).strong_accounts


@pytest.mark.parametrize(
    ("key", "config"),
    [
        ("qanatix_store", {"store_url": SECRET_URL}),
        ("qanatix_store", {"data_dir": {"env": "TEAM_ENCRYPTION_KEY"}}),
        ("qanatix_postgresql", {"connector_type": "postgresql", "allow_networks": "0.0.0.0/0"}),
        ("qanatix_postgresql", {"connector_type": "postgresql", "allow_strong_accounts": True}),
        ("qanatix_postgresql", {"connector_type": "mysql"}),
    ],
)
def test_who_can_start_a_run_chooses_no_settings(key: str, config: Mapping[str, Any]) -> None:
    definitions = build_defs(read_settings(), team_store())
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("connectors_postgresql", ["some"])
        result = definitions.resolve_job_def("pull_postgresql").execute_in_process(
            partition_key="some",
            instance=instance,
            run_config={"resources": {key: {"config": config}}},
            raise_on_error=False,
        )
        events = [str(entry.dagster_event) for entry in instance.all_logs(result.run_id)]

    assert not result.success
    assert any("cannot be changed by a run's configuration" in event for event in events)
    assert not any("hunter2" in event or ENCRYPTION_KEY in event for event in events)


def test_it_is_merged_with_a_project_that_has_the_same_names_and_an_executor() -> None:
    class Theirs(dg.ConfigurableResource[Any]):
        """Of the same name as a type of ours."""

    executor = dg.multiprocess_executor.configured({"max_concurrent": 2})
    theirs = dg.Definitions(resources={"store": Theirs(), "postgresql": Theirs()}, executor=executor)

    merged = dg.Definitions.merge(theirs, build_defs(read_settings(), team_store()))

    dg.Definitions.validate_loadable(merged)
    assert merged.executor is executor
    assert merged.resolve_job_def("pull_postgresql").executor_def is dg.in_process_executor
    assert merged.get_repository_def().get_top_level_resources().keys() >= {"store", "postgresql", "qanatix_postgresql"}


def test_with_a_prefix_a_set_may_be_called_like_an_asset_of_the_project(
    harness: Harness, register: Callable[..., Connector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one Dagster would load neither: whoever registers connectors chooses what their sets are called."""
    harness.fill(1)
    connector = register(harness, harness.everything)
    monkeypatch.setenv("QANATIX_ASSET_PREFIX", "pulled")
    theirs = dg.Definitions(assets=[dg.AssetSpec(["testing", "item"])])

    merged = dg.Definitions.merge(theirs, build_defs(read_settings(), team_store()))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("connectors_postgresql", [connector.partition_key])
        pull = merged.resolve_job_def("pull_postgresql")
        pull.execute_in_process(partition_key=connector.partition_key, instance=instance)
        materialized = instance.get_latest_materialization_event(dg.AssetKey(["pulled", "testing", "item"]))

    keys = merged.get_repository_def().asset_graph.get_all_asset_keys()
    assert keys >= {dg.AssetKey(["testing", "item"]), dg.AssetKey(["pulled", "testing", "item"])}
    assert materialized is not None


def test_an_owner_of_the_projects_own_owns_the_assets() -> None:
    graph = with_entity_sets(Settings(owner="team:supply-chain"), [], team_store()).get_repository_def().asset_graph

    assert {tuple(graph.get(key).owners) for key in graph.get_all_asset_keys()} == {("team:supply-chain",)}


def test_a_pull_leaves_the_garbage_collector_as_the_process_has_it(
    harness: Harness, register: Callable[..., Connector]
) -> None:
    harness.fill(1)
    connector = register(harness, harness.everything)
    before = gc.get_threshold()
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("connectors_postgresql", [connector.partition_key])
        pull = build_defs(read_settings(), team_store()).resolve_job_def("pull_postgresql")
        result = pull.execute_in_process(partition_key=connector.partition_key, instance=instance)

    assert result.success
    assert gc.get_threshold() == before


# Dagster's own: it cannot close its loop within another one, and goes on without.
@pytest.mark.filterwarnings("ignore:coroutine 'BaseEventLoop.shutdown_asyncgens' was never awaited")
def test_a_run_within_a_loop_that_runs_already_pulls(harness: Harness, register: Callable[..., Connector]) -> None:
    harness.fill(1)
    connector = register(harness, harness.everything)
    pull = build_defs(read_settings(), team_store()).resolve_job_def("pull_postgresql")

    async def notebook() -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("connectors_postgresql", [connector.partition_key])
            return pull.execute_in_process(partition_key=connector.partition_key, instance=instance)

    assert asyncio.run(notebook()).success


def test_a_run_of_our_own_worker_tunes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def executed(*_: object, **__: object) -> int:
        seen.append(gc.get_threshold()[0])
        return 0

    monkeypatch.setattr(runs, "_execute_run_command_body", executed)
    before = gc.get_threshold()
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            runs.execute(instance, "a run")
    finally:
        gc.set_threshold(*before)

    assert seen == [50_000]


def test_retention_is_left_to_the_project() -> None:
    repository = build_defs(read_settings(), team_store()).get_repository_def()

    assert "retention" not in repository.job_names
    assert repository.schedule_defs == []


@pytest.mark.stack
def test_dagsters_own_validation_passes_in_the_project() -> None:
    done = subprocess.run(
        [DAGSTER, "definitions", "validate", "-f", PROJECT], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "All code locations passed validation" in done.stdout + done.stderr


def materializing(connector: Connector) -> subprocess.Popen[str]:
    """A process that materializes the asset of one connector in the project, as Dagster's button does."""
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("connectors_postgresql", [connector.partition_key])
    asset = ["--select", 'key:"connectors/postgresql"', "--partition", connector.partition_key]
    command = [DAGSTER, "asset", "materialize", *asset, "-f", PROJECT]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


@pytest.mark.stack
def test_a_pull_of_the_asset_runs_in_the_projects_own_executor(
    harness: Harness, register: Callable[..., Connector], store: Store
) -> None:
    harness.fill(3)

    process = materializing(register(harness, harness.everything))
    _, said = process.communicate()

    assert process.returncode == 0, said[-3000:]
    assert 'Launching subprocess for "connectors__postgresql"' in said
    assert store.entities.counted("testing", "item").entities == 3


@pytest.mark.stack
def test_a_pull_that_is_interrupted_in_the_projects_executor_ends_as_cancelled(
    harness: Harness, register: Callable[..., Connector], store: Store
) -> None:
    connector = register(harness, harness.slow())
    process = materializing(connector)
    until(lambda: harness.at_work() == 1 or process.poll() is not None)

    process.send_signal(signal.SIGINT)
    _, said = process.communicate()

    ((receipt,), _) = store.history.page(WantedPulls(connector.id), limit=2, cursor=None)
    assert (receipt.status, receipt.error_code) == ("cancelled", "pull_cancelled"), said[-3000:]
    until(lambda: harness.connections() == 0)


@pytest.mark.stack
def test_a_pull_over_rest_runs_in_the_projects_code_location(tmp_path: Path, harness: Harness) -> None:
    """Beside a Dagster as it is without our `dagster.yaml`: its own launcher, queue and storage."""
    harness.fill(3)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    environment = {
        "QANATIX_CODE_LOCATION": "reports",
        "CONNECTOR_ENCRYPTION_KEY": ENCRYPTION_KEY,
        "TEAM_STORE_URL": f"sqlite:///{tmp_path}/stack/qanatix/qanatix.db",
    }
    running = stacks.start(
        tmp_path / "stack",
        environment,
        dagster_yaml=tmp_path / "dagster.yaml",
        worker=False,
        workspace="examples/merged/workspace.yaml",
    )
    try:
        system = System(running)
        answer = system.pull(system.register(harness.everything, harness.config)).json()
        run = finished(system, answer["run_id"])
        system.api.close()
    finally:
        running.stop()

    assert (answer["status"], answer["records_ingested"]) == ("completed", 3)
    assert run["status"] == "SUCCESS"
