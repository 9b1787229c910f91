"""Dagster's SQLite as we have it: the same files, connections that are kept where they may be."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from sqlalchemy import Engine, event

from qanatix_pipelines.launcher.storage import KeptSqliteStorage, look
from tests import stack as stacks

pytestmark = pytest.mark.slow  # each test makes all files of an instance

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
        "import dagster as dg, qanatix_pipelines.launcher.storage; print('imported', flush=True); "
        "input(); dg.DagsterInstance.get().get_runs_count()"
    )
    piped = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    processes = [subprocess.Popen([sys.executable, "-c", opening], **piped, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "imported\n"

    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate()[1] for process in processes]

    assert ([process.returncode for process in processes], told) == ([0] * 4, [""] * 4)


def test_the_database_of_a_run_is_as_dagster_makes_it(home: Path, run: Callable[[], str]) -> None:
    with _dagsters_own(home) as own:
        theirs = _tables(_database(home, _materialize(own)))
    assert _tables(_database(home, run())) == theirs


@pytest.mark.parametrize(
    "left",
    [
        pytest.param("", id="nothing"),
        pytest.param("CREATE TABLE asset_keys (id INTEGER PRIMARY KEY)", id="one table"),
        pytest.param("CREATE TABLE alembic_version (version_num TEXT)", id="all but the revision"),
    ],
)
def test_a_database_that_another_process_left_unfinished_is_finished(
    instance: dg.DagsterInstance, home: Path, left: str
) -> None:
    path = _database(home, "begun")
    with closing(sqlite3.connect(path)) as begun:
        begun.executescript(f"PRAGMA user_version = 0; {left}")

    assert instance.all_logs("begun") == []
    assert {"event_logs", "asset_keys", "alembic_version"} <= {name for name, _ in _tables(path)}


def test_what_was_looked_at_before_a_fork_is_not_looked_at_again(instance: dg.DagsterInstance) -> None:
    look(instance)
    instance.optimize_for_webserver(**POOLING)
    _materialize(instance)  # the first one makes the empty database
    said: list[str] = []
    with _listening(said):
        _materialize(instance)

    looks = [statement for statement in said if "table_info" in statement or "table_xinfo" in statement]
    assert [statement for statement in looks if "alembic_version" not in statement] == []  # of the run's own database
    assert any(statement.startswith("INSERT INTO event_logs") for statement in said)


def test_a_table_that_a_migration_adds_is_seen(instance: dg.DagsterInstance, home: Path) -> None:
    index = home / "history" / "runs" / "index.db"
    storage = instance.event_log_storage
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("ALTER TABLE dynamic_partitions RENAME TO later")
    assert not storage.has_table("dynamic_partitions")  # type: ignore[attr-defined]

    with closing(sqlite3.connect(index)) as connection:
        connection.execute("ALTER TABLE later RENAME TO dynamic_partitions")

    assert storage.has_table("dynamic_partitions")  # type: ignore[attr-defined]


def test_processes_that_write_a_runs_first_event_at_once_lose_none(home: Path) -> None:
    writing = (
        "import sys, dagster as dg, qanatix_pipelines.launcher.storage\n"
        "with dg.DagsterInstance.get() as instance:\n"
        "    instance.get_runs_count(); print('ready', flush=True); input()\n"
        "    for run_id in map(str, range(10)):\n"
        "        instance.report_engine_event(sys.argv[1], run_id=run_id, job_name='job')\n"
    )
    piped = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    writers = [subprocess.Popen([sys.executable, "-c", writing, str(n)], **piped, text=True) for n in range(3)]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("\n")
        writer.stdin.flush()
    told = [writer.communicate()[1] for writer in writers]

    assert [writer.returncode for writer in writers] == [0] * 3, told
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for run_id in map(str, range(10)):
            assert sorted(event.message for event in instance.all_logs(run_id)) == ["0", "1", "2"]
    assert [path.name for path in (home / "history" / "runs").iterdir() if path.name.startswith(".")] == []


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


def _database(home: Path, run_id: str) -> Path:
    return home / "history" / "runs" / f"{run_id}.db"


@contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """Hears each statement of any engine."""

    def hear(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


def _tables(database: Path) -> set[tuple[str, str]]:
    """What a database is made of, and how it is written."""
    with closing(sqlite3.connect(database)) as connection:
        made = connection.execute(
            "SELECT name, sql FROM sqlite_master UNION ALL SELECT 'at', version_num FROM alembic_version"
        )
        return {*made, ("mode", connection.execute("PRAGMA journal_mode").fetchone()[0])}


def _open_databases() -> list[str]:
    """The names of SQLite's files that this process has open below a folder of Dagster's."""
    paths = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            paths.append(descriptor.readlink())
        except FileNotFoundError:  # that of this very listing
            continue
    return [path.name for path in paths if path.suffix == ".db" and {"history", "schedules"} & set(path.parts)]
