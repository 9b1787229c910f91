"""No query changes a byte of its source, makes a file there or runs a program: whatever its account may do.

As an account that may only read, each query runs with the check of its text and without it: then the server is left.
As the greatest account, which the operator allows, it runs with the check; PostgreSQL's without it, too, in the long
form.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import bson.json_util
import pytest

from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.errors import AccountTooStrong, InvalidConnector, QueryRejected, SourceError
from qanatix_pipelines.pull import Limits, run_pull
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import check_connector, open_source
from qanatix_pipelines.sources.mongodb.query import MongoQuery
from qanatix_pipelines.sources.neo4j.query import CypherQuery
from qanatix_pipelines.sources.source import Asked
from qanatix_pipelines.sources.sql import SqlQuery
from qanatix_pipelines.store.opening import Store, open_store
from tests.campaigns.conftest import DEEP
from tests.campaigns.disguises import CALLS, EXTENSIONS, READS
from tests.campaigns.hostile_queries import BY_RIGHTS, QUERIES
from tests.campaigns.prey import MongoDBPrey, MySQLPrey, Neo4jPrey, PostgreSQLPrey, Prey, SQLitePrey
from tests.conftest import ENCRYPTION_KEY, PEPPER, server
from tests.servers import new_folder, remove
from tests.servers.tripwire import Tripwire
from tests.sources.mysql import server as mysql
from tests.sources.postgresql import server as postgresql

pytestmark = pytest.mark.server

AT_ONCE = 8
LIMITS = Limits(answer_seconds=2, pull_seconds=3, pauses=())
PREYS = ["postgresql", "mysql", *(["mysql97"] if DEEP else []), "mongodb", "neo4j", "sqlite"]
REGISTERED = "422"
ROWS = "rows"
# How a hostile query may end.
ENDS = {
    *(REGISTERED, ROWS),
    *(
        "query_rejected",
        "account_too_strong",
        "result_unusable",
        "source_timeout",
        "source_failed",
        "source_unreachable",
        "login_refused",
    ),
}


@pytest.fixture
def trip() -> Iterator[Path]:
    """A folder that any source may write to."""
    folder = new_folder("trip", {})
    folder.chmod(0o777)
    yield folder
    remove(folder)


@pytest.fixture(params=PREYS)
def prey(request: pytest.FixtureRequest) -> Iterator[Prey]:
    with ExitStack() as stack:
        yield _prey(request.param, stack)


def _prey(name: str, stack: ExitStack) -> Prey:
    """A source of this campaign's own where a strong account could harm what others use."""
    match name:
        case "postgresql":
            own = postgresql.start()
            stack.callback(own.stop)
            return PostgreSQLPrey(own)
        case "mysql" | "mysql97":
            own = mysql.start_mariadb() if name == "mysql" else mysql.start_mysql97()
            stack.callback(own.stop)
            ((data,),) = mysql.execute(own.address, "SELECT @@datadir")
            return MySQLPrey(own, Path(data))
        case "mongodb":
            return MongoDBPrey(server("mongodb"))
        case "sqlite":
            folder = new_folder("prey", {})
            stack.callback(remove, folder)
            return SQLitePrey(folder)
        case _:
            return Neo4jPrey(server("neo4j"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(Settings(data_dir=tmp_path / "data", encryption_key=ENCRYPTION_KEY, pepper=PEPPER))
    yield opened
    opened.engine.dispose()


def ungated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked is sent."""

    def mongo(text: str) -> MongoQuery:
        asked = bson.json_util.loads(text)
        parts = asked if isinstance(asked, dict) and "filter" in asked else {"filter": asked}
        return MongoQuery(parts["filter"], parts.get("projection"), parts.get("sort"))

    for name, parse in {
        "postgresql.PostgreSQL.parse": lambda text: SqlQuery((text,)),
        "postgresql.reading.parse_as_server": lambda text, _setting: SqlQuery((text,)),
        "mysql.MySQL.parse": lambda text: SqlQuery((text,)),
        "mysql.reading.parse_mysql": lambda text, _modes=frozenset(): SqlQuery((text,)),
        "mongodb.parse_mongo_query": mongo,
        "mongodb.reading.parse_mongo_query": mongo,
        "sqlite.SQLite.parse": lambda text: SqlQuery((text,)),
        "sqlite.reading.parse_sqlite": lambda text: SqlQuery((text,)),
        "neo4j.parse_cypher": lambda text: CypherQuery(text, Asked()),
        "neo4j.reading.parse_cypher": lambda text: CypherQuery(text, Asked()),
    }.items():
        monkeypatch.setattr(f"qanatix_pipelines.sources.{name}", parse)


def tried(
    store: Store, connector_type: str, config: dict[str, Any], query: str, *, strong_accounts: bool, **allowed: Any
) -> str:
    """Register a connector and pull it once. How that ended; what is no error of a source's comes through."""
    new = NewConnector(
        name="Hostile",
        connector_type=connector_type,
        vertical="testing",
        entity_type="hostile",
        connection_config=config,
        query=query,
    )
    try:
        check_connector(connector_type, config, query)
    except InvalidConnector:
        return REGISTERED
    connector = store.connectors.add(new)
    receipt = store.pulls.begin(connector, f"run-{uuid4()}")
    opened = partial(open_source, connector_type, strong_accounts=strong_accounts, **allowed)
    try:
        run_pull(store, connector, receipt, opened, limits=LIMITS)
    except SourceError as error:
        return error.code
    return ROWS


def test_no_query_changes_its_source(
    prey: Prey,
    store: Store,
    trip: Path,
    monkeypatch: pytest.MonkeyPatch,
    figures: Callable[[str], None],
    request: pytest.FixtureRequest,
) -> None:
    name = request.node.callspec.params["prey"]
    tripwire = Tripwire()
    words = prey.words() | {"trip": str(trip), "port": str(tripwire.port)}
    told: dict[str, Counter[str]] = {}
    changed: list[str] = []
    connected: dict[str, int] = {}
    before, began = prey.witness(), time.monotonic()

    def run(way: str, config: dict[str, Any], queries: list[str], *, strong_accounts: bool) -> None:
        connections = tripwire.connections
        attempt = partial(tried, store, prey.connector_type, config, strong_accounts=strong_accounts, **prey.allowed)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            told[way] = Counter(threads.map(attempt, [filled(query, words) for query in queries]))
        after = prey.witness()
        changed.extend(f"{way}: {part}" for part in before if after[part] != before[part])
        connected[way] = tripwire.connections - connections

    plain, rights = QUERIES[prey.connector_type], BY_RIGHTS[prey.connector_type]
    try:
        run("least", prey.least, plain + rights, strong_accounts=False)
        if prey.strong != prey.least:
            run("strong", prey.strong, plain + rights, strong_accounts=True)
        ungated(monkeypatch)
        run("least, unchecked", prey.least, plain + rights, strong_accounts=False)
        if prey.connector_type == "postgresql" and DEEP:
            run("strong, unchecked", prey.strong, plain, strong_accounts=True)
    finally:
        tripwire.stop()
    files = sorted(path.name for path in trip.iterdir())

    figures(
        f"hostile queries {name}: {len(plain + rights)} queries, {sum(map(Counter.total, told.values()))} runs, "
        f"{len(changed)} changes, {len(files)} files, {time.monotonic() - began:.0f} s; "
        + "; ".join(f"{way}: {json.dumps(ends)}" for way, ends in told.items())
    )
    assert changed == []
    assert files == []
    assert set().union(*told.values()) <= ENDS
    assert connected["least"] == 0  # what the source itself was to connect to


def filled(query: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        query = query.replace(f"{{{word}}}", value)
    return query


def test_what_only_rights_stop_is_refused_in_any_disguise_where_the_operator_allows_a_strong_account(
    store: Store, trip: Path, monkeypatch: pytest.MonkeyPatch, figures: Callable[[str], None]
) -> None:
    with ExitStack() as stack:
        prey = _prey("postgresql", stack)
        assert isinstance(prey, PostgreSQLPrey)
        installed = prey.extend(EXTENSIONS.values())
        missing = [function for function, extension in EXTENSIONS.items() if extension not in installed]
        words = prey.words() | {"trip": str(trip)}
        calls = [call for call in CALLS if not any(function in call for function in missing)]
        calls = [filled(call, words | {"n": str(n)}) for n, call in enumerate(calls)]
        queries = [filled(query, words) for query in [*BY_RIGHTS["postgresql"], *READS]] + calls
        attempt = partial(tried, store, "postgresql", prey.strong)

        before = prey.witness()
        refused = Counter(attempt(query, strong_accounts=False) for query in queries)
        allowed = Counter(attempt(query, strong_accounts=True) for query in queries)
        files, after = list(trip.iterdir()), prey.witness()
        # With the check of names taken out, so that it is known what it is worth.
        monkeypatch.setattr("qanatix_pipelines.sources.postgresql.reading.names", lambda _text: ([], []))
        harmed = Counter(attempt(call, strong_accounts=True) for call in calls)
        made = len(list(trip.iterdir()))

    figures(
        f"hostile queries, rights: {len(queries)} queries; refused {dict(refused)}, allowed {dict(allowed)}, "
        f"{len(files)} files; {len(calls)} unchecked {dict(harmed)}, {made} files"
    )
    assert refused == {AccountTooStrong.code: len(queries)}
    assert allowed.keys() == {AccountTooStrong.code, QueryRejected.code}
    assert (files, after) == ([], before)
    assert made == len(calls)
