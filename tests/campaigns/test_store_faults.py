"""A store that fails under a pull: its disk is full, it crashes, or its answer to a commit is lost."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import psycopg
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from qanatix_pipelines.errors import PullError, StoreFull, StoreUnavailable
from qanatix_pipelines.pull import Progress
from qanatix_pipelines.receipts import PullStatus, Receipt
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import copying
from tests.campaigns.commits import Commits, Cut
from tests.campaigns.conftest import DEEP
from tests.campaigns.subject import BATCHES, Subject
from tests.conftest import ENCRYPTION_KEY, PEPPER, new_database, server
from tests.servers import Server
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.sources.postgresql.server import crash, start

GROWTH_STEPS = 20
CRASHES = 100 if DEEP else 5
SEED = 20261124


@pytest.fixture
def harness() -> PostgreSQLHarness:
    return PostgreSQLHarness(server("postgresql"))


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A PostgreSQL that may crash. What it has answered to be committed is committed."""
    started = start(wheel_only=True)
    with psycopg.connect(started.address, autocommit=True) as connection:
        connection.execute("ALTER ROLE app SET synchronous_commit = on")
    yield started
    started.stop()


@pytest.fixture
def way(own_server: Server) -> Iterator[Commits]:
    parts = urlsplit(own_server.address)
    assert parts.hostname is not None
    assert parts.port is not None
    with Commits(parts.hostname, parts.port) as way:
        yield way


@pytest.fixture
def subject(own_server: Server, way: Commits, harness: PostgreSQLHarness, tmp_path: Path) -> Iterator[Subject]:
    """With its store behind `way`."""
    address = urlsplit(new_database(own_server))
    through = address._replace(netloc=address.netloc.replace(f":{address.port}", f":{way.port}"))
    subject = Subject(_settings(tmp_path, through.geturl()), harness)
    subject.put_back()
    way.number = 0
    yield subject
    subject.store.engine.dispose()


def _settings(folder: Path, store_url: str | None = None) -> Settings:
    return Settings(
        data_dir=folder,
        store_url=None if store_url is None else SecretStr(store_url),
        encryption_key=SecretStr(ENCRYPTION_KEY),
        pepper=SecretStr(PEPPER),
    )


