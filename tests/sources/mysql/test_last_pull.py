"""`:last_pull` on MySQL and MariaDB: no later row is missed, whatever kind of time a column holds."""

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.pull import PullOutcome
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.servers.debian import DownloadFailed
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.mysql.server import execute, start_mariadb, start_mysql97

pytestmark = pytest.mark.server

DEEP = bool(os.environ.get("QANATIX_TEST_DEEP"))
ZONES = ["America/New_York", "Europe/Berlin"]

# The conditions of docs/sources.md.
CONDITIONS = {
    "ts": ":last_pull",
    "utc": ":last_pull",
    "local": ":last_pull",
    "ts ": "CONVERT_TZ(:last_pull, '+00:00', @@time_zone) - INTERVAL 1 HOUR",
    "utc ": "CONVERT_TZ(:last_pull, '+00:00', '+00:00')",
    "local ": "CONVERT_TZ(:last_pull, '+00:00', 'SYSTEM') - INTERVAL 1 HOUR",
    "unix": "UNIX_TIMESTAMP(:last_pull)",
    "unix ": "COALESCE(UNIX_TIMESTAMP(:last_pull), 0)",
}

# In UTC: a summer and a winter time, and each hour around which summer time begins or ends in one of the zones.
SINCE = [
    *(datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(2026, 1, 5, 12, tzinfo=UTC)),
    *(datetime(2026, 11, 1, hour, minute, tzinfo=UTC) for hour in (4, 5, 6, 7) for minute in (0, 30)),
    *(datetime(2026, 10, 25, hour, minute, tzinfo=UTC) for hour in (0, 1, 2) for minute in (0, 30)),
    *(datetime(2026, 3, 8, hour, 30, tzinfo=UTC) for hour in (1, 2, 6, 7)),
    *(datetime(2026, 3, 29, hour, 30, tzinfo=UTC) for hour in (0, 1, 2, 3)),
]


@pytest.fixture(scope="module", params=[start_mariadb, start_mysql97])
def start(request: pytest.FixtureRequest) -> Callable[..., Server]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=ZONES)
def zoned(request: pytest.FixtureRequest, start: Callable[..., Server]) -> Iterator[tuple[Server, ZoneInfo]]:
    """A server whose own zone has summer time, and the zone."""
    try:
        server = start(environment={"TZ": request.param})
    except DownloadFailed as reason:
        pytest.skip(str(reason))
    MySQLHarness(server)
    yield server, ZoneInfo(request.param)
    server.stop()


def test_no_row_that_is_later_is_missed(zoned: tuple[Server, ZoneInfo]) -> None:
    server, zone = zoned
    config = MySQLHarness(server).config
    for since in SINCE if DEEP else random.sample(SINCE, 4):
        later = _fill(server, zone, since)
        for column, bound in CONDITIONS.items():
            seen = _ids(config, f"SELECT id FROM times WHERE {column} > {bound}", since)
            assert later <= seen, (since, column, bound)


def test_no_row_of_a_window_is_missed(zoned: tuple[Server, ZoneInfo]) -> None:
    server, zone = zoned
    config = MySQLHarness(server).config
    for end in SINCE if DEEP else random.sample(SINCE, 4):
        later = _fill(server, zone, end)
        earlier = _ids(config, "SELECT id FROM times") - later
        for column, bound in CONDITIONS.items():
            until = bound.replace(":last_pull", ":until").replace("- INTERVAL", "+ INTERVAL")
            seen = _ids(config, f"SELECT id FROM times WHERE {column} <= {until}", until=end)
            assert earlier <= seen, (end, column, until)


def test_what_is_told_that_it_is_utc_reads_nothing_twice(zoned: tuple[Server, ZoneInfo]) -> None:
    server, zone = zoned
    since = SINCE[0]
    later = _fill(server, zone, since)

    seen = _ids(
        MySQLHarness(server).config,
        "SELECT id FROM times WHERE local > CONVERT_TZ(:last_pull, '+00:00', 'SYSTEM')",
        since,
    )

    assert seen == later


def _fill(server: Server, zone: ZoneInfo, since: datetime) -> set[int]:
    """Fill in rows for every ten minutes of some hours, stamped in each way. Gives those later than `since`."""
    instants = [since + timedelta(minutes=10 * step, microseconds=1) for step in range(-30, 30)]
    rows = []
    for number, instant in enumerate(instants):
        utc, local = (at.replace(tzinfo=None) for at in (instant, instant.astimezone(zone)))
        rows.append(f"({number}, '{utc}', '{utc}', '{local}', {instant.timestamp():.6f})")
    execute(
        server.address,
        "SET SESSION time_zone = '+00:00'",
        "DROP TABLE IF EXISTS times",
        "CREATE TABLE times (id int, ts timestamp(6) NULL, utc datetime(6), local datetime(6), unix decimal(20, 6), "
        "KEY (ts), KEY (local))",
        f"INSERT INTO times VALUES {', '.join(rows)}",
    )
    return {number for number, instant in enumerate(instants) if instant > since}


def test_a_first_pull_reads_all_seconds_since_1970(zoned: tuple[Server, ZoneInfo]) -> None:
    server, _ = zoned
    execute(
        server.address,
        "DROP TABLE IF EXISTS seconds",
        "CREATE TABLE seconds (id int)",
        "INSERT INTO seconds VALUES (0), (1)",
    )
    config = MySQLHarness(server).config

    assert _ids(config, "SELECT id FROM seconds WHERE id > UNIX_TIMESTAMP(:last_pull)", None) == {1}
    assert _ids(config, "SELECT id FROM seconds WHERE id >= UNIX_TIMESTAMP( :last_pull )", None) == {0, 1}


def _ids(
    config: dict[str, object], query: str, since: datetime | None = None, *, until: datetime | None = None
) -> set[int]:
    async def read() -> set[int]:
        window = Window(since, overlap=0, until=until)
        async with open_source("mysql", config).read(query, window=window, batch_size=1000) as reading:
            return {number async for batch in reading.batches for number in batch.frame["id"]}

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("column", "stamp"),
    [("timestamp(6) NULL", "NOW(6)"), ("datetime(6)", "NOW(6)"), ("datetime(6)", "UTC_TIMESTAMP(6)")],
)
def test_a_row_that_is_added_between_two_pulls_is_in_the_second(
    zoned: tuple[Server, ZoneInfo],
    register: Callable[..., Connector],
    pulled: Callable[[Connector], PullOutcome],
    column: str,
    stamp: str,
) -> None:
    server, _ = zoned
    add = "INSERT INTO changes VALUES ({}, " + stamp + ")"
    execute(
        server.address, "DROP TABLE IF EXISTS changes", f"CREATE TABLE changes (id int, at {column})", add.format(1)
    )
    connector = register(MySQLHarness(server), "SELECT id, at FROM changes WHERE at > :last_pull", overlap=2)
    assert pulled(connector).receipt.records_ingested == 1

    execute(server.address, add.format(2))

    assert pulled(connector).receipt.records_ingested == 1
