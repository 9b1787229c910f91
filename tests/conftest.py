"""Fixtures: real servers, started when a test first asks; a store of each kind; a whole pull without Dagster."""

import logging
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from fastapi.testclient import TestClient

from qanatix_api.app import create_app
from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.pull import PullOutcome, run_pull
from qanatix_pipelines.pulls import Pull
from qanatix_pipelines.rejections import Rejection
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store import migrations
from qanatix_pipelines.store.engine import connect
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store, open_store
from qanatix_pipelines.tenants import Tenant
from tests import stack as stacks
from tests.certificates import self_signed
from tests.databases import DATABASES
from tests.harness import Harness
from tests.harness.mongodb import MongoDBHarness
from tests.servers import Server
from tests.servers.debian import DownloadFailed
from tests.system import System

ENCRYPTION_KEY = new_fernet_key()
PEPPER = "a pepper that only these tests know"

_started: dict[str, Server] = {}
_not_downloaded: dict[str, str] = {}


def server(name: str) -> Server:
    """The session's server of this name. Skips the test if its program could not be downloaded."""
    if name in _not_downloaded:
        pytest.skip(_not_downloaded[name])
    if name not in _started:
        try:
            _started[name] = DATABASES[name].start()
        except DownloadFailed as reason:
            _not_downloaded[name] = str(reason)
            pytest.skip(_not_downloaded[name])
    return _started[name]


def pytest_configure() -> None:
    """SIGTERM ends the tests as the keyboard's interrupt does, so that their servers are stopped, too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_unconfigure() -> None:
    while _started:
        _started.popitem()[1].stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, running in _started.items():
        terminalreporter.write_line(f"server: {name} {running.version}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test says by its fixtures that it needs a server."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        on_postgresql = getattr(item, "callspec", None) and item.callspec.params.get("store_kind") == "postgresql"
        if on_postgresql or any(name.endswith(("harness", "_server", "_engine")) for name in fixtures):
            item.add_marker(pytest.mark.server)
        if "stack" in fixtures:
            item.add_marker(pytest.mark.stack)


@pytest.fixture
def forget_handlers(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on nobody has said where log lines go. Not even pytest, which says it anew as each test begins."""

    def forget() -> None:
        for name in (None, "qanatix.audit", "qanatix_api", "qanatix_pipelines"):
            monkeypatch.setattr(logging.getLogger(name), "handlers", [])

    return forget


@pytest.fixture
def postgresql_server() -> Server:
    return server("postgresql")


@pytest.fixture
def mongodb_harness() -> MongoDBHarness:
    return MongoDBHarness(server("mongodb"))


@pytest.fixture
def neo4j_server() -> Server:
    return server("neo4j")


@pytest.fixture(params=["mysql", "mysql97"])
def mysql_server(request: pytest.FixtureRequest) -> Server:
    """MariaDB, and MySQL."""
    return server(request.param)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody but itself has signed, and its key."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=list(DATABASES))
def harness(request: pytest.FixtureRequest) -> Harness:
    return DATABASES[request.param].harness(server(request.param))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The API, Dagster and a worker as processes of their own, for the tests of one module."""
    running = stacks.start(tmp_path_factory.mktemp("stack"))
    system = System(running)
    yield system
    system.api.close()
    running.stop()


@pytest.fixture
def database(postgresql_server: Server) -> str:
    """The DSN of an empty PostgreSQL database of the test's own."""
    return new_database(postgresql_server)


def new_database(postgresql: Server) -> str:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgresql.address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return postgresql.address.rpartition("/")[0] + f"/{name}"


@pytest.fixture(scope="session")
def template_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store that holds nothing yet: to migrate one takes much longer than to copy it."""
    file = tmp_path_factory.mktemp("migrated") / "qanatix.db"
    engine = connect(f"sqlite:///{file}")
    migrations.upgrade(engine)
    engine.dispose()
    return file


@pytest.fixture
def data_dir(template_store: Path, tmp_path: Path) -> Path:
    """A data folder with a SQLite store whose tables are made."""
    shutil.copy(template_store, tmp_path)
    return tmp_path


@pytest.fixture(params=["sqlite", "postgresql"])
def store_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def settings(store_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """Settings of a store of either kind."""
    return Settings(
        data_dir=tmp_path,
        store_url=request.getfixturevalue("database") if store_kind == "postgresql" else None,
        encryption_key=ENCRYPTION_KEY,
        pepper=PEPPER,
    )


@pytest.fixture
def store(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store: a test that takes it runs over SQLite and over PostgreSQL."""
    if settings.store_url is None:
        request.getfixturevalue("data_dir")
    opened = open_store(settings)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def client(store: Store, settings: Settings) -> Iterator[Callable[..., TestClient]]:
    """The API, to a key of these scopes and this tenant."""
    with TestClient(create_app(settings)) as api:

        def asking(*scopes: Scope, tenant: Tenant = store.pulls.tenant) -> TestClient:
            key = KeyStore(store.engine, PEPPER.encode()).of(tenant).create("test", frozenset(scopes))
            api.headers["Authorization"] = f"Bearer {key.text}"
            return api

        yield asking


@pytest.fixture
def register(store: Store) -> Callable[..., Connector]:
    """Register a connector of a harness: `register(harness, query, **fields)`."""

    def registered(harness: Harness, query: str, **fields: object) -> Connector:
        given = {
            "name": "Items",
            "connector_type": harness.connector_type,
            "vertical": "testing",
            "entity_type": "item",
            "connection_config": harness.config,
            "query": query,
        }
        return store.connectors.add(NewConnector.model_validate(given | fields))

    return registered


@pytest.fixture
def pulled(store: Store) -> Callable[..., PullOutcome]:
    """Pull a connector once, without Dagster: `pulled(connector, full_refresh=False, **as_run_pull)`."""

    def pull_once(connector: Connector, *, full_refresh: bool = False, **others: Any) -> PullOutcome:
        current = store.connectors.get(connector.id)
        receipt = store.pulls.begin(current, f"run-{uuid4()}", full_refresh=full_refresh)
        return run_pull(store, current, receipt, partial(open_source, current.connector_type), **others)

    return pull_once


@pytest.fixture
def rejected(store: Store) -> Callable[[Pull], Sequence[Rejection]]:
    """The first hundred rows that a pull rejected."""
    return lambda receipt: store.rejections.page(receipt.id, limit=100)[0]