class TestDiskFull:
    @pytest.mark.timeout(300 if not DEEP else 1800)
    def test_sqlite_stays_whole_at_every_step_of_its_growth(
        self, tmp_path: Path, harness: PostgreSQLHarness, figures: Callable[[str], None]
    ) -> None:
        subject = Subject(_settings(tmp_path), harness)
        grown = int(_asked(subject, "PRAGMA page_count"))
        subject.put_back()
        _asked(subject, "VACUUM")
        pages = int(_asked(subject, "PRAGMA page_count"))
        subject.store.engine.dispose()
        kept = shutil.copy(tmp_path / "qanatix.db", tmp_path / "kept")
        growth = grown - pages
        steps = growth if DEEP else GROWTH_STEPS
        assert steps <= growth

        for step in range(steps):
            for left in tmp_path.glob("qanatix.db*"):
                left.unlink()
            shutil.copy(kept, tmp_path / "qanatix.db")
            _pull_without_room(subject, pages + step * growth // steps)
            assert subject.as_clean(subject.pull())
            subject.store.engine.dispose()

        figures(
            f"disk full: SQLite full at {steps} of {growth} pages, 0 damaged, 0 seen in part, 0 next pulls different"
        )

    @pytest.mark.parametrize("table", ["staged", "entity_1", "connector"])
    def test_postgresql_says_that_it_is_full_and_the_pull_that_it_was(self, subject: Subject, table: str) -> None:
        _ask_all(
            subject,
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$",
            f"CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON qanatix.{table} EXECUTE FUNCTION no_room()",
        )
        receipt = subject.begin()

        with pytest.raises(StoreFull):
            subject.pull(receipt)

        assert subject.store.pulls.get(receipt.id).error_code == "store_full"
        assert subject.untouched()
        _ask_all(subject, f"DROP TRIGGER no_room ON qanatix.{table}")
        assert subject.as_clean(subject.pull())


def _pull_without_room(subject: Subject, pages: int) -> None:
    """Pull into a store that must not have more pages than that, which are too few."""
    engine = subject.store.engine

    def limit(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    sa.event.listen(engine, "connect", limit)
    receipt = subject.begin()
    with pytest.raises(StoreFull):
        subject.pull(receipt)

    assert subject.store.pulls.get(receipt.id).error_code == "store_full"
    assert _asked(subject, "PRAGMA integrity_check") == "ok"
    assert subject.untouched()
    shown, _ = subject.store.entities.page(vertical=None, entity_type=None, limit=1, cursor=None)
    assert len(shown) == 1
    sa.event.remove(engine, "connect", limit)
    engine.dispose()


@pytest.mark.usefixtures("in_heaps")
class TestCrash:
    def test_rows_that_a_crash_took_from_the_staging_are_read_again(self, subject: Subject, own_server: Server) -> None:
        crashes = iter([True])

        def on_batch(progress: Progress) -> None:
            if progress.records > 100 and next(crashes, False):
                crash(own_server.address)

        receipt = subject.begin()
        ended = subject.pull(receipt, on_batch)

        assert (ended.id, ended.attempt) == (receipt.id, 1)
        assert next(crashes, None) is None
        assert subject.as_clean(ended)

    def test_a_connection_that_ends_amid_a_batch_is_replaced(
        self, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put, batches = copying.put, count(1)

        def ended_once(transaction: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> None:
            if next(batches) == 2:
                transaction.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
            put(transaction, table, rows)

        monkeypatch.setattr(copying, "put", ended_once)
        receipt = subject.begin()

        ended = subject.pull(receipt)

        assert (ended.id, ended.attempt) == (receipt.id, 1)
        assert next(batches) == BATCHES + 2
        assert subject.as_clean(ended)

    @pytest.mark.parametrize("cut", ["before", "after"])
    def test_a_crash_about_the_last_commit_leaves_all_of_a_pull(
        self, subject: Subject, own_server: Server, way: Commits, cut: Cut
    ) -> None:
        receipt = subject.begin()
        last = way.number + BATCHES + 1
        way.crash = lambda: crash(own_server.address)
        way.cut = lambda number: cut if number == last else "never"

        ended = subject.pull(receipt)

        assert ended.status is PullStatus.COMPLETED
        assert way.number >= last
        assert subject.as_clean(ended)

    @pytest.mark.timeout(300 if not DEEP else 3600)
    def test_a_store_that_crashes_at_any_instant_has_all_of_a_pull_or_none(
        self, subject: Subject, own_server: Server, figures: Callable[[str], None]
    ) -> None:
        random = Random(SEED)
        started = time.monotonic()
        subject.pull()
        seconds = time.monotonic() - started
        completed = 0
        for _ in range(CRASHES):
            subject.put_back()
            receipt = subject.begin()
            crashing = threading.Timer(random.uniform(0, seconds), crash, [own_server.address])
            crashing.start()
            ended: Receipt | None = None
            with suppress(PullError, StoreUnavailable):
                ended = subject.pull(receipt)
            crashing.join()
            completed += ended is not None
            if ended is None:
                assert subject.untouched()
                ended = subject.again(receipt)
            assert subject.as_clean(ended)
        figures(
            f"store away: {CRASHES} crashes of PostgreSQL, {completed} pulls completed all the same, "
            f"{CRASHES - completed} began again, 0 differences"
        )


class TestLostAnswers:
    @pytest.mark.parametrize("cut", ["before", "at once", "after"])
    def test_of_a_commit_whose_answer_is_lost_it_is_known_whether_it_was(
        self, subject: Subject, way: Commits, figures: Callable[[str], None], cut: Cut
    ) -> None:
        for nth in range(1, BATCHES + 2):
            subject.put_back()
            receipt = subject.begin()
            last = way.number + nth
            way.cut = lambda number, last=last: cut if number == last else "never"  # type: ignore[misc]

            ended = subject.pull(receipt)

            assert (ended.id, ended.attempt) == (receipt.id, 1)
            assert subject.as_clean(ended)
        figures(f"lost answers: {BATCHES + 1} commits cut {cut}, 0 done twice, 0 not done")

    def test_a_commit_that_takes_its_time_is_waited_for(self, subject: Subject, way: Commits) -> None:
        """The server goes on with it though nobody listens any more."""
        _ask_all(
            subject,
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$",
            "CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON qanatix.pull DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW WHEN (NEW.status = 'completed') EXECUTE FUNCTION slow()",
        )
        receipt = subject.begin()
        last = way.number + BATCHES + 1
        way.cut = lambda number: "at once" if number == last else "never"

        ended = subject.pull(receipt)

        assert ended.status is PullStatus.COMPLETED
        assert subject.as_clean(ended)


def _asked(subject: Subject, statement: str) -> Any:
    connection = subject.store.engine.raw_connection()
    with closing(connection), closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
        return row and row[0]


def _ask_all(subject: Subject, *statements: str) -> None:
    with subject.store.engine.begin() as transaction:
        for statement in statements:
            transaction.exec_driver_sql(statement)
