"""No connector's address leads a pull to where pulls may not go, or to secrets and files of ours."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.egress import Egress
from qanatix_pipelines.errors import AddressRefused, InvalidConnector, SourceError, SourceUnreachable
from qanatix_pipelines.pull import Limits, run_pull
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import check_connector, open_source
from qanatix_pipelines.store.opening import Store, open_store
from tests.campaigns.hostile_addresses import cases
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.servers.tripwire import Tripwire

CANARY = "canary-of-our-own"
QUERIES = {"postgresql": "SELECT 1", "mysql": "SELECT 1", "mongodb": "{}", "neo4j": "RETURN 1 AS id"}
# The last is for a name that leads nowhere on this machine.
REFUSALS = (InvalidConnector, AddressRefused, SourceUnreachable)
LIMITS = Limits(answer_seconds=30, pull_seconds=60, pauses=())
# pymongo asks again until its time is over, whatever the refusal.
OF_MONGODB = Limits(answer_seconds=1, pull_seconds=60, pauses=())

_opened: set[str] = set()
_watched: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event == "open" and str(arguments[0]) in _watched:
        _opened.add(str(arguments[0]))


@pytest.fixture
def tripwire() -> Iterator[Tripwire]:
    listening = Tripwire()
    yield listening
    listening.stop()


@pytest.fixture
def poisoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tripwire: Tripwire) -> Iterator[Path]:
    """Every variable and file from which a driver might take an identity or an address of ours holds the canary."""
    file = tmp_path / "ours"
    file.write_text(f"127.0.0.1:{tripwire.port}:*:*:{CANARY}\n[client]\npassword={CANARY}\n[x]\nhost=127.0.0.1\n")
    file.chmod(0o600)
    home = tmp_path / "home"
    for name in (".pgpass", ".pg_service.conf", ".my.cnf", ".postgresql/postgresql.crt", ".postgresql/postgresql.key"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(file.read_text())
        (home / name).chmod(0o600)
    for variable in (
        "PGPASSWORD",
        "PGUSER",
        "PGDATABASE",
        "PGSSLPASSWORD",
        "PGOPTIONS",
        "MYSQL_PWD",
        "USER",
        "LOGNAME",
    ):
        monkeypatch.setenv(variable, CANARY)
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET"):
        monkeypatch.setenv(variable, CANARY)
    for variable in ("PGPASSFILE", "PGSERVICEFILE", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT", "MYSQL_HOME"):
        monkeypatch.setenv(variable, str(file))
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(tripwire.port))
    monkeypatch.setenv("HOME", str(home))
    sys.addaudithook(_watch)
    _watched[:] = [str(file), *(str(path) for path in home.rglob("*") if path.is_file())]
    _opened.clear()
    yield file
    _watched.clear()


@pytest.fixture
def pull_of(tmp_path: Path) -> Iterator[Callable[[str, dict[str, Any], Egress], Exception | None]]:
    """Register a connector with a config and pull it: what it is refused with."""
    store = open_store(Settings(data_dir=tmp_path / "data", encryption_key=ENCRYPTION_KEY, pepper=PEPPER))
    yield partial(_pull, store)
    store.engine.dispose()


def _pull(store: Store, connector_type: str, config: dict[str, Any], egress: Egress) -> Exception | None:
    new = NewConnector(
        name="Case",
        connector_type=connector_type,
        vertical="testing",
        entity_type="case",
        connection_config=config,
        query=QUERIES[connector_type],
    )
    try:
        check_connector(connector_type, config, new.query)
        connector = store.connectors.add(new)
        receipt = store.pulls.begin(connector, "run")
        limits = OF_MONGODB if connector_type == "mongodb" else LIMITS
        run_pull(store, connector, receipt, partial(open_source, connector_type), limits=limits, egress=egress)
    except (InvalidConnector, SourceError) as error:
        return error
    return None


def test_no_hostile_address_is_connected_to(
    tripwire: Tripwire,
    poisoned: Path,
    pull_of: Callable[[str, dict[str, Any], Egress], Exception | None],
    figures: Callable[[str], None],
) -> None:
    wrong, kinds = [], Counter[str]()
    for connector_type, config in cases(tripwire.port, str(poisoned)):
        refusal = pull_of(connector_type, config, Egress(loopback=False))
        kinds[type(refusal).__name__] += 1
        said = str(refusal)
        if not isinstance(refusal, REFUSALS) or CANARY in said or "case" in said:
            wrong.append((connector_type, config, refusal))

    opened = sorted(_opened)
    figures(
        f"hostile addresses: {kinds.total()} cases, {tripwire.connections} connections, {len(opened)} files opened; "
        + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    )
    assert wrong == []
    assert kinds.total() >= 400
    assert tripwire.connections == 0
    assert opened == []


def test_where_this_machine_is_open_a_server_gets_nothing_of_ours(
    tripwire: Tripwire,
    poisoned: Path,
    pull_of: Callable[[str, dict[str, Any], Egress], Exception | None],
    figures: Callable[[str], None],
) -> None:
    """The same cases, with nothing refused by its network: what is sent is the connector's own."""
    for connector_type, config in cases(tripwire.port, str(poisoned)):
        if "127.0.0.1" in repr(config) or "localhost" in repr(config):
            pull_of(connector_type, config, Egress())

    figures(f"hostile addresses, open: {tripwire.connections} connections, {len(_opened)} files of ours opened")
    assert tripwire.connections > 0  # so the tripwire is one
    assert CANARY.encode() not in tripwire.received
    assert not _opened
