"""The encryption key is rotated again and again while connectors are pulled, changed and made: nothing fails.

Pulls run in processes of their own, changes come over HTTP, and each rotation is the operator's command. One of them is
killed amid its work, and another goes on with it.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import httpx2
import psycopg
import pytest
from pydantic import SecretStr

from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import QanatixError
from qanatix_pipelines.pull import run_pull
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store.engine import PULL_PATIENCE_SECONDS
from qanatix_pipelines.store.opening import Store, open_store
from qanatix_pipelines.store.rotation import Rotated, rotate
from tests.campaigns.conftest import DEEP
from tests.conftest import ENCRYPTION_KEY, server
from tests.served import served
from tests.sources.postgresql.harness import PostgreSQLHarness

ROTATIONS = 10 if DEEP else 3
PULLS = 200 if DEEP else 51
CONNECTORS = 1000 if DEEP else 100
ROWS = 50
KILLED = 1  # the second rotation
SEED = 20261125
OUTER_SECONDS = 600


@dataclass
class Traffic:
    """What was done while keys were rotated. A change's password is one of two that are good."""

    pulls: int = 0
    failed: list[str] = field(default_factory=list)
    changed: dict[UUID, dict[str, str]] = field(default_factory=dict)
    changes: int = 0
    made: int = 0


@pytest.fixture
def harness() -> PostgreSQLHarness:
    return PostgreSQLHarness(server("postgresql"))


@pytest.fixture
def logins(harness: PostgreSQLHarness) -> Iterator[list[dict[str, str]]]:
    """Two connection_configs that both read the items, by users of their own."""
    harness.fill(ROWS)
    users = [f"rotated_{uuid4().hex[:8]}" for _ in range(2)]
    with psycopg.connect(harness.server.address, autocommit=True) as connection:
        for user in users:
            connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{user}-secret'".encode())
            connection.execute(f"GRANT SELECT ON items TO {user}".encode())
    host = harness.server.address.rpartition("@")[2]
    yield [{"dsn": f"postgresql://{user}:{user}-secret@{host}?sslmode=disable"} for user in users]
    with psycopg.connect(harness.server.address, autocommit=True) as connection:
        for user in users:
            connection.execute(f"GRANT {user} TO CURRENT_USER; DROP OWNED BY {user}; DROP ROLE {user}".encode())


@pytest.mark.timeout(OUTER_SECONDS if not DEEP else 7200)
def test_no_pull_and_no_request_fails_while_the_key_is_rotated(
    settings: Settings,
    store_kind: str,
    harness: PostgreSQLHarness,
    logins: list[dict[str, str]],
    figures: Callable[[str], None],
) -> None:
    random = Random(SEED)
    old = ENCRYPTION_KEY
    with _opened(settings) as store:
        ids = [store.connectors.add(_new(harness, logins[0])).id for _ in range(CONNECTORS)]
    pulled, changed = ids[::2], ids[1::2]
    traffic, seconds, killed_at = Traffic(), 0.0, 0
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        for rotation in range(ROTATIONS):
            new = new_fernet_key()
            both = settings.model_copy(
                update={"encryption_key": SecretStr(f"{new},{old}"), "writes_per_minute": 1_000_000}
            )
            target = PULLS * (rotation + 1) // ROTATIONS
            with (
                _pulling(processes, both, pulled, target, traffic, random),
                _changing(both, changed, logins, harness, traffic),
            ):
                if rotation == KILLED:
                    killed_at = random.randrange(1, len(pulled))  # which are all under the old key yet
                    _rotate_and_die(both, killed_at)
                    assert killed_at <= _under(new, both) < CONNECTORS + traffic.made
                started = time.monotonic()
                _rotate(both)
                seconds = max(seconds, time.monotonic() - started)
            with _opened(settings.model_copy(update={"encryption_key": SecretStr(new)})) as later:
                _all_are_as_last_said(later, logins[0], traffic)
            old = new

    figures(
        f"rotation {store_kind}: {ROTATIONS} of {CONNECTORS} to {CONNECTORS + traffic.made} connectors, "
        f"one killed after {killed_at}, longest {seconds:.1f} s; meanwhile {traffic.pulls} pulls, "
        f"{traffic.changes} new credentials, {traffic.made} made: {len(traffic.failed)} failed, 0 under an old key"
    )
    assert traffic.failed == []
    assert traffic.pulls >= PULLS


def _new(harness: PostgreSQLHarness, config: dict[str, str]) -> NewConnector:
    return NewConnector(
        name="Items",
        connector_type="postgresql",
        vertical="testing",
        entity_type="item",
        connection_config=config,
        query=harness.everything,
    )


