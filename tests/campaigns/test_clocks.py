"""The source's clock is set, back and forward, while rows are written and pulled: none is lost."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from tests.campaigns.conftest import DEEP
from tests.campaigns.followers import Product, naive, product
from tests.campaigns.writers import write
from tests.campaigns.written import WrittenMySQL, WrittenPostgreSQL
from tests.servers import Server, ServerMissing, new_folder, remove
from tests.servers.clock import Clock, new_clock
from tests.sources.mysql import server as mysql
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.postgresql import server as postgresql

HOUR = timedelta(hours=1)
# How far the clock is off, one after the other: it steps back three times.
STEPS = (-HOUR, timedelta(0), timedelta(minutes=-10), HOUR, timedelta(0))
SEEDS = range(1, 6) if DEEP else [1]
SUMMER_TIME_ENDS = datetime(2026, 10, 25, 1, tzinfo=UTC)  # in Berlin: 3:00 becomes 2:00
MYSQL = [mysql.start_mariadb, *([mysql.start_mysql97] if DEEP else [])]
THROUGH_THE_HOUR = [-50, -20, 5, 35, 65]  # minutes


@pytest.fixture
def clock() -> Iterator[Clock]:
    folder = new_folder("clock", {})
    folder.chmod(0o755)
    try:
        yield new_clock(folder)
    except ServerMissing as reason:
        pytest.skip(str(reason))
    finally:
        remove(folder)


@pytest.fixture
def clocked_server(clock: Clock) -> Iterator[Server]:
    """A PostgreSQL that reads this clock."""
    server = postgresql.start(environment=clock.environment)
    yield server
    server.stop()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_steps_of_the_clock_lose_nothing(
    clock: Clock, clocked_server: Server, seed: int, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    there = WrittenPostgreSQL(clocked_server)
    ended, stepped = threading.Event(), threading.Event()
    with (
        product(tmp_path / "store", "postgresql", there.seeing(), there.query("updated_at"), overlap=2) as followed,
        ThreadPoolExecutor(3) as threads,
    ):
        following = threads.submit(followed.follow, ended)
        by_max = threads.submit(naive, lambda after: there.rows("updated_at", after), ended)

        def step() -> None:
            try:
                for off in STEPS:
                    _pull_on(followed, following.running)
                    clock.put_off(off)
                _pull_on(followed, following.running)
            finally:
                stepped.set()

        stepping = threads.submit(step)
        try:
            committed = asyncio.run(write(there.connect, there.language, seed, stepped.is_set))
        finally:
            ended.set()
        stepping.result()
        has, by_max_has = following.result(), by_max.result()

    source = {row: last.value for row, last in committed.items()}
    lost = {row for row in source if has.values.get(row) != source[row]}
    naively_lost = {row for row in source if by_max_has.values.get(row) != source[row]}
    back = sum(after.watermark < before.watermark for before, after in pairwise(followed.receipts))
    figures(
        f"clocks postgresql seed {seed}: {len(source)} rows, {has.pulls} pulls, {len(STEPS)} steps, lost {len(lost)}, "
        f"by max(updated_at) {len(naively_lost)}; the watermark went back {back} times"
    )
    assert lost == set()
    assert naively_lost
    assert back


def test_a_transaction_that_is_open_after_the_clock_was_set_back_loses_nothing(
    clock: Clock, clocked_server: Server, tmp_path: Path
) -> None:
    there = WrittenPostgreSQL(clocked_server)
    query = there.query("updated_at")
    with (
        product(tmp_path / "store", "postgresql", there.seeing(), query, overlap=2) as followed,
        psycopg.connect(clocked_server.address) as writer,
    ):
        followed.pull()
        clock.put_off(-HOUR)
        writer.execute("INSERT INTO written VALUES (1, 1, now())")
        followed.pull()
        clock.put_off(-HOUR + timedelta(minutes=20))  # so long it stays open
        followed.pull()
        writer.commit()
        followed.pull()

        assert followed.values() == {1: 1}


def test_the_hour_that_repeats_when_summer_time_ends_loses_nothing(
    clock: Clock, clocked_server: Server, tmp_path: Path
) -> None:
    """Where a column holds local time."""
    with psycopg.connect(clocked_server.address, autocommit=True) as owner:
        owner.execute("ALTER DATABASE postgres SET TimeZone = 'Europe/Berlin'")
        owner.execute("CREATE TABLE local (id int, value int, updated_at timestamp DEFAULT localtimestamp)")
    query = "SELECT id, value FROM local WHERE updated_at > :last_pull"
    with (
        product(tmp_path / "store", "postgresql", {"dsn": clocked_server.address}, query, overlap=2) as followed,
        psycopg.connect(clocked_server.address, autocommit=True) as writer,
    ):
        _through_the_hour(clock, followed, lambda row: writer.execute("INSERT INTO local VALUES (%s, 1)", [row]))

        assert sorted(followed.values()) == THROUGH_THE_HOUR


@pytest.mark.server
@pytest.mark.parametrize("start", MYSQL)
def test_the_hour_that_repeats_loses_nothing_on_mysql_where_an_hour_more_is_asked_for(
    clock: Clock, start: Callable[..., Server], tmp_path: Path
) -> None:
    clock.put_to(SUMMER_TIME_ENDS - HOUR)
    server = start(environment=clock.environment | {"TZ": "Europe/Berlin"})
    try:
        mysql.execute(server.address, "CREATE TABLE local (id int, value int, updated_at datetime(6) DEFAULT NOW(6))")
        late = "updated_at > CONVERT_TZ(:last_pull, '+00:00', 'SYSTEM') - INTERVAL 1 HOUR"
        query = f"SELECT id, value FROM local WHERE {late}"
        with product(tmp_path / "store", "mysql", MySQLHarness(server).config, query, overlap=2) as followed:

            def insert(row: int) -> None:
                mysql.execute(server.address, ("INSERT INTO local (id, value) VALUES (%s, 1)", [row]))

            _through_the_hour(clock, followed, insert)

            assert sorted(followed.values()) == THROUGH_THE_HOUR
    finally:
        server.stop()


@pytest.mark.server
@pytest.mark.parametrize("start", MYSQL)
def test_mysql_s_transactions_hold_the_watermark_back_in_the_hour_that_repeats(
    clock: Clock, start: Callable[..., Server], tmp_path: Path
) -> None:
    """Their list has local time."""
    clock.put_to(SUMMER_TIME_ENDS - timedelta(minutes=50))
    server = start(environment=clock.environment | {"TZ": "Europe/Berlin"})
    try:
        there = WrittenMySQL(server)
        with product(tmp_path / "store", "mysql", there.seeing(), there.query("updated_at"), overlap=2) as followed:
            asyncio.run(_late_by(there, clock, followed))

            assert followed.values() == {1: 1}
    finally:
        server.stop()


def _through_the_hour(clock: Clock, followed: Product, insert: Callable[[int], object]) -> None:
    """Rows before summer time ends and after, each pulled a quarter of an hour later."""
    for minutes in THROUGH_THE_HOUR:
        clock.put_to(SUMMER_TIME_ENDS + timedelta(minutes=minutes))
        insert(minutes)
        clock.put_to(SUMMER_TIME_ENDS + timedelta(minutes=minutes + 15))
        followed.pull()


async def _late_by(there: WrittenMySQL, clock: Clock, followed: Product) -> None:
    """Pull while a row is stamped and not committed, with half an hour gone by at the server, and then again."""
    async with there.connect() as run:
        await run(there.language.begin)
        await run(there.language.insert.format(id=1, value=1))
        clock.put_to(SUMMER_TIME_ENDS - timedelta(minutes=20))
        await asyncio.to_thread(followed.pull)
        await run("COMMIT")
        await asyncio.to_thread(followed.pull)


def _pull_on(followed: Product, going_on: Callable[[], bool]) -> None:
    """Wait until some pulls have ended: all but one have then begun after this was called."""
    before = len(followed.receipts)
    while len(followed.receipts) < before + 10 and going_on():
        time.sleep(0.05)
