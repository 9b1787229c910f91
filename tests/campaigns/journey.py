"""A running system, the secrets that it is given, and what those who walk its roads share."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx2
import psycopg
from pydantic import SecretStr

from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.store.opening import Store, open_store
from tests.sources.postgresql.echoing import EchoingPostgreSQL
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.stack import ROOT
from tests.system import System

# In names and request ids, so that the search finds it wherever it may find a secret.
MARK = f"marked-{uuid4().hex[:12]}"
QUERY = "SELECT id, name FROM items ORDER BY id"
OUTER_SECONDS = 600


def planted() -> str:
    """A secret: between two plain words, what URLs, JSON, shells, HTML and ASCII each write in a way of their own."""
    return f"{secrets.token_hex(6)}/+\"w0rd' &%{secrets.token_hex(3)}<é>{secrets.token_hex(6)}"


def ends(name: str, secret: str) -> dict[str, str]:
    """A planted secret and its two plain words, for a part of it would be bad enough."""
    return {name: secret, f"{name}, its beginning": secret[:12], f"{name}, its end": secret[-12:]}


@dataclass
class Secrets:
    """What nobody may find. The API keys join them as they are made."""

    password: str = field(default_factory=planted)
    next_password: str = field(default_factory=planted)
    wrong_password: str = field(default_factory=planted)
    mongodb: str = field(default_factory=planted)
    mysql: str = field(default_factory=planted)
    tls: str = field(default_factory=planted)
    value: str = field(default_factory=planted)
    name: str = field(default_factory=planted)
    encryption_key: str = field(default_factory=new_fernet_key)
    next_encryption_key: str = field(default_factory=new_fernet_key)
    pepper: str = field(default_factory=lambda: secrets.token_hex(32))
    store_password: str | None = None
    api_keys: list[str] = field(default_factory=list)
    dsns: list[str] = field(default_factory=list)
    # A query is no secret: the API shows it. But Dagster, the logs and the command lines have none.
    literal: str = field(default_factory=lambda: f"literal{secrets.token_hex(8)}")

    def canaries(self) -> dict[str, str]:
        of_people = ("password", "next_password", "wrong_password", "mongodb", "mysql", "tls", "value", "name")
        found = {name: part for kind in of_people for name, part in ends(kind, getattr(self, kind)).items()}
        found |= {f"DSN {number}": dsn for number, dsn in enumerate(self.dsns)}
        found |= {f"API key {number}": key[16:64] for number, key in enumerate(self.api_keys)}
        found |= {kind: getattr(self, kind) for kind in ("encryption_key", "next_encryption_key", "pepper")}
        return found | ({"store_password": self.store_password} if self.store_password else {})


class Journey:
    """What a road is walked with."""

    def __init__(self, system: System, kept: Secrets, harness: PostgreSQLHarness, echo: EchoingPostgreSQL) -> None:
        self.system, self.secrets, self.harness, self.echo = system, kept, harness, echo
        self.api = system.api
        self.api.timeout = OUTER_SECONDS
        self.api.headers["Connection"] = "close"  # uvicorn closes those on which it has told a fault, at any moment
        self.user = f"planted_{uuid4().hex[:8]}"
        self.next_user = f"planted_{uuid4().hex[:8]}"
        self.leak = f"leak_{uuid4().hex[:8]}"
        self.commands: list[bytes] = []
        kept.api_keys.append(self.api.headers["Authorization"].removeprefix("Bearer "))
        self._prepare_source()

    def _prepare_source(self) -> None:
        """Two users with these passwords, and a function whose error says what it is told."""
        with psycopg.connect(self.harness.server.address, autocommit=True) as connection:
            for user, password in ((self.user, self.secrets.password), (self.next_user, self.secrets.next_password)):
                literal = password.replace("'", "''")
                connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{literal}'".encode())
                connection.execute(f"GRANT SELECT ON items TO {user}".encode())
            literal = f"{self.secrets.password} {self.dsn()}".replace("'", "''")
            connection.execute(
                f"CREATE FUNCTION {self.leak}(state text) RETURNS text LANGUAGE plpgsql AS $leak$ BEGIN "
                f"RAISE EXCEPTION USING MESSAGE = '{literal}', DETAIL = '{literal}', HINT = '{literal}', "
                f"ERRCODE = state; END $leak$".encode()
            )

    def clear_source(self) -> None:
        with psycopg.connect(self.harness.server.address, autocommit=True) as connection:
            connection.execute(f"DROP FUNCTION {self.leak}(text)".encode())
            for user in (self.user, self.next_user):
                connection.execute(f"GRANT {user} TO CURRENT_USER; DROP OWNED BY {user}; DROP ROLE {user}".encode())

    def dsn(self, *, at: str = "", password: str = "", user: str = "", options: str = "sslmode=disable") -> str:
        at = at or self.harness.server.address.rpartition("@")[2]
        given = f"postgresql://{user or self.user}:{quote(password or self.secrets.password, safe='')}@{at}?{options}"
        self.secrets.dsns += [given] if given not in self.secrets.dsns else []
        return given

    def body(self, config: Any, query: str = QUERY, **fields: Any) -> dict[str, Any]:
        base = {
            "name": MARK,
            "connector_type": "postgresql",
            "vertical": "testing",
            "entity_type": f"{MARK}-{uuid4().hex[:6]}",
            "connection_config": config,
            "query": query,
        }
        return base | fields

    def post(self, body: dict[str, Any]) -> int:
        return self.api.post("/connectors", json=body, headers={"X-Request-Id": MARK}).status_code

    def registered(self, config: Any, query: str = QUERY, **fields: Any) -> str:
        answer = self.api.post("/connectors", json=self.body(config, query, **fields), headers={"X-Request-Id": MARK})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def pull(self, connector: str) -> int:
        return self.api.post(f"/connectors/{connector}/pull").status_code

    def pulled(self, config: Any, query: str = QUERY, **fields: Any) -> int:
        return self.pull(self.registered(config, query, **fields))

    def begun(self, connector: str) -> tuple[Callable[[], int], str]:
        """A pull that somebody waits for, once its run has started: what it is answered in the end; the run's id."""
        waiting = ThreadPoolExecutor(1)
        asked = waiting.submit(self.pull, connector)
        waiting.shutdown(wait=False)
        running: list[str] = []

        def started() -> bool:
            with self.store() as store:
                live = store.pulls.live(UUID(connector))
            running.extend([live.run_id] if live and live.run_id and live.status == "running" else [])
            return bool(running)

        until(started)
        return asked.result, running[0]

    def client(self, key: str) -> httpx2.Client:
        """A caller with another key. What it is answered is noted, too."""
        return httpx2.Client(
            base_url=self.api.base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=OUTER_SECONDS,
            event_hooks={"response": [self.system._note]},
        )

    @contextmanager
    def store(self, encryption_keys: str | None = None) -> Iterator[Store]:
        """The system's store, past its API."""
        environment = self.system.stack.environment
        url = environment.get("QANATIX_STORE_URL")
        opened = open_store(
            Settings(
                data_dir=Path(environment["QANATIX_DATA_DIR"]),
                store_url=None if url is None else SecretStr(url),
                encryption_key=SecretStr(encryption_keys or self.secrets.encryption_key),
            )
        )
        try:
            yield opened
        finally:
            opened.engine.dispose()

    def change_store(self, statement: str) -> None:
        """By hand, as nobody should. A table's name stands in it as {connector}."""
        with self.store() as store, store.engine.begin() as transaction:
            schema = "" if store.engine.dialect.name == "sqlite" else "qanatix."
            transaction.exec_driver_sql(statement.format(connector=f"{schema}connector"))

    def command(self, *arguments: str, shown: bool = False, **environment: str) -> int:
        """`qanatix ...` with these variables, too. What it prints may be searched, unless it has to show a secret."""
        program = Path(sys.executable).with_name("qanatix")
        done = subprocess.run(
            [program, *arguments],
            env=self.system.stack.environment | environment,
            capture_output=True,
            check=False,
            cwd=ROOT,
        )
        if shown:
            self.secrets.api_keys.append(done.stdout.decode().strip())
        self.commands.append(done.stderr if shown else done.stdout + done.stderr)
        return done.returncode


def kill_runs(worker: int) -> int:
    """SIGKILL to each process that this worker has started for a run. How many."""
    runs = [
        child for task in Path(f"/proc/{worker}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    for run in runs:
        with suppress(ProcessLookupError):
            os.kill(int(run), signal.SIGKILL)
    return len(runs)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + OUTER_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
