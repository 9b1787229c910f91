"""The system on several hosts, as processes of this one: by the files in `deploy/`, in production, on loopback.

Two replicas of the API, two of Celery's workers, and Dagster's webserver, daemon and code server.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from qanatix_pipelines.settings import new_fernet_key
from tests import stack as stacks
from tests.servers import free_port
from tests.stack import ROOT, Stack

WORKERS = ("one", "two")
PROCESSES = 8  # of each worker


@dataclass
class Hosts:
    """The same system by each of its APIs. Its logs are `<process>.log` in its folder."""

    replicas: list[Stack]

    def signal_worker(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a worker and all that it has forked, at once, as if its host did."""
        os.killpg(self._worker(name).pid, number)
        if number is signal.SIGKILL:
            self._worker(name).wait()

    def signal_main_process(self, name: str, number: signal.Signals) -> None:
        os.kill(self._worker(name).pid, number)

    def _worker(self, name: str) -> subprocess.Popen[bytes]:
        return self.replicas[0].processes[f"worker-{name}"]

    def stop(self) -> None:
        self.replicas[0].stop()


def start(folder: Path, dagster_database: str, store_database: str, broker: str) -> Hosts:
    """Start all of it with what it keeps on disk in `folder`, and wait until it answers.

    Both databases are DSNs of empty databases of PostgreSQL, `broker` is a URL. Raises RuntimeError that says which
    part did not start.
    """
    home = folder / "dagster"
    home.mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "several-hosts" / "dagster.yaml", home)
    environment = _environment(home, dagster_database, store_database, broker)
    stack = Stack(folder, environment, "", environment["QANATIX_DAGSTER_URL"], {})
    try:
        programs = Path(sys.executable).parent
        subprocess.run([programs / "dagster", "instance", "migrate"], env=environment, check=True, capture_output=True)
        stack.command("migrate")
        _spawn_code_server(stack)
        for name in WORKERS:
            app = ["-A", "qanatix_pipelines.launcher.celery_app", "worker", "-n", f"{name}@%h"]
            stacks.spawn(stack, f"worker-{name}", [programs / "celery", *app, "-c", str(PROCESSES), "-l", "INFO"])
        replicas = [_spawn_api(stack, name) for name in WORKERS]
        _wait_for_code_server(stack)
        _spawn_dagster(stack)
        for name, replica in zip(WORKERS, replicas, strict=True):
            _wait_for_worker(stack, name)
            stacks.wait_for_answer(stack, f"api-{name}", f"{replica.api_url}/healthz")
        stacks.wait_for_dagster(stack, "webserver")
    except BaseException:
        stack.stop()
        raise
    return Hosts(replicas)


def _environment(home: Path, dagster_database: str, store_database: str, broker: str) -> dict[str, str]:
    database = urlsplit(dagster_database)
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "DAGSTER_PG_HOST": str(database.hostname),
        "DAGSTER_PG_PORT": str(database.port),
        "DAGSTER_PG_USER": str(database.username),
        "DAGSTER_PG_PASSWORD": str(database.password),
        "DAGSTER_PG_DB": database.path[1:],
        "QANATIX_ENV": "production",
        "QANATIX_STORE_URL": store_database,
        "QANATIX_BROKER_URL": broker,
        "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1",
        "QANATIX_CODE_HOST": "127.0.0.1",
        "QANATIX_CODE_PORT": str(free_port()),
        "QANATIX_DAGSTER_URL": f"http://127.0.0.1:{free_port()}",
        "QANATIX_ALLOW_NETWORKS": "127.0.0.1/32",
        "CONNECTOR_ENCRYPTION_KEY": new_fernet_key(),
        "QANATIX_API_KEY_PEPPER": secrets.token_hex(32),
        # One key asks for all that the tests do.
        "QANATIX_WRITES_PER_MINUTE": "100000",
        "QANATIX_PULLS_PER_MINUTE": "100000",
        "QANATIX_READS_PER_MINUTE": "100000",
    }


def _spawn_code_server(stack: Stack) -> None:
    address = ["-h", "127.0.0.1", "-p", stack.environment["QANATIX_CODE_PORT"]]
    stacks.spawn(stack, "code", [sys.executable, "-m", "qanatix_pipelines.launcher.code_server", *address])


def _wait_for_code_server(stack: Stack) -> None:
    """It must be there first: a webserver that does not find it has no code to show."""
    deadline = time.monotonic() + stacks.READY_SECONDS
    while time.monotonic() < deadline and stack.processes["code"].poll() is None:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", int(stack.environment["QANATIX_CODE_PORT"]))) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the code server did not start; the end of its log:\n{stack.log_end('code')}")


def _spawn_dagster(stack: Stack) -> None:
    programs = Path(sys.executable).parent
    workspace = ["-w", ROOT / "deploy" / "workspace.yaml"]
    address = ["-h", "127.0.0.1", "-p", stack.dagster_url.rpartition(":")[2]]
    stacks.spawn(stack, "webserver", [programs / "dagster-webserver", *address, *workspace])
    stacks.spawn(stack, "daemon", [programs / "dagster-daemon", "run", *workspace])


def _spawn_api(stack: Stack, name: str) -> Stack:
    """The system by a replica of its API of its own."""
    port = str(free_port())
    uvicorn = Path(sys.executable).with_name("uvicorn")
    stacks.spawn(stack, f"api-{name}", [uvicorn, "--factory", "qanatix_api.app:create_app", "--port", port])
    return replace(stack, api_url=f"http://127.0.0.1:{port}")


def _wait_for_worker(stack: Stack, name: str) -> None:
    process, log = stack.processes[f"worker-{name}"], stack.folder / f"worker-{name}.log"
    deadline = time.monotonic() + stacks.READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if f"{name}@" in log.read_text() and " ready." in log.read_text():
            return
        time.sleep(0.1)
    raise RuntimeError(f"worker {name} did not start; the end of its log:\n{stack.log_end(f'worker-{name}')}")
