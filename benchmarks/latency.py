"""How long a pull over REST takes, from the request to its answer: `make bench-latency`.

Three contestants do the same pull of the same rows. They take turns, so that other load of the machine hits all alike:
- ours: the API, Dagster by the dagster.yaml of this folder, and the worker;
- cold: the API, and Dagster with its own launcher and default settings;
- bare: a `python -c` that calls the same pull, without an API and without Dagster.
Beside them stand ours' tests of the same connector, which read ten rows: registered, and not.
Then `--at-once` connectors are pulled at the same time, by each of the first two.

With --celery, two contestants with Celery's worker take the place of cold and bare: one with Redis as its broker, one
with a folder, in which the worker looks for tasks ten times a second. The processor time of idle workers is shown, too.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2

from tests import stack as stacks
from tests.servers import redis
from tests.sources.postgresql import server as postgresql
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System

ROWS = 1000
WAIT_SECONDS = 600
COLD_YAML = """
telemetry: {enabled: false}
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
"""
CELERY_LAUNCHER = """run_launcher:
  module: qanatix_pipelines.launcher.celery
  class: CeleryPullLauncher
  config: {config}
"""
POLLING_SECONDS = 0.1
IDLE_SECONDS = 20
TESTS = ("test", "test, unsaved")
BARE = """
import sys
from functools import partial
from uuid import UUID
from qanatix_pipelines.pull import run_pull
from qanatix_pipelines.settings import read_settings
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store.opening import open_store
store = open_store(read_settings())
connector = store.connectors.get(UUID(sys.argv[1]))
run_pull(store, connector, store.pulls.begin(connector, "bare"), partial(open_source, connector.connector_type))
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-latency ARGS=...", description=__doc__)
    parser.add_argument(
        "--pulls", type=int, default=20, help="how many pulls each contestant does, one after the other"
    )
    parser.add_argument(
        "--at-once", type=int, default=50, help="how many connectors are pulled at once; 0 leaves it out"
    )
    parser.add_argument("--celery", action="store_true", help="compare with Celery's worker")
    options = parser.parse_args()
    source = postgresql.start()
    try:
        harness = PostgreSQLHarness(source)
        harness.fill(ROWS)
        with tempfile.TemporaryDirectory() as folder:
            broker = redis.start() if options.celery else None
            try:
                measure(Path(folder), harness, options.pulls, options.at_once, broker and broker.address)
            finally:
                if broker:
                    broker.stop()
    finally:
        source.stop()


def measure(folder: Path, harness: PostgreSQLHarness, pulls: int, at_once: int, broker: str | None) -> None:
    running: list[stacks.Stack] = []
    try:
        running.append(stacks.start(folder / "ours"))
        running.extend(_celerys(folder, broker) if broker else _cold(folder))
        systems = {stack.folder.name: _patient(System(stack)) for stack in running}
        roads = {name: _over_rest(system, _registered(system, harness, 1)[0]) for name, system in systems.items()}
        if not broker:
            roads |= _tests(systems["ours"], _registered(systems["ours"], harness, 1)[0], harness)
            roads["bare"] = _without_dagster(systems["ours"], _registered(systems["ours"], harness, 1)[0])
        _say_versions(harness)
        for road in roads.values():
            road()  # the first pull pays for what happens only once, and is not counted
        seconds: dict[str, list[float]] = {name: [] for name in roads}
        for _ in range(pulls):
            for name, road in roads.items():
                seconds[name].append(_timed(road))
        for name, taken in seconds.items():
            what = "tests" if name in TESTS else f"pulls of {ROWS} rows"
            _say(f"{name}: {pulls} {what}, one after the other", taken, seconds["ours"])
        if broker:
            _say_idle(running)
        if at_once:
            waves: dict[str, list[float]] = {}
            for name, system in systems.items():
                wave, waves[name] = _at_once(system, _registered(system, harness, at_once))
                _say(f"{name}: {at_once} pulls at once, all answered after {wave:.2f} s", waves[name], waves["ours"])
    finally:
        for stack in running:
            stack.stop()


def _cold(folder: Path) -> Iterator[stacks.Stack]:
    cold_yaml = folder / "cold.yaml"
    cold_yaml.write_text(COLD_YAML)
    yield stacks.start(folder / "cold", dagster_yaml=cold_yaml, worker=False)


