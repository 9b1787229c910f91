"""Fixtures: real servers, started when a test first asks; a store of each kind; a whole pull without Dagster."""

import gc
import logging
import shutil
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import psycopg
import pytest
from fastapi.testclient import TestClient
from xdist.remote import Producer

from qanatix_api.app import create_app
from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.extents import NEW_ROWS, Extent
from qanatix_pipelines.keys import USUAL_SCOPES, Scope
from qanatix_pipelines.pull import PullOutcome, run_pull
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.rejections import Rejection
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store import migrations
from qanatix_pipelines.store.engine import connect
from qanatix_pipelines.store.keys import KeyStore, check_pepper
from qanatix_pipelines.store.opening import Store, open_store
from qanatix_pipelines.store.tables import SCHEMA, metadata
from qanatix_pipelines.tenants import Tenant
from tests import compiled
from tests import stack as stacks
from tests.certificates import self_signed
from tests.fakes import FakeDagster, completing
from tests.scheduling import WITH_STACK, Scheduling, module_of, place_of
from tests.servers import Server
from tests.servers.debian import DownloadFailed
from tests.sources.databases import DATABASES
from tests.sources.harness import Harness
from tests.sources.mongodb.harness import MongoDBHarness
from tests.sources.sqlite import server as sqlite
from tests.system import System

# Time decides no test, however busy the machine is.
_UNTIMED = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("untimed", _UNTIMED)
hypothesis.settings.register_profile("few", _UNTIMED, max_examples=10)  # for `make check`
hypothesis.settings.load_profile("untimed")

ENCRYPTION_KEY = new_fernet_key()
PEPPER = "a pepper that only these tests know"
# How the fixtures end that give a server.
SERVERS = ("harness", "_server", "_engine", "postgresql", "_neo4j")

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
    compiled.share()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and found now stays. To look through it for garbage takes a third of this time, and later a
    sixth of each test's.
    """
    gc.disable()
    found = yield
    gc.freeze()
    gc.enable()
    return found


def pytest_unconfigure() -> None:
    sqlite.stop()  # first: a worker whose servers end slowly is killed before it has stopped them all
    while _started:
        _started.popitem()[1].stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, running in _started.items():
        terminalreporter.write_line(f"server: {name} {running.version}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test says by its fixtures that it needs a server, the running stack, or the whole API."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        on_postgresql = getattr(item, "callspec", None) and item.callspec.params.get("store_kind") == "postgresql"
        if on_postgresql or any(name.endswith(SERVERS) for name in fixtures):
            item.add_marker(pytest.mark.server)
        if "keyless" in fixtures:
            item.add_marker(pytest.mark.api)
        if "stack" in fixtures:
            item.add_marker(pytest.mark.stack)
            (*_, used) = item._fixtureinfo.name2fixturedefs["stack"]  # type: ignore[attr-defined]
            if used.scope == "session" and module_of(item) not in WITH_STACK:
                raise pytest.UsageError(
                    f"{module_of(item)} asks for the running stack: tests/scheduling.py must name it."
                )
    items.sort(key=place_of)


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


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The API, Dagster and a worker as processes of their own, for all tests that ask for it.

    It holds what tests before have made: each looks at its own connectors, and leaves every process running.
    """
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
def migrated_database() -> str:
    """The DSN of a PostgreSQL store: to make one takes much longer than to empty it."""
    address = new_database(server("postgresql"))
    _migrate(address)
    return address


@pytest.fixture
def store_database(migrated_database: str) -> str:
    """The DSN of a PostgreSQL store that holds nothing. No other test's connection to it is left."""
    tables = ", ".join(str(table) for table in metadata.sorted_tables)
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
        )
        connection.execute(f"TRUNCATE {tables} RESTART IDENTITY".encode())
        own = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^(entity_[0-9]+|attempt_.*)$'"
        if made := [f"{SCHEMA}.{name}" for (name,) in connection.execute(own)]:
            connection.execute(f"DROP TABLE {', '.join(made)}".encode())
    return migrated_database


@pytest.fixture(scope="session")
def template_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store that holds nothing but its keys' proofs: to make one takes much longer than to copy it."""
    folder = tmp_path_factory.mktemp("migrated")
    store = open_store(Settings(data_dir=folder, encryption_key=ENCRYPTION_KEY, pepper=PEPPER))
    check_pepper(store.engine, PEPPER.encode())
    store.engine.dispose()
    return folder / "qanatix.db"


def _migrate(address: str) -> None:
    engine = connect(address)
    migrations.upgrade(engine)
    engine.dispose()


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
    """Settings of a store of either kind. It has tables if the test takes a `store`."""
    name = "store_database" if "store" in request.fixturenames else "database"
    return Settings(
        data_dir=tmp_path,
        store_url=request.getfixturevalue(name) if store_kind == "postgresql" else None,
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
def in_heaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL all pulls are staged in a table of their own, as larger ones are."""
    monkeypatch.setattr("qanatix_pipelines.store.shelves.HELD_ROWS", 0)


@pytest.fixture
def dagster(store: Store) -> Iterator[FakeDagster]:
    """Dagster's webserver, faked: each launched run completes its pull at once, with one entity."""
    fake = FakeDagster(completing(store))
    yield fake
    fake.stop()


@pytest.fixture
def keyless(
    store: Store,  # noqa: ARG001  # it has the tables
    settings: Settings,
    dagster: FakeDagster,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TestClient]:
    """The API, asked without a key."""
    monkeypatch.setattr("qanatix_api.dagster._RUN_POLL_SECONDS", 0.1)
    given = settings.model_copy(update={"dagster_url": dagster.url, "pull_wait_seconds": 20})
    with TestClient(create_app(given)) as api:
        yield api


@pytest.fixture
def client(store: Store, keyless: TestClient) -> Callable[..., TestClient]:
    """The API, asked by a key of these scopes and this tenant: `client(*scopes, tenant=DEFAULT)`."""

    def asking(*scopes: Scope, tenant: Tenant = store.pulls.tenant) -> TestClient:
        key = KeyStore(store.engine, PEPPER.encode()).of(tenant).create("test", frozenset(scopes))
        keyless.headers["Authorization"] = f"Bearer {key.text}"
        return keyless

    return asking


@pytest.fixture
def api(client: Callable[..., TestClient]) -> TestClient:
    """The API, asked by a key of the usual scopes."""
    return client(*USUAL_SCOPES)


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
    """Pull a connector once, without Dagster: `pulled(connector, extent, **as_run_pull)`."""

    def pull_once(connector: Connector, extent: Extent = NEW_ROWS, **others: Any) -> PullOutcome:
        current = store.connectors.get(connector.id)
        receipt = store.pulls.begin(current, f"run-{uuid4()}", extent)
        opened = partial(open_source, current.connector_type, folders=(sqlite.folder(),))
        return run_pull(store, current, receipt, opened, **others)

    return pull_once


@pytest.fixture
def rejected(store: Store) -> Callable[[Receipt], Sequence[Rejection]]:
    """The first hundred rows that a pull rejected."""
    return lambda receipt: store.rejections.page(receipt.id, limit=100)[0]
