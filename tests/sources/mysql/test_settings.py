"""docs/settings/mysql.md, row by row, on both kinds of server: a pull reads what the server's client prints."""

import asyncio
import datetime as dt
import json
import os
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from asyncmy.errors import MySQLError

from qanatix_pipelines.connectors import ConnectorSettings
from qanatix_pipelines.entities import maker_of
from qanatix_pipelines.errors import QueryRejected, SourceError
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.mysql.session import WIDEST
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.servers.debian import DownloadFailed
from tests.settings_table import DOCS, setting_rows
from tests.sources.mysql.client import Refused, printed
from tests.sources.mysql.harness import USER, MySQLHarness
from tests.sources.mysql.results import QUERIES, SYSTEM_ZONE, TABLE, converted
from tests.sources.mysql.server import execute, parts, start_mariadb, start_mysql97

DEEP = bool(os.environ.get("QANATIX_TEST_DEEP"))
DRAWS = 500 if DEEP else 20  # for each kind of server

pytestmark = pytest.mark.server


@pytest.fixture(scope="module", params=[start_mariadb, start_mysql97])
def abroad(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of its own, in a zone with summer time."""
    try:
        server = request.param(environment={"TZ": SYSTEM_ZONE})
    except DownloadFailed as reason:
        pytest.skip(str(reason))
    execute(server.address, *TABLE)
    MySQLHarness(server)  # makes its user, which it should not do under a setting
    yield server
    server.stop()


@contextmanager
def settings(server: Server, values: Mapping[str, str]) -> Iterator[set[str]]:
    """Set them at the server for new sessions, and set them back afterwards. Gives those that this server takes."""
    before: dict[str, Any] = {}
    try:
        for name, value in values.items():
            known = _execute(server, f"SHOW GLOBAL VARIABLES LIKE '{name}'")
            if known and _taken(server, name, value):
                before[name] = known[0][1]
        yield set(before)
    finally:
        for name, value in before.items():
            assert _taken(server, name, value)


def _taken(server: Server, name: str, value: str) -> bool:
    literal = value if re.fullmatch(r"\d+(?:\.\d+)?", value) else "'" + value.replace("'", "''") + "'"
    try:
        _execute(server, f"SET GLOBAL {name} = {literal}")
    except MySQLError as error:
        if error.args[0] in _NOT_TAKEN:
            return False
        raise
    return True


def _execute(server: Server, statement: str) -> list[tuple[Any, ...]]:
    return execute(server.address, _UNCUT, statement)


# What would cut or end the answer to our question which settings there are.
_UNCUT = (
    f"SET SESSION sql_select_limit = {WIDEST['sql_select_limit']}, SESSION sql_big_selects = 1"
    f" /*M!, SESSION tmp_disk_table_size = {WIDEST['tmp_disk_table_size']}, SESSION max_statement_time = 0 */"
)
# Errors: no such variable, no such value, a variable of sessions only, or a read-only one.
_NOT_TAKEN = (1193, 1231, 1238, 3866)


def config(server: Server) -> dict[str, Any]:
    return parts(server.address) | {"user": USER}


async def _ingested(config: dict[str, Any], query: str) -> list[list[Any]]:
    connector = ConnectorSettings(name="n", connector_type="mysql", vertical="v", entity_type="e", query=query)
    rows: list[list[Any]] = []
    async with open_source("mysql", config).read(query, window=Window(), batch_size=1) as reading:
        maker = maker_of(connector, reading)
        async for batch in reading.batches:
            (text,) = maker.make(batch).frame["data"]
            row = json.loads(text)
            rows.append([row[column.name] for column in reading.columns or ()])
    return rows


def ingested(config: dict[str, Any], query: str) -> list[list[Any]] | None:
    """The rows in order, as entities hold them. None if the source refuses the query."""
    try:
        return asyncio.run(_ingested(config, query))
    except QueryRejected:
        return None


def own(server: Server, query: str, kinds: str, zone: str) -> list[list[Any]] | None:
    """What the server's client prints, converted, without settings that cut or end it."""
    names = ", ".join(f"'{name}'" for name in WIDEST)
    there = [
        row[0] for row in printed(config(server), f"SHOW SESSION VARIABLES WHERE Variable_name IN ({names})", _UNCUT)
    ]
    before = [_UNCUT, "SET " + ", ".join(f"SESSION {name} = {WIDEST[str(name)]}" for name in there)]
    if "MariaDB" not in server.version:
        # `mysql` says utf8mb4_0900_ai_ci in its handshake, and gets the server's own; `mariadb`, utf8mb4_general_ci.
        theirs = (
            "IF(@@collation_connection = 'utf8mb4_general_ci', @@GLOBAL.collation_connection, @@collation_connection)"
        )
        before.append(f"SET collation_connection = {theirs}")
    try:
        return converted(printed(config(server), query, *before), kinds, zone)
    except Refused:
        return None


def compare(server: Server, query: str, kinds: str, zone: str) -> None:
    assert ingested(config(server), query) == own(server, query, kinds, zone), query


CASES = [(row.name, value) for row in setting_rows("mysql") for value in row.tried]


@pytest.mark.parametrize(("name", "value"), CASES, ids=lambda one: str(one)[:40])
def test_a_setting_changes_nothing_that_the_own_client_does_not_show(abroad: Server, name: str, value: str) -> None:
    given = dict.fromkeys(re.findall(r"\w+", name), value)
    with settings(abroad, given) as there:
        if not there:
            pytest.skip("not a setting of this server's, or not of its values")
        zone = "-03:00" if name == "init_connect" else value if name == "time_zone" else "SYSTEM"
        for query, kinds in QUERIES if DEEP else random.sample(QUERIES, 3):
            compare(abroad, query, kinds, zone)


@pytest.mark.timeout(DRAWS * 5 + 120)
def test_many_settings_at_once_change_nothing_that_the_own_client_does_not_show(abroad: Server) -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    values = {row.name: row.tried for row in setting_rows("mysql") if row.tried and re.fullmatch(r"\w+", row.name)}
    for number in range(DRAWS):
        chosen = {name: draw.choice(values[name]) for name in draw.sample(sorted(values), draw.randint(2, 5))}
        with settings(abroad, chosen) as there:
            zone = chosen["time_zone"] if "time_zone" in there else "SYSTEM"
            zone = "-03:00" if "init_connect" in there else zone
            query, kinds = draw.choice(QUERIES)
            mine = ingested(config(abroad), query)
            assert mine == own(abroad, query, kinds, zone), (seed, number, chosen, query)


def test_every_variable_of_a_session_is_in_the_table_or_in_a_list(abroad: Server) -> None:
    if "MariaDB" in abroad.version:
        listed = "SELECT LOWER(VARIABLE_NAME) FROM information_schema.SYSTEM_VARIABLES "
        listed += "WHERE VARIABLE_SCOPE LIKE 'SESSION%' AND READ_ONLY = 'NO'"
    else:
        listed = "SELECT VARIABLE_NAME FROM performance_schema.variables_metadata WHERE VARIABLE_SCOPE LIKE 'SESSION%'"
    told = re.findall(r"`([a-z0-9_*]+)`", (DOCS / "mysql.md").read_text())
    families = tuple(name.removesuffix("*") for name in told if name.endswith("*"))

    missing = [
        name for (name,) in execute(abroad.address, listed) if name not in told and not name.startswith(families)
    ]

    assert missing == []


def test_what_is_set_is_what_the_table_says() -> None:
    set_there = {name: row.widest for row in setting_rows("mysql") for name in re.findall(r"\w+", row.name)}

    assert {name: str(value) for name, value in WIDEST.items()} == {name: set_there[name] for name in WIDEST}


# What the settings' table does not say by itself


@pytest.mark.parametrize("zone", ["-05:00", "+05:30", "SYSTEM"])
def test_times_are_computed_with_in_the_servers_own_zone(abroad: Server, zone: str) -> None:
    with settings(abroad, {"time_zone": zone}):
        compare(
            abroad,
            "SELECT UNIX_TIMESTAMP('2026-03-07 12:00:00') AS u, at = local_at AS e, at AS at FROM every WHERE id = 1",
            "nnz",
            zone,
        )


def test_the_hour_that_is_said_twice_stays_local_time(abroad: Server) -> None:
    """The server's text does not tell which of the two instants it is."""
    execute(
        abroad.address,
        "SET SESSION time_zone = '+00:00'",
        "DROP TABLE IF EXISTS twice",
        "CREATE TABLE twice (id int, at timestamp NULL)",
        "INSERT INTO twice VALUES (1, '2026-11-01 04:59:59'), (2, '2026-11-01 05:30:00'), (3, '2026-11-01 06:30:00'), "
        "(4, '2026-11-01 07:00:00')",
    )

    rows = ingested(config(abroad), "SELECT at, UNIX_TIMESTAMP(at) AS u FROM twice ORDER BY id")

    assert rows == [
        ["2026-11-01T04:59:59Z", 1793509199],
        ["2026-11-01T01:30:00", 1793511000],
        ["2026-11-01T01:30:00", 1793514600],
        ["2026-11-01T07:00:00Z", 1793516400],
    ]


def test_what_is_asked_first_is_not_cut_either(abroad: Server) -> None:
    with settings(abroad, {"big_tables": "1", "tmp_disk_table_size": "1024", "sql_select_limit": "1"}):
        compare(abroad, *QUERIES[0], "SYSTEM")


@pytest.mark.parametrize("mode", ["ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"])
@pytest.mark.parametrize(
    "query",
    [
        r"SELECT 'a\' AS a, ' INTO @x -- ' AS b",
        r"SELECT 'a\'' AS a",
        r"""SELECT "a'" AS a, ' INTO @x -- "' AS b""",
        r"SELECT 'a\' > :last_pull AS a, '' AS b",
    ],
)
def test_a_query_that_the_server_would_read_otherwise_is_refused(abroad: Server, mode: str, query: str) -> None:
    with settings(abroad, {"sql_mode": mode}):
        try:
            asyncio.run(_ingested(config(abroad), query))
        except SourceError as refused:
            assert isinstance(refused, QueryRejected)  # noqa: PT017


def test_double_quotes_are_what_the_server_takes_them_for(abroad: Server) -> None:
    with settings(abroad, {"sql_mode": "ANSI_QUOTES"}):
        assert ingested(config(abroad), 'SELECT "id" FROM every WHERE "id" = 3') == [[3]]
    with settings(abroad, {"sql_mode": ""}):
        assert ingested(config(abroad), 'SELECT "id" AS v FROM every WHERE id = 3') == [["id"]]


@pytest.mark.parametrize("mode", ["", "ANSI", "NO_BACKSLASH_ESCAPES", "ORACLE", "STRICT_ALL_TABLES,NO_ZERO_DATE"])
def test_last_pull_is_bound_under_every_mode(abroad: Server, mode: str) -> None:
    query = "SELECT CONVERT_TZ(:last_pull, '+00:00', '+00:00') AS a"
    since = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)

    async def read() -> list[Any]:
        source = open_source("mysql", config(abroad))
        async with source.read(query, window=Window(since, overlap=0), batch_size=9) as reading:
            return [row async for batch in reading.batches for row in batch.frame.iter_rows()]

    with settings(abroad, {"sql_mode": mode}) as there:
        if there:
            assert asyncio.run(read()) == [("2026-01-02T03:04:05.678901",)]
