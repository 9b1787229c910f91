"""Dagster's SQLite as we have it: the same files, connections that are kept where they may be."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
import yaml

from qanatix_pipelines.launcher.storage import KeptSqliteStorage
from tests import stack as stacks

POOLING = {"statement_timeout": 60_000, "pool_recycle": 3600, "max_overflow": 5}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings = yaml.safe_load((stacks.ROOT / "dagster.yaml").read_text())
    ours = {"storage": settings["storage"], "telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(ours))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def test_the_configuration_names_it(instance: dg.DagsterInstance) -> None:
    assert instance.get_ref().storage_data.class_name == KeptSqliteStorage.__name__


def test_dagsters_own_reads_what_it_wrote(instance: dg.DagsterInstance, home: Path, run: Callable[[], str]) -> None:
    run_id = run()
    with _dagsters_own(home) as own:
        assert own.get_run_by_id(run_id).status is dg.DagsterRunStatus.SUCCESS
        assert len(own.all_logs(run_id)) == len(instance.all_logs(run_id)) > 0


def test_it_reads_what_dagsters_own_wrote(instance: dg.DagsterInstance, home: Path) -> None:
    with _dagsters_own(home) as own:
        run_id = _materialize(own)
        assert len(own.all_logs(run_id)) == len(instance.all_logs(run_id)) > 0


def test_a_process_that_may_not_keeps_no_connection(run: Callable[[], str]) -> None:
    run()
    assert _open_databases() == []


def test_a_process_that_may_keeps_its_connections(instance: dg.DagsterInstance, run: Callable[[], str]) -> None:
    instance.optimize_for_webserver(**POOLING)
    run_id = run()
    assert {"index.db", "runs.db", f"{run_id}.db"} <= set(_open_databases())


def test_no_more_than_sixteen_databases_are_kept(instance: dg.DagsterInstance, run: Callable[[], str]) -> None:
    instance.optimize_for_webserver(**POOLING)
    runs = [run() for _ in range(20)]
    for run_id in runs:
        instance.all_logs(run_id)
    assert len(set(_open_databases())) == 16 + len(["runs.db"])


def test_none_is_left_open_by_what_is_disposed_of(home: Path) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.optimize_for_webserver(**POOLING)
        _materialize(instance)
    assert _open_databases() == []


def test_what_is_kept_shows_what_another_process_wrote(
    instance: dg.DagsterInstance, home: Path, run: Callable[[], str]
) -> None:
    instance.optimize_for_webserver(**POOLING)
    run()
    with dg.DagsterInstance.from_config(str(home)) as another:
        _materialize(another)
    assert instance.get_runs_count() == 2


@pytest.mark.parametrize("processes", [1, 2])
def test_a_partition_that_is_added_at_once_is_there_once(
    instance: dg.DagsterInstance, home: Path, processes: int
) -> None:
    instance.optimize_for_webserver(**POOLING)
    with dg.DagsterInstance.from_config(str(home)) as another, ThreadPoolExecutor(8) as threads:
        adders = [instance, another][:processes] * 4
        for key in map(str, range(20)):
            list(threads.map(lambda adder, key=key: adder.add_dynamic_partitions("set", [key]), adders))
    assert sorted(instance.get_dynamic_partitions("set"), key=int) == list(map(str, range(20)))


def test_no_partition_can_be_added(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("set", [])
    assert instance.get_dynamic_partitions("set") == []


def test_processes_that_meet_an_empty_home_at_once_all_open_it(home: Path) -> None:  # noqa: ARG001  # is in the environment
    opening = (
        "import dagster as dg, qanatix_pipelines.launcher.storage; input(); dg.DagsterInstance.get().get_runs_count()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", opening], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    time.sleep(3)  # so that all have imported what they need

    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate()[1] for process in processes]

    assert ([process.returncode for process in processes], told) == ([0] * 4, [""] * 4)


@pytest.fixture
def run(instance: dg.DagsterInstance) -> Callable[[], str]:
    return lambda: _materialize(instance)


def _materialize(instance: dg.DagsterInstance) -> str:
    @dg.asset
    def thing() -> None: ...

    return dg.materialize([thing], instance=instance).run_id


def _dagsters_own(home: Path) -> dg.DagsterInstance:
    """An instance that keeps its files in the same folder, as Dagster does it without being told otherwise."""
    plain = home / "plain"
    plain.mkdir()
    sqlite = {"storage": {"sqlite": {"base_dir": str(home)}}, "telemetry": {"enabled": False}}
    (plain / "dagster.yaml").write_text(yaml.safe_dump(sqlite))
    return dg.DagsterInstance.from_config(str(plain))


def _open_databases() -> list[str]:
    """The names of SQLite's files that this process has open below a folder of Dagster's."""
    paths = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            paths.append(descriptor.readlink())
        except FileNotFoundError:  # that of this very listing
            continue
    return [path.name for path in paths if path.suffix == ".db" and {"history", "schedules"} & set(path.parts)]