@contextmanager
def _opened(settings: Settings) -> Iterator[Store]:
    store = open_store(settings, PULL_PATIENCE_SECONDS)
    yield store
    store.engine.dispose()


def _pull(settings: Settings, connector_id: UUID) -> str:
    """What of a pull went wrong, if anything did. In a process that opens the store for it, as a run's does."""
    with _opened(settings) as store:
        try:
            connector = store.connectors.get(connector_id)
            receipt = store.pulls.begin(connector, f"run-{uuid4()}")
            outcome = run_pull(store, connector, receipt, partial(open_source, connector.connector_type))
        except QanatixError as error:
            return f"{type(error).__name__}: {error}"
    return "" if outcome.receipt.records_pulled == ROWS else f"{outcome.receipt.records_pulled} rows"


@contextmanager
def _pulling(
    processes: ProcessPoolExecutor, settings: Settings, ids: list[UUID], target: int, traffic: Traffic, random: Random
) -> Iterator[None]:
    """Pulls without pause, two at a time, while the block lasts; and then until there were `target`."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.is_set() or traffic.pulls < target:
            for problem in processes.map(_pull, [settings] * 2, random.sample(ids, 2)):
                traffic.pulls += 1
                traffic.failed += [problem] if problem else []

    with _meanwhile(go_on, ended):
        _until(lambda: traffic.pulls > target - PULLS // ROTATIONS)
        yield


@contextmanager
def _changing(
    settings: Settings, ids: list[UUID], logins: list[dict[str, str]], harness: PostgreSQLHarness, traffic: Traffic
) -> Iterator[None]:
    """Changes credentials, and now and then makes a connector, over HTTP, while the block lasts."""
    ended = threading.Event()
    before = traffic.changes

    def go_on() -> None:
        for turn in count():
            if ended.is_set():
                return
            connector_id, config = ids[turn % len(ids)], logins[turn % 2]
            answer = client.patch(f"/connectors/{connector_id}", json={"connection_config": config})
            if answer.status_code == 200:
                traffic.changed[connector_id] = config
                traffic.changes += 1
            else:
                traffic.failed.append(answer.text)
            if turn % 5 == 0:
                made = client.post(
                    "/connectors", json=_new(harness, logins[0]).model_dump() | {"name": f"Items {turn}"}
                )
                traffic.made += made.status_code == 201
                traffic.failed += [made.text] if made.status_code != 201 else []

    with (
        served(settings) as api,
        httpx2.Client(base_url=f"{api.url}/api/v1", headers=api.headers, timeout=OUTER_SECONDS) as client,
        _meanwhile(go_on, ended),
    ):
        _until(lambda: traffic.changes > before)
        yield


@contextmanager
def _meanwhile(work: Callable[[], None], ended: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _rotate(settings: Settings) -> None:
    """As the operator does."""
    assert settings.encryption_key is not None
    environment = os.environ | {
        "QANATIX_STORE_URL": settings.store_address(),
        "CONNECTOR_ENCRYPTION_KEY": settings.encryption_key.get_secret_value(),
    }
    command = [Path(sys.executable).with_name("qanatix"), "keys", "rotate-encryption"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert " under the first key of CONNECTOR_ENCRYPTION_KEY; keys after it may be removed. " in done.stderr


def _rotate_and_die(settings: Settings, after: int) -> None:
    dying = multiprocessing.get_context("spawn").Process(target=_die_rotating, args=[settings, after])
    dying.start()
    dying.join()
    assert dying.exitcode == -signal.SIGKILL


def _die_rotating(settings: Settings, after: int) -> None:
    store = open_store(settings)
    replaced = count(1)

    def on_progress(_done: int, _of: int) -> None:
        if next(replaced) == after:
            os.kill(os.getpid(), signal.SIGKILL)

    store.connectors.rotate(on_progress)


def _under(key: str, settings: Settings) -> int:
    """How many connectors' credentials are under this key."""
    with _opened(settings) as store:
        cipher = CredentialCipher([key])
        readable = rotate(store.engine, cipher)
        return readable.connectors - len(readable.unreadable)


def _all_are_as_last_said(store: Store, first: dict[str, str], traffic: Traffic) -> None:
    connectors = store.connectors.list()
    assert len(connectors) == CONNECTORS + traffic.made
    for connector in connectors:
        assert store.connectors.connection_config(connector) == traffic.changed.get(connector.id, first)
    assert store.connectors.rotate() == Rotated(len(connectors), (), ())


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + OUTER_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