def _celerys(folder: Path, broker: str) -> Iterator[stacks.Stack]:
    """The systems with Celery's workers. `broker` is the URL of a Redis."""
    messages, control = folder / "messages", folder / "control"
    messages.mkdir()
    control.mkdir()
    files = {"data_folder_in": str(messages), "data_folder_out": str(messages), "control_folder": str(control)}
    yield _with_celery(folder / "celery-redis", {"broker": broker})
    polled = {"broker_transport_options": {"polling_interval": POLLING_SECONDS} | files}
    yield _with_celery(folder / "celery-folder", {"broker": "filesystem://", "config_source": polled})


def _with_celery(folder: Path, config: dict[str, Any]) -> stacks.Stack:
    """The system with a worker of Celery's, whose launcher has this configuration."""
    folder.mkdir()
    settings = folder / "celery.yaml"
    ours = (stacks.ROOT / "dagster.yaml").read_text()
    before, _, after = ours.partition("run_launcher:\n")
    settings.write_text(before + CELERY_LAUNCHER.format(config=json.dumps(config)) + after.partition("\n\n")[2])
    stack = stacks.start(folder, dagster_yaml=settings, worker=False)
    celery = Path(sys.executable).with_name("celery")
    stacks.spawn(stack, "worker", [celery, "-A", "qanatix_pipelines.launcher.celery_app", "worker", "-c", "16"])
    return stack


def _say_idle(running: list[stacks.Stack]) -> None:
    workers = {stack.folder.name: stack.processes["worker"].pid for stack in running if "worker" in stack.processes}
    before = {name: _processor_seconds(pid) for name, pid in workers.items()}
    time.sleep(IDLE_SECONDS)
    for name, pid in workers.items():
        share = (_processor_seconds(pid) - before[name]) / IDLE_SECONDS
        print(f"{name}: its idle worker takes {share:.2%} of a core", flush=True)


def _processor_seconds(pid: int) -> float:
    """The processor time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _patient(system: System) -> System:
    system.api.timeout = WAIT_SECONDS
    return system


def _registered(system: System, harness: PostgreSQLHarness, count: int) -> list[dict[str, Any]]:
    return [system.register(harness.everything, harness.config) for _ in range(count)]


def _over_rest(system: System, connector: dict[str, Any]) -> Callable[[], None]:
    def pull() -> None:
        _check(system.pull(connector))

    return pull


def _tests(system: System, connector: dict[str, Any], harness: PostgreSQLHarness) -> dict[str, Callable[[], None]]:
    """The roads of a registered connector's test, and of an unsaved one's."""
    body = {"connector_type": "postgresql", "connection_config": harness.config, "query": harness.everything}
    asked: list[tuple[str, Any]] = [(f"/connectors/{connector['id']}/test", None), ("/connectors/test", body)]

    def road(path: str, given: Any) -> Callable[[], None]:
        def test() -> None:
            answer = system.api.post(path, json=given)
            if answer.status_code != httpx2.codes.OK or not answer.json()["ok"]:
                raise RuntimeError(f"A test was answered {answer.status_code}: {answer.text}")

        return test

    return {name: road(*one) for name, one in zip(TESTS, asked, strict=True)}


def _without_dagster(system: System, connector: dict[str, Any]) -> Callable[[], None]:
    def pull() -> None:
        command = [sys.executable, "-c", BARE, connector["id"]]
        subprocess.run(command, env=system.stack.environment, cwd=stacks.ROOT, check=True)

    return pull


def _at_once(system: System, connectors: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """Seconds until all are answered, and the seconds of each."""
    with ThreadPoolExecutor(len(connectors)) as clients:
        began = time.perf_counter()
        taken = list(clients.map(lambda connector: _timed(_over_rest(system, connector)), connectors))
        return time.perf_counter() - began, taken


def _timed(road: Callable[[], None]) -> float:
    began = time.perf_counter()
    road()
    return time.perf_counter() - began


def _check(answer: httpx2.Response) -> None:
    if answer.status_code != httpx2.codes.OK or answer.json()["records_pulled"] != ROWS:
        raise RuntimeError(f"A pull was answered {answer.status_code}: {answer.text}")


def _say(title: str, taken: list[float], ours: list[float]) -> None:
    p50, p95 = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
    ratio = p50 / statistics.median(ours)
    print(f"{title}: p50 {p50:.2f} s, p95 {p95:.2f} s, {ratio:.1f} times ours", flush=True)


def _say_versions(harness: PostgreSQLHarness) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("dagster", "polars", "sqlalchemy"))
    print(
        f"Python {platform.python_version()}, {packages}, PostgreSQL {harness.server.version}; "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; both stores and Dagster's in SQLite",
        flush=True,
    )


if __name__ == "__main__":
    main()
