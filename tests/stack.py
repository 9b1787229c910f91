"""The whole system as processes of their own: Dagster's webserver, daemon and code server, the worker, and the API."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

from qanatix_pipelines.launcher.calls import ask
from tests.servers import free_port, keeper
from tests.sources.sqlite import server as sqlite

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 120
STOP_SECONDS = 15

# A fresh home must be initialised by one process: two that start at once may both try, and leave it broken.
_INITIALISE = """
from dagster import DagsterInstance
with DagsterInstance.get() as instance:
    instance.get_runs(limit=1)
    instance.all_instigator_state()
"""


@dataclass
class Stack:
    """A running system. Its logs are `worker.log`, `dagster.log` and `api.log` in `folder`."""

    folder: Path
    environment: dict[str, str]
    api_url: str
    dagster_url: str
    processes: dict[str, subprocess.Popen[bytes]]  # in the order in which they are started
    root: Path = ROOT
    workspace: str = "workspace.yaml"

    def command(self, *arguments: str) -> str:
        """Run `qanatix ...` in the system's environment and give what it prints."""
        program = Path(sys.executable).with_name("qanatix")
        done = subprocess.run([program, *arguments], env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def wait(self) -> str:
        """Wait until one of the system's processes ends by itself. Which."""
        while True:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    return name
            time.sleep(0.5)

    def log_end(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-3000:]

    def stop(self) -> None:
        """Stop all of it, by process group, the last started first. Waits until it is gone."""
        for process in reversed(self.processes.values()):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        for process in reversed(self.processes.values()):
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what of the group outlived its leader, too
            process.wait()
        for name in self.processes:
            keeper.forget(f"{self.folder}/{name}")


def start(
    folder: Path,
    extra: Mapping[str, str] | None = None,
    *,
    api_port: int | None = None,
    dagster_port: int | None = None,
    dagster_yaml: Path = ROOT / "dagster.yaml",
    worker: bool = True,
    root: Path = ROOT,
    workspace: str = "workspace.yaml",
) -> Stack:
    """Start the system with its data in `folder` and its code from `root`, and wait until it answers.

    `workspace` is the file, below `root`, that names Dagster's code locations.

    Raises RuntimeError that says which part did not start and where its log is.
    """
    api_port, dagster_port = api_port or free_port(), dagster_port or free_port()
    home = folder / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(dagster_yaml, home / "dagster.yaml")
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "QANATIX_DATA_DIR": str(folder / "qanatix"),
        "QANATIX_DAGSTER_URL": f"http://127.0.0.1:{dagster_port}",
        "QANATIX_SQLITE_FOLDERS": str(sqlite.folder()),
        # One key asks for all that the tests do.
        "QANATIX_WRITES_PER_MINUTE": "100000",
        "QANATIX_PULLS_PER_MINUTE": "100000",
        "QANATIX_READS_PER_MINUTE": "100000",
        **(extra or {}),
    }
    subprocess.run([sys.executable, "-c", _INITIALISE], env=environment, cwd=ROOT, check=True, capture_output=True)
    stack = Stack(
        folder, environment, f"http://127.0.0.1:{api_port}", environment["QANATIX_DAGSTER_URL"], {}, root, workspace
    )
    programs = Path(sys.executable).parent
    try:
        stack.command("migrate")
        api = [programs / "uvicorn", "--factory", "qanatix_api.app:create_app", "--port", str(api_port)]
        if worker:
            _spawn_worker(stack)
        _spawn_dagster(stack)
        spawn(stack, "api", api)
        if worker:
            _wait_for_worker(stack)
        wait_for_dagster(stack)
        wait_for_answer(stack, "api", f"{stack.api_url}/healthz")
    except BaseException:
        stack.stop()
        raise
    return stack


def restart_dagster(stack: Stack) -> None:
    """Start Dagster again after it was stopped or killed, at the same address, and wait until it answers."""
    _spawn_dagster(stack)
    wait_for_dagster(stack)


def restart_worker(stack: Stack) -> None:
    """Start the worker again after it was stopped or killed, and wait until it answers."""
    _spawn_worker(stack)
    _wait_for_worker(stack)


def _spawn_worker(stack: Stack) -> None:
    spawn(stack, "worker", [Path(sys.executable).with_name("qanatix-worker")])


def _wait_for_worker(stack: Stack) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and stack.processes["worker"].poll() is None:
        with suppress(OSError):
            ask(stack.environment["DAGSTER_HOME"])
            return
        time.sleep(0.1)
    raise RuntimeError(f"worker did not start; the end of its log:\n{stack.log_end('worker')}")


def _spawn_dagster(stack: Stack) -> None:
    program, port = Path(sys.executable).with_name("dagster"), stack.dagster_url.rpartition(":")[2]
    spawn(stack, "dagster", [program, "dev", "-w", stack.workspace, "-h", "127.0.0.1", "-p", port])


def wait_for_dagster(stack: Stack, name: str = "dagster") -> None:
    """Wait until the process of this name answers as Dagster's webserver that has loaded our code."""
    wait_for_answer(stack, name, f"{stack.dagster_url}/server_info")
    _check_is_ours(stack, name)


def _check_is_ours(stack: Stack, name: str) -> None:
    """Raise RuntimeError if the webserver is up but our code did not load in it, or if it is somebody else's.

    Between the choice of a port and its use another Dagster may have taken it, and ours then has another one.
    """
    entries = "workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } }"
    query = f"{{ {entries} instance {{ info }} }}"
    answer = httpx2.post(
        f"{stack.dagster_url}/graphql", json={"query": query}, timeout=READY_SECONDS, verify=False
    ).json()
    if stack.environment["DAGSTER_HOME"] not in answer["data"]["instance"]["info"]:
        raise RuntimeError(f"Another Dagster answers at {stack.dagster_url}. Try again.")
    locations = answer["data"]["workspaceOrError"]["locationEntries"]
    if {location["locationOrLoadError"]["__typename"] for location in locations} != {"RepositoryLocation"}:
        raise RuntimeError(f"The definitions did not load:\n{stack.log_end(name)}")


def spawn(stack: Stack, name: str, command: list[Path | str]) -> None:
    """Start one of the system's processes in its environment."""
    with (stack.folder / f"{name}.log").open("ab") as log:  # one that is started again goes on in it
        process = subprocess.Popen(
            command,
            cwd=stack.root,
            env=stack.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, to be stopped whole, and not by the terminal's Ctrl-C
        )
    stack.processes[name] = process
    keeper.keep(f"{stack.folder}/{name}", process.pid)


def wait_for_answer(stack: Stack, name: str, url: str) -> None:
    """Wait until a process of the system answers at a URL. Raises RuntimeError that shows the end of its log."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if stack.processes[name].poll() is not None:
            break
        with suppress(httpx2.HTTPError):
            # To read the certificates that this machine trusts, which a call over HTTP does not need, takes longer.
            if httpx2.get(url, timeout=5, verify=False).is_success:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{name} did not start; the end of {stack.folder / name}.log:\n{stack.log_end(name)}")
