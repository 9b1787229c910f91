"""The store, in SQLite and in PostgreSQL: connectors, receipts, entities, keys, migrations."""

import base64
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import polars as pl
import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr

from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.errors import (
    CredentialsUnreadable,
    NotFound,
    PullInProgress,
    PullLost,
    PullSuperseded,
    SettingsError,
    SourceFailed,
    StagingLost,
    StoreFull,
    StoreNotReady,
    StoreUnavailable,
)
from qanatix_pipelines.extents import Extent
from qanatix_pipelines.keys import new_key
from qanatix_pipelines.receipts import LEASE_SECONDS, PullStatus
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.store import copying, engine, migrations, shelves, tables, unchanged
from qanatix_pipelines.store import ingestion as ingestion_module
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.engine import connect, named
from qanatix_pipelines.store.heaps import Heap, sweep
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.keys import KeyStore, check_cipher, check_pepper
from qanatix_pipelines.store.opening import Store, open_engine, open_store
from qanatix_pipelines.store.rotation import Rotated
from qanatix_pipelines.tenants import DEFAULT, Tenant
from tests import kept
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.kept import staged_in
from tests.servers import free_port

OUTER_SECONDS = 60
NEW = NewConnector(
    name="Products",
    connector_type="postgresql",
    vertical="manufacturing",
    entity_type="product",
    connection_config={"dsn": "postgresql://reader:hunter2@db/shop"},
    query="SELECT * FROM products WHERE updated_at > :last_pull",
)


READ_AT = datetime(2026, 3, 7, 12, tzinfo=UTC)
ACME = Tenant("acme")


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


def batch(*rows: tuple[int, str], duplicates: int = 0) -> EntityBatch:
    """Entities with these ids and contents."""
    frame = pl.DataFrame(
        {
            "id": [UUID(int=number).bytes for number, _ in rows],
            "source_id": [str(number) for number, _ in rows],
            "digest": [content.encode().ljust(32) for _, content in rows],
            "name": [content for _, content in rows],
            "data": [f'{{"is":"{content}"}}' for _, content in rows],
            "alike": [1 for _ in rows],
        },
        schema={
            "id": pl.Binary,
            "source_id": pl.String,
            "digest": pl.Binary,
            "name": pl.String,
            "data": pl.String,
            "alike": pl.Int64,
        },
    )
    return EntityBatch(frame, [], duplicates)


def ingestion(store: Store, connector: Connector) -> Ingestion:
    receipt = store.pulls.begin(connector, "run")
    return Ingestion(store.engine, connector, receipt)


def ingest(
    store: Store, connector: Connector, *batches: EntityBatch, watermark: datetime | None = None
) -> tuple[int, int]:
    """(ingested, duplicates) of one pull."""
    pull = ingestion(store, connector)
    for one in batches:
        pull.stage(one, one.frame.height + one.duplicates)
    receipt = pull.commit(watermark, READ_AT, time.monotonic())
    return receipt.records_ingested, receipt.duplicates_skipped


class TestConnectors:
    def test_a_connector_is_kept_as_it_was_given(self, store: Store, connector: Connector) -> None:
        assert store.connectors.get(connector.id) == connector
        assert store.connectors.by_partition(connector.partition_key) == connector
        assert store.connectors.list() == [connector]

    def test_its_credentials_are_kept_encrypted(self, store: Store, connector: Connector) -> None:
        with store.engine.connect() as connection:
            row = connection.execute(sa.select(tables.connector)).one()

        assert "hunter2" not in repr(row)
        assert store.connectors.connection_config(connector) == NEW.connection_config

    def test_a_ciphertext_swapped_with_another_connectors_is_unreadable(
        self, store: Store, connector: Connector
    ) -> None:
        other = store.connectors.add(NEW)
        column = tables.connector.c.credentials
        with store.engine.begin() as transaction:
            token = transaction.execute(sa.select(column).where(tables.connector.c.id == other.id)).scalar_one()
            transaction.execute(
                tables.connector.update().where(tables.connector.c.id == connector.id).values(credentials=token)
            )

        with pytest.raises(CredentialsUnreadable):
            store.connectors.connection_config(connector)

    def test_a_removed_connector_is_gone(self, store: Store, connector: Connector) -> None:
        store.connectors.remove(connector.id)

        with pytest.raises(NotFound):
            store.connectors.get(connector.id)
        with pytest.raises(NotFound):
            store.connectors.remove(connector.id)
        with pytest.raises(PullSuperseded):
            store.connectors.connection_config(connector)


class TestReceipts:
    def test_a_connector_has_one_live_pull(self, store: Store, connector: Connector) -> None:
        first, created = store.pulls.queue(connector.id)
        second, created_again = store.pulls.queue(connector.id)

        assert (created, created_again) == (True, False)
        assert first.id == second.id

    def test_of_many_at_once_one_pull_is_made(self, store: Store, connector: Connector) -> None:
        made: list[bool] = []
        barrier = threading.Barrier(8)

        def ask() -> None:
            barrier.wait()
            made.append(store.pulls.queue(connector.id)[1])

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(made) == [False] * 7 + [True]

    def test_a_run_of_its_own_is_refused_while_a_pull_is_live(self, store: Store, connector: Connector) -> None:
        store.pulls.begin(connector, "one run")

        with pytest.raises(PullInProgress):
            store.pulls.begin(connector, "another run")

    def test_a_queued_pull_is_claimed_once(self, store: Store, connector: Connector) -> None:
        receipt, _ = store.pulls.queue(connector.id)

        assert store.pulls.claim(receipt.id, connector, "one run").status is PullStatus.RUNNING
        with pytest.raises(PullSuperseded):
            store.pulls.claim(receipt.id, connector, "another run")

    def test_a_pull_is_not_claimed_for_another_connector(self, store: Store, connector: Connector) -> None:
        receipt, _ = store.pulls.queue(connector.id)

        with pytest.raises(PullSuperseded):
            store.pulls.claim(receipt.id, store.connectors.add(NEW), "run")

    def test_a_pull_that_gives_no_sign_of_life_is_given_up_for_the_next(
        self, store: Store, connector: Connector
    ) -> None:
        lost = store.pulls.begin(connector, "run")
        _expire(store)

        _, created = store.pulls.queue(connector.id)

        assert created
        assert store.pulls.get(lost.id).error_code == "pull_lost"
        with pytest.raises(PullSuperseded):
            store.pulls.renew(lost)

    def test_an_ended_pull_keeps_its_first_reason(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")
        store.pulls.end(receipt, SourceFailed("It failed."), 2.5)
        store.pulls.end(receipt, PullLost())

        ended = store.pulls.get(receipt.id)

        assert (ended.status, ended.error_code, ended.error_detail, ended.duration_seconds) == (
            PullStatus.FAILED,
            "source_failed",
            "It failed.",
            2.5,
        )

    def test_there_is_no_pull_of_an_unknown_connector(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.pulls.queue(uuid4())

    def test_a_connector_that_is_being_removed_is_not_pulled_any_more(self, store: Store, connector: Connector) -> None:
        """Whoever asks while the removal is not committed yet waits for that; a pull would be left without an end."""
        answers: list[object] = []

        def ask() -> None:
            try:
                answers.append(store.pulls.queue(connector.id))
            except NotFound as error:
                answers.append(error)

        asking = threading.Thread(target=ask)
        with store.engine.begin() as removal:
            removal.execute(tables.connector.delete().where(tables.connector.c.id == connector.id))
            asking.start()
            _until(lambda: bool(answers) or waits_for_a_lock(removal))
        asking.join()

        assert [type(answer) for answer in answers] == [NotFound]

    def test_the_last_pull_is_told_for_each_connector(self, store: Store, connector: Connector) -> None:
        ingest(store, connector)
        failed = store.pulls.begin(connector, "run")
        store.pulls.end(failed, PullLost())

        assert store.connectors.last_pulls()[connector.id].status is PullStatus.FAILED


class TestAttempts:
    def test_a_pull_without_a_sign_of_life_has_lapsed(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")
        assert store.pulls.lapsed() == []

        _expire(store)

        assert [pull.id for pull in store.pulls.lapsed()] == [receipt.id]

    def test_a_dead_attempt_is_followed_by_another_that_knows_no_run(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")

        assert store.pulls.retry(receipt)

        again = store.pulls.get(receipt.id)
        assert (again.status, again.attempt, again.run_id) == (PullStatus.QUEUED, 2, None)

    def test_of_two_that_find_an_attempt_dead_one_begins_it_again(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")

        assert (store.pulls.retry(receipt), store.pulls.retry(receipt)) == (True, False)
        assert store.pulls.get(receipt.id).attempt == 2

    def test_an_attempt_that_gave_a_sign_meanwhile_goes_on(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")
        store.pulls.renew(receipt)

        assert not store.pulls.retry(receipt)
        assert store.pulls.get(receipt.id).status is PullStatus.RUNNING

    def test_the_third_dead_attempt_is_the_last(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")
        for _ in range(2):
            store.pulls.retry(receipt)
            receipt = store.pulls.claim(receipt.id, connector, "another run")

        assert not store.pulls.retry(receipt)
        ended = store.pulls.get(receipt.id)
        assert (ended.status, ended.error_code, ended.attempt) == (PullStatus.FAILED, "pull_lost", 3)

    @pytest.mark.usefixtures("in_heaps")
    def test_a_dead_attempt_leaves_nothing_staged(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")
        Ingestion(store.engine, connector, receipt).stage(batch((1, "a")), 1)

        store.pulls.retry(store.pulls.get(receipt.id))

        sweep(store.engine)
        assert staged_in(store) == set()

    @pytest.mark.parametrize("action", ["stage", "commit", "renew", "restart"])
    def test_what_is_left_of_an_attempt_can_write_nothing_while_the_next_runs(
        self, store: Store, connector: Connector, action: str
    ) -> None:
        receipt = store.pulls.begin(connector, "run")
        left = Ingestion(store.engine, connector, receipt)
        store.pulls.retry(receipt)
        Ingestion(store.engine, connector, store.pulls.claim(receipt.id, connector, "next")).stage(batch((1, "a")), 1)

        do: dict[str, Callable[[], object]] = {
            "stage": lambda: left.stage(batch((2, "b")), 1),
            "commit": lambda: left.commit(None, READ_AT, 0),
            "renew": left.renew,
            "restart": left.restart,
        }
        with pytest.raises(PullSuperseded):
            do[action]()
        assert store.entities.counted("manufacturing", "product").entities == 0

    @pytest.mark.usefixtures("in_heaps")
    def test_nobody_waits_for_a_process_that_was_stopped_while_it_staged(
        self, store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if store.engine.dialect.name == "sqlite":
            pytest.skip("one process writes at a time")
        receipt = store.pulls.begin(connector, "run")
        put, reached, goes_on = copying.put, threading.Event(), threading.Event()

        def stopped(transaction: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> None:
            put(transaction, table, rows)
            if not reached.is_set():
                reached.set()
                goes_on.wait(OUTER_SECONDS)

        monkeypatch.setattr(copying, "put", stopped)

        with ThreadPoolExecutor(1) as threads:
            staging = threads.submit(Ingestion(store.engine, connector, receipt).stage, batch((1, "a"), (2, "b")), 2)
            try:
                assert reached.wait(OUTER_SECONDS)
                sweep(store.engine)  # it waits for nobody
                assert store.pulls.retry(receipt)
                pull = Ingestion(store.engine, connector, store.pulls.claim(receipt.id, connector, "next"))
                pull.stage(batch((1, "a")), 1)
                completed = pull.commit(None, READ_AT, time.monotonic())
            finally:
                goes_on.set()

        assert (completed.status, completed.records_ingested) == (PullStatus.COMPLETED, 1)
        assert isinstance(staging.exception(), PullSuperseded)
        sweep(store.engine)
        assert staged_in(store) == set()

    def test_what_another_pull_brings_meanwhile_is_compared_with(self, store: Store, connector: Connector) -> None:
        self._compares(store, connector)

    @pytest.mark.parametrize("large", [(), ("first",), ("second",), ("first", "second")])
    def test_of_two_first_pulls_into_a_set_the_second_is_compared_with_the_first(
        self, store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch, large: tuple[str, ...]
    ) -> None:
        if store.engine.dialect.name == "sqlite":
            pytest.skip("one process writes at a time")
        pulls = {}
        for name in ("first", "second"):
            monkeypatch.setattr(shelves, "HELD_ROWS", 0 if name in large else 1000)
            pulls[name] = ingestion(store, connector if name == "first" else store.connectors.add(NEW))
            pulls[name].stage(batch((1, "a"), (2, name)), 2)

        with ThreadPoolExecutor(1) as threads, store.engine.connect() as watching:
            with _held_back(monkeypatch) as held:
                first = threads.submit(pulls["first"].commit, None, READ_AT, 0)
                assert held.wait(OUTER_SECONDS)
                with ThreadPoolExecutor(1) as others:
                    second = others.submit(pulls["second"].commit, None, READ_AT, 0)
                    _until(lambda: waits_for_a_lock(watching))
                    held.clear()
            ended = [one.result() for one in (first, second)]

        assert [(one.records_ingested, one.duplicates_skipped, one.change_number) for one in ended] == [
            (2, 0, 1),
            (1, 1, 2),
        ]
        assert store.entities.counted("manufacturing", "product") == (2, 2)

    def _compares(self, store: Store, connector: Connector) -> None:
        """With what another pull has written, but not committed yet, when the merge begins."""
        if store.engine.dialect.name == "sqlite":
            pytest.skip("one process writes at a time")
        brought = ingestion(store, connector)
        brought.stage(batch((1, "a"), (2, "b")), 2)
        brought.commit(None, READ_AT, 0)
        with store.engine.begin() as transaction:
            rows = transaction.execute(sa.select(tables.entity)).mappings().all()
            transaction.execute(tables.entity.delete())
        pull = ingestion(store, connector)
        pull.stage(batch((1, "a"), (2, "c"), (3, "d")), 3)

        with ThreadPoolExecutor(1) as threads, store.engine.connect() as another:
            another.execute(tables.entity.insert(), [dict(row) for row in rows])
            merging = threads.submit(pull.commit, None, READ_AT, 0)
            _until(lambda: waits_for_a_lock(another))
            another.commit()
            ended = merging.result()

        assert (ended.records_pulled, ended.records_ingested, ended.duplicates_skipped) == (3, 2, 1)

    def test_the_last_words_of_a_dead_attempt_do_not_end_the_next(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")
        store.pulls.retry(receipt)

        store.pulls.end(receipt, SourceFailed("It failed."))

        assert store.pulls.get(receipt.id).status is PullStatus.QUEUED

    def test_the_next_attempt_counts_as_one_clean_pull(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")
        Ingestion(store.engine, connector, receipt).stage(batch((1, "a"), (2, "b")), 2)
        store.pulls.retry(store.pulls.get(receipt.id))

        again = Ingestion(store.engine, connector, store.pulls.claim(receipt.id, connector, "next"))
        again.stage(batch((1, "a"), (2, "b"), (3, "c")), 3)
        ended = again.commit(None, READ_AT, 0)

        assert (ended.records_pulled, ended.records_ingested, ended.duplicates_skipped) == (3, 3, 0)

    def test_a_restarted_attempt_counts_from_the_beginning(self, store: Store, connector: Connector) -> None:
        pull = ingestion(store, connector)
        pull.stage(batch((1, "a"), (2, "b"), duplicates=1), 3)

        pull.restart()
        pull.stage(batch((1, "a")), 1)
        ended = pull.commit(None, READ_AT, 0)

        assert (ended.records_pulled, ended.records_ingested, ended.duplicates_skipped) == (1, 1, 0)

    def test_a_sign_of_life_after_the_commit_is_no_error(self, store: Store, connector: Connector) -> None:
        """Both are on their way to the store at once, from two threads of one pull."""
        pull = ingestion(store, connector)
        pull.commit(None, READ_AT, 0)

        pull.renew()

    def test_a_queued_pull_may_wait_longer_for_its_run(self, store: Store, connector: Connector) -> None:
        receipt, _ = store.pulls.queue(connector.id)
        _expire(store)

        store.pulls.await_run(receipt)

        assert store.pulls.lapsed() == []

    def test_a_full_refresh_does_not_join_a_pull_that_is_none(self, store: Store, connector: Connector) -> None:
        receipt, _ = store.pulls.queue(connector.id)

        with pytest.raises(PullInProgress, match=str(receipt.id)):
            store.pulls.queue(connector.id, Extent(full_refresh=True))

    def test_no_pull_begins_without_room_on_the_disk(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("qanatix_pipelines.store.engine.ROOM_BYTES", 2**63)
        if settings.store_url is not None:
            pytest.skip("PostgreSQL's disk is not seen from here")
        store = open_store(settings)

        with pytest.raises(StoreFull):
            store.pulls.queue(store.connectors.add(NEW).id)
        store.engine.dispose()


class TestChanges:
    """A connector's changes, while it is pulled and after."""

    PLACE = b"a database"
    WATERMARK = datetime(2026, 3, 7, tzinfo=UTC)

    @pytest.fixture
    def pulled(self, store: Store) -> Connector:
        connector = store.connectors.add(NEW, self.PLACE)
        ingest(store, connector, watermark=self.WATERMARK)
        return store.connectors.get(connector.id)

    @pytest.mark.parametrize(
        "change",
        [
            {"query": "SELECT * FROM others WHERE updated_at > :last_pull"},
            {"cursor_column": "id"},
            {"vertical": "retail"},
            {"entity_type": "part"},
            {"name_column": "title"},
            {"id_column": "sku"},
        ],
    )
    def test_what_decides_the_rows_begins_last_pull_anew(
        self, store: Store, pulled: Connector, change: dict[str, Any]
    ) -> None:
        changed = store.connectors.change(pulled.id, change)

        assert (changed.watermark, changed.watermark_at) == (None, None)
        assert changed.generation == pulled.generation + 1

    @pytest.mark.parametrize("change", [{"name": "Parts"}, {"batch_size": 10}, {"overlap": 60}, {"query": NEW.query}])
    def test_what_does_not_leaves_a_running_pull_alone(
        self, store: Store, pulled: Connector, change: dict[str, Any]
    ) -> None:
        running = store.pulls.begin(pulled, "run")

        changed = store.connectors.change(pulled.id, change)

        assert (changed.watermark, changed.generation) == (self.WATERMARK, pulled.generation)
        assert store.pulls.get(running.id).status is PullStatus.RUNNING

    def test_new_credentials_for_the_same_database_keep_last_pull(self, store: Store, pulled: Connector) -> None:
        changed = store.connectors.change(pulled.id, {}, {"dsn": "new"}, self.PLACE)

        assert (changed.watermark, changed.generation) == (self.WATERMARK, pulled.generation + 1)
        assert store.connectors.connection_config(changed) == {"dsn": "new"}

    def test_credentials_for_another_database_begin_last_pull_anew(self, store: Store, pulled: Connector) -> None:
        changed = store.connectors.change(pulled.id, {}, {"dsn": "new"}, b"another database")

        assert changed.watermark is None

    def test_a_running_pull_is_given_up(self, store: Store, pulled: Connector) -> None:
        running = ingestion(store, pulled)
        running.stage(batch((9, "z")), 1)

        store.connectors.change(pulled.id, {"query": "SELECT 1"})

        with pytest.raises(PullSuperseded):
            running.commit(self.WATERMARK, READ_AT, 0)
        assert store.entities.counted("manufacturing", "product").entities == 0
        assert store.connectors.get(pulled.id).watermark is None

    def test_a_run_that_read_the_connector_before_its_change_does_not_begin(
        self, store: Store, pulled: Connector
    ) -> None:
        store.connectors.change(pulled.id, {"query": "SELECT 1"})

        with pytest.raises(PullSuperseded):
            store.pulls.begin(pulled, "run")

    def test_changed_credentials_do_not_reach_a_pull_of_the_old_query(self, store: Store, pulled: Connector) -> None:
        store.connectors.change(pulled.id, {}, {"dsn": "new"}, self.PLACE)

        with pytest.raises(PullSuperseded):
            store.connectors.connection_config(pulled)

    def test_an_unknown_connector_cannot_be_changed(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.connectors.change(uuid4(), {"name": "x"})


class TestIngestion:
    def test_new_rows_are_ingested(self, store: Store, connector: Connector) -> None:
        assert ingest(store, connector, batch((1, "a"), (2, "b"))) == (2, 0)
        assert store.entities.counted("manufacturing", "product").entities == 2

    def test_rows_as_they_are_kept_are_duplicates(
        self, store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(unchanged, "MOST_ENTITIES", 0)  # they are staged all the same
        ingest(store, connector, batch((1, "a"), (2, "b")))

        assert ingest(store, connector, batch((1, "a"), (2, "b"))) == (0, 2)

    def test_a_changed_row_is_ingested_and_changes_its_entity(self, store: Store, connector: Connector) -> None:
        ingest(store, connector, batch((1, "a"), (2, "b")))

        assert ingest(store, connector, batch((1, "a"), (2, "c"))) == (1, 1)
        changed = store.entities.get(UUID(int=2))
        assert (changed.name, changed.data) == ("c", '{"is":"c"}')
        assert changed.created_at < changed.updated_at

    def test_of_rows_with_one_id_the_last_counts(self, store: Store, connector: Connector) -> None:
        assert ingest(store, connector, batch((1, "a")), batch((1, "b")), batch((1, "c"))) == (1, 2)
        assert store.entities.get(UUID(int=1)).name == "c"

    def test_a_row_that_changed_there_and_back_is_a_duplicate(self, store: Store, connector: Connector) -> None:
        ingest(store, connector, batch((1, "a")))

        assert ingest(store, connector, batch((1, "b")), batch((1, "a"))) == (0, 2)

    def test_nothing_is_seen_before_the_commit(self, store: Store, connector: Connector) -> None:
        ingestion(store, connector).stage(batch((1, "a")), 1)

        assert store.entities.counted("manufacturing", "product").entities == 0

    def test_a_commit_leaves_nothing_staged(self, store: Store, connector: Connector) -> None:
        ingest(store, connector, batch((1, "a")))

        assert staged_in(store) == set()

    @pytest.mark.usefixtures("in_heaps")
    def test_a_pull_that_ended_leaves_nothing_staged(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")
        Ingestion(store.engine, connector, receipt).stage(batch((1, "a")), 1)

        store.pulls.end(receipt, PullLost())

        sweep(store.engine)
        assert staged_in(store) == set()

    @pytest.mark.parametrize("action", ["stage", "commit", "renew"])
    def test_a_superseded_pull_can_do_nothing_more(self, store: Store, connector: Connector, action: str) -> None:
        pull = ingestion(store, connector)
        pull.stage(batch((1, "a")), 1)
        _expire(store)
        store.pulls.queue(connector.id)

        do: dict[str, Callable[[], object]] = {
            "stage": lambda: pull.stage(batch((2, "b")), 1),
            "commit": lambda: pull.commit(None, READ_AT, 0),
            "renew": pull.renew,
        }
        with pytest.raises(PullSuperseded):
            do[action]()
        assert store.entities.counted("manufacturing", "product").entities == 0

    def test_a_pull_of_a_removed_connector_ingests_nothing(self, store: Store, connector: Connector) -> None:
        pull = ingestion(store, connector)
        pull.stage(batch((1, "a")), 1)
        store.connectors.remove(connector.id)

        with pytest.raises(PullSuperseded):
            pull.commit(None, READ_AT, 0)
        assert store.entities.counted("manufacturing", "product").entities == 0

    @pytest.mark.usefixtures("in_heaps")
    def test_staged_rows_that_vanish_stop_the_commit(self, store: Store, connector: Connector) -> None:
        if store.engine.dialect.name == "sqlite":
            pytest.skip("they vanish with their process only")
        pull = ingestion(store, connector)
        pull.stage(batch((1, "a"), (2, "b")), 2)
        with store.engine.begin() as transaction:
            heap = Heap(pull._receipt.id, pull._receipt.attempt, leaf=True)
            transaction.execute(heap.table.delete().where(heap.table.c.row == 0))

        with pytest.raises(StagingLost):
            pull.commit(None, READ_AT, 0)
        assert store.entities.counted("manufacturing", "product").entities == 0

    def test_the_watermark_is_kept_with_the_rows(self, store: Store, connector: Connector) -> None:
        watermark = datetime(2026, 3, 7, 12, 0, 0, 1, tzinfo=UTC)

        ingest(store, connector, watermark=watermark)
        ingest(store, connector, watermark=None)

        kept = store.connectors.get(connector.id)
        assert (kept.watermark, kept.watermark_at) == (watermark, READ_AT)

    def test_a_time_goes_back_with_the_source(self, store: Store, connector: Connector) -> None:
        """Its clock was set back, or an older transaction is seen now: rows may yet appear below the watermark."""
        later = datetime(2026, 3, 7, 12, 0, 0, 1, tzinfo=UTC)

        ingest(store, connector, watermark=later)
        ingest(store, connector, watermark=later - timedelta(hours=1))

        assert store.connectors.get(connector.id).watermark == later - timedelta(hours=1)

    def test_a_full_refresh_takes_an_integer_as_it_is_now(self, store: Store, connector: Connector) -> None:
        """A sequence that was begun anew gives numbers below the old greatest."""
        ingest(store, connector, watermark=900)
        receipt = store.pulls.begin(connector, "run", Extent(full_refresh=True))

        Ingestion(store.engine, connector, receipt).commit(9, READ_AT, 0)

        assert store.connectors.get(connector.id).watermark == 9

    def test_an_integer_never_goes_back(self, store: Store, connector: Connector) -> None:
        greatest = 2**64 - 1

        ingest(store, connector, watermark=greatest)
        ingest(store, connector, watermark=9)

        assert store.connectors.get(connector.id).watermark == greatest

    @pytest.mark.usefixtures("in_heaps")
    def test_a_batch_whose_answer_was_lost_is_staged_once(self, store: Store, connector: Connector) -> None:
        pull = ingestion(store, connector)
        pull._opened_shelf()._engine = _LosesAnAnswer(store.engine)

        pull.stage(batch((1, "a"), (2, "b")), 2)
        receipt = pull.commit(None, READ_AT, time.monotonic())

        assert (receipt.records_pulled, receipt.records_ingested) == (2, 2)

    def test_a_commit_whose_answer_was_lost_has_completed(self, store: Store, connector: Connector) -> None:
        if store.engine.dialect.name == "sqlite":
            pytest.skip("it answers within the process")
        pull = ingestion(store, connector)
        pull.stage(batch((1, "a")), 1)
        pull._opened_shelf()._engine = _LosesAnAnswer(store.engine)

        receipt = pull.commit(None, READ_AT, time.monotonic())

        assert (receipt.status, receipt.records_ingested) == (PullStatus.COMPLETED, 1)

    def test_a_commit_is_no_sign_of_another_pulls_life(self, store: Store, connector: Connector) -> None:
        dead = store.pulls.begin(store.connectors.add(NEW), "run")
        pull = ingestion(store, connector)
        _expire(store)

        pull.commit(None, READ_AT, time.monotonic())

        assert [lost.id for lost in store.pulls.lapsed()] == [dead.id]

    def test_on_sqlite_a_commit_gives_back_the_time_in_which_nobody_could_give_a_sign(
        self, store: Store, connector: Connector
    ) -> None:
        """On PostgreSQL the others could give one."""
        dead, other = (store.pulls.begin(store.connectors.add(NEW), "run") for _ in range(2))
        pull = ingestion(store, connector)
        pull.stage(batch((1, "a")), 1)
        run_out = now()
        with store.engine.begin() as transaction:
            its = tables.pull.c.id == dead.id
            transaction.execute(tables.pull.update().where(its).values(lease_until=run_out))
        seconds: list[float] = []

        def hold(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("INSERT INTO main.entity "):
                seconds.append(-time.monotonic())
                _until(lambda: now() > other.lease_until - timedelta(seconds=LEASE_SECONDS - 1))
                seconds.append(time.monotonic())

        sa.event.listen(store.engine, "before_cursor_execute", hold)
        begun = time.monotonic()
        pull.commit(None, READ_AT, time.monotonic())
        whole = time.monotonic() - begun

        given = (store.pulls.get(other.id).lease_until - other.lease_until).total_seconds()
        assert sum(seconds) <= given <= whole if store.engine.dialect.name == "sqlite" else given == 0
        assert store.pulls.get(dead.id).lease_until == run_out

    def test_the_duplicates_within_batches_are_counted(self, store: Store, connector: Connector) -> None:
        assert ingest(store, connector, batch((1, "a"), duplicates=3)) == (1, 3)


class TestEntities:
    def test_pages_hold_every_entity_once_while_others_arrive(self, store: Store, connector: Connector) -> None:
        for start in (0, 10, 20):
            ingest(store, connector, batch(*((n, "x") for n in range(start, start + 10))))
        seen: list[int] = []
        cursor = None
        while True:
            page, cursor = store.entities.page(vertical="manufacturing", entity_type="product", limit=7, cursor=cursor)
            seen += [entity.id.int for entity in page]
            ingest(store, connector, batch((100 + len(seen), "new")))
            if cursor is None:
                break

        assert sorted(seen) == list(range(30))

    def test_the_newest_come_first(self, store: Store, connector: Connector) -> None:
        ingest(store, connector, batch((1, "a")))
        ingest(store, connector, batch((2, "b")))

        page, _ = store.entities.page(vertical=None, entity_type=None, limit=10, cursor=None)

        assert [entity.id.int for entity in page] == [2, 1]

    @pytest.mark.parametrize("limit", [1, 3, 100])
    def test_pages_over_several_sets_are_one_list_newest_first(self, store: Store, limit: int) -> None:
        """Whichever sets are asked for: those with a few entities between those of others, too."""
        sets = [("factory", "product"), ("factory", "order"), ("shop", "product")]
        connectors = [
            store.connectors.add(NEW.model_copy(update={"vertical": vertical, "entity_type": kind}))
            for vertical, kind in sets
        ]
        other = store.of(ACME).connectors.add(NEW)
        numbers = count(1)
        for turn, into in enumerate([0, 2, 1, 0, None, 0, 2, 2, 1]):
            filled = other if into is None else connectors[into]
            ingest(store.of(filled.tenant), filled, batch(*((next(numbers), "x") for _ in range(turn % 4 + 1))))

        for vertical, kind in [(None, None), ("factory", None), (None, "product"), ("shop", "product")]:
            found, cursor = store.entities.page(vertical=vertical, entity_type=kind, limit=limit, cursor=None)
            while cursor is not None:
                page, cursor = store.entities.page(vertical=vertical, entity_type=kind, limit=limit, cursor=cursor)
                assert len(page) <= limit
                found = [*found, *page]
            with store.engine.connect() as connection:
                rows = connection.execute(kept.entities()).all()
            newest = sorted(rows, key=lambda row: (row.created_at, row.row, row.id), reverse=True)
            assert [entity.id for entity in found] == [
                row.id
                for row in newest
                if row.tenant == DEFAULT and vertical in (None, row.vertical) and kind in (None, row.entity_type)
            ]

    def test_what_is_asked_of_several_sets_does_not_touch_another_tenants(self, store: Store) -> None:
        """Nor does it wait for it."""
        if store.engine.dialect.name == "sqlite":
            pytest.skip("all sets are in one table")
        for kind in ("product", "order"):
            ingest(store, store.connectors.add(NEW.model_copy(update={"entity_type": kind})), batch((len(kind), "x")))
        acme = store.of(ACME)
        ingest(acme, acme.connectors.add(NEW), batch((3, "x")))
        with store.engine.begin() as busy:
            busy.exec_driver_sql("LOCK TABLE qanatix.entity_3 IN ACCESS EXCLUSIVE MODE")

            page, _ = store.entities.page(vertical=None, entity_type=None, limit=10, cursor=None)
            assert len(page) == 2
            assert store.entities.get(page[1].id) == page[1]

    def test_other_sets_are_not_shown(self, store: Store, connector: Connector) -> None:
        ingest(store, connector, batch((1, "a")))

        assert store.entities.page(vertical="other", entity_type=None, limit=10, cursor=None) == ([], None)

    @pytest.mark.parametrize(
        "cursor",
        [
            *("", "x", "!", "eA==", "MjAyNg==", "é"),
            *(
                base64.urlsafe_b64encode(text.encode()).decode()
                for text in (
                    "0001-01-01 " + "0" * 32,
                    "2026-01-01T00:00:00 " + "٣" * 32,
                    "2026-13-01T00:00:00 " + "0" * 32,
                )
            ),
        ],
    )
    def test_a_cursor_of_somebody_elses_is_refused(self, store: Store, cursor: str) -> None:
        with pytest.raises(ValueError, match="is not a cursor"):
            store.entities.page(vertical=None, entity_type=None, limit=10, cursor=cursor)

    def test_an_unknown_entity_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.entities.get(uuid4())


class TestKeys:
    def test_a_key_is_found_by_its_text(self, store: Store) -> None:
        keys = KeyStore(store.engine, PEPPER.encode())
        key = keys.create("mine")

        found = keys.find(key.text)

        assert found is not None
        assert (found.id, found.name) == (key.id, "mine")

    def test_a_key_is_kept_as_a_digest_only(self, store: Store) -> None:
        key = KeyStore(store.engine, PEPPER.encode()).create("mine")
        with store.engine.connect() as connection:
            row = connection.execute(sa.select(tables.api_key)).one()

        assert key.text[16:40] not in repr(row)

    def test_other_keys_are_not_found(self, store: Store) -> None:
        keys = KeyStore(store.engine, PEPPER.encode())
        keys.create("mine")

        assert keys.find(new_key().text) is None
        assert keys.find("sk_live_nonsense") is None

    def test_under_another_pepper_no_key_is_found(self, store: Store) -> None:
        key = KeyStore(store.engine, PEPPER.encode()).create("mine")

        assert KeyStore(store.engine, b"another pepper").find(key.text) is None

    def test_a_revoked_key_is_not_found(self, store: Store) -> None:
        keys = KeyStore(store.engine, PEPPER.encode())
        key = keys.create("mine")

        assert keys.revoke(key.id)
        assert not keys.revoke(key.id)
        assert keys.find(key.text) is None


class TestChecks:
    def test_a_store_refuses_an_encryption_key_that_is_not_its_own(self, store: Store) -> None:
        with pytest.raises(SettingsError, match="CONNECTOR_ENCRYPTION_KEY is not the one"):
            check_cipher(store.engine, CredentialCipher([new_fernet_key()]))

    def test_two_processes_that_meet_an_empty_store_both_open_it(self, settings: Settings) -> None:
        engine = open_engine(settings)
        proof = CredentialCipher(settings.encryption_keys()).seal("qanatix")

        with ThreadPoolExecutor(1) as threads, engine.begin() as first:
            first.execute(tables.secret_check.insert().values(variable="CONNECTOR_ENCRYPTION_KEY", proof=proof))
            second = threads.submit(open_store, settings)
            wait([second], timeout=1)  # it comes to where it waits for the first
        engine.dispose()

        second.result().engine.dispose()

    def test_once_rotated_a_store_needs_the_old_key_no_more(self, settings: Settings) -> None:
        new_key = new_fernet_key()
        with_both = settings.model_copy(update={"encryption_key": SecretStr(f"{new_key},{ENCRYPTION_KEY}")})
        with_new = settings.model_copy(update={"encryption_key": SecretStr(new_key)})
        connector = _opened(settings, lambda store: store.connectors.add(NEW))

        assert _opened(with_both, lambda store: store.connectors.rotate()) == Rotated(1, (), ())

        config = _opened(with_new, lambda store: store.connectors.connection_config(connector))
        assert config == NEW.connection_config

    def test_who_has_the_old_key_first_yet_does_not_take_the_store_back(self, settings: Settings) -> None:
        new_key = new_fernet_key()

        def opened_with(*keys: str, do: Callable[[Store], object] = Store.ping) -> None:
            _opened(settings.model_copy(update={"encryption_key": SecretStr(",".join(keys))}), do)

        opened_with(ENCRYPTION_KEY)
        opened_with(new_key, ENCRYPTION_KEY, do=lambda store: store.connectors.rotate())
        opened_with(ENCRYPTION_KEY, new_key)

        opened_with(new_key)

    def test_a_store_refuses_a_pepper_that_is_not_its_own(self, store: Store) -> None:
        check_pepper(store.engine, PEPPER.encode())

        with pytest.raises(SettingsError, match="QANATIX_API_KEY_PEPPER is not the one"):
            check_pepper(store.engine, b"another pepper")


def test_a_store_is_opened_while_somebody_writes_to_it(tmp_path: Path) -> None:
    """A large pull's merge holds SQLite's only lock for long; the next run must start meanwhile."""
    settings = Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER)
    open_store(settings).engine.dispose()
    with closing(sqlite3.connect(tmp_path / "qanatix.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")

        opened = open_store(settings, patience_seconds=0)
        opened.ping()
        opened.engine.dispose()


def test_a_writer_waits_for_another_no_longer_than_its_patience(store: Store, settings: Settings) -> None:
    connector = store.connectors.add(NEW)
    impatient = open_store(settings, patience_seconds=1)

    with store.engine.begin() as transaction:
        transaction.execute(tables.connector.update().values(name="Being written"))
        with pytest.raises(StoreUnavailable):
            impatient.connectors.remove(connector.id)
    impatient.engine.dispose()

    assert store.connectors.get(connector.id).name == "Being written"


def test_a_process_that_is_stopped_in_a_transaction_lets_go_of_its_locks(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("its locks are the process's own")
    connector = store.connectors.add(NEW)
    monkeypatch.setattr(engine, "_IDLE_MS", 200)
    stopped = open_store(settings)

    with pytest.raises(StoreUnavailable), stopped.engine.begin() as transaction:  # noqa: PT012  # what it holds ends
        transaction.execute(tables.connector.update().values(name="Being written"))
        store.connectors.remove(connector.id)
        transaction.execute(sa.select(1))
    stopped.engine.dispose()

    with pytest.raises(NotFound):
        store.connectors.get(connector.id)


class TestMigrations:
    def test_the_migrated_tables_are_those_of_the_code(self, store: Store) -> None:
        with store.engine.connect() as connection:
            sqlite = connection.dialect.name == "sqlite"
            context = MigrationContext.configure(
                connection,
                opts={
                    "include_schemas": True,
                    "version_table_schema": None if sqlite else tables.SCHEMA,
                    # On PostgreSQL each set has its own.
                    "include_object": lambda _, name, *__: sqlite or not str(name).startswith("entity_by_"),
                },
            )
            wanted = [tables.metadata, tables.staged.metadata]
            if sqlite:
                wanted = [sa.MetaData()]
                for table in tables.metadata.sorted_tables:
                    table.to_metadata(wanted[0], schema=None)
            differences = compare_metadata(context, wanted)

        assert differences == []

    def test_a_second_upgrade_changes_nothing(self, store: Store, connector: Connector) -> None:
        migrations.upgrade(store.engine)

        assert store.connectors.list() == [connector]

    def test_production_does_not_open_a_store_that_is_not_migrated(self, settings: Settings) -> None:
        address = SecretStr(settings.store_address())
        production = settings.model_copy(update={"environment": "production", "store_url": address})

        with pytest.raises(StoreNotReady, match="qanatix migrate"):
            open_store(production)
        engine = connect(production.store_address())
        migrations.upgrade(engine)
        engine.dispose()
        opened = open_store(production)
        opened.ping()
        opened.engine.dispose()

    def test_a_postgresql_that_is_too_old_is_refused(self, settings: Settings) -> None:
        store = connect(settings.store_address())
        sa.event.listen(store, "begin", lambda _: setattr(store.dialect, "server_version_info", (14, 19)))

        if store.dialect.name == "sqlite":
            migrations.upgrade(store)
        else:
            with pytest.raises(SettingsError, match="QANATIX_STORE_URL names a PostgreSQL before version 15"):
                migrations.upgrade(store)
        store.dispose()

    @pytest.mark.slow
    def test_processes_that_migrate_at_once_all_succeed(self, settings: Settings) -> None:
        environment = {**os.environ, "QANATIX_STORE_URL": settings.store_address()}
        qanatix = Path(sys.executable).with_name("qanatix")

        migrating = [subprocess.Popen([qanatix, "migrate"], env=environment, stderr=subprocess.PIPE) for _ in range(4)]

        said = f"The store is ready: {named(connect(settings.store_address()))}.\n".encode()
        assert [(process.communicate()[1], process.returncode) for process in migrating] == [(said, 0)] * 4


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:sec@hunter2@db/x",
        "hunter2",
        "mysql://me:hunter2@db/x",
        "sqlite://",
        "sqlite:///:memory:",
        "oracle+x://hunter2",
    ],
)
def test_another_database_is_refused_without_showing_its_address(address: str) -> None:
    with pytest.raises(SettingsError, match="QANATIX_STORE_URL") as refused:
        connect(address)

    assert "hunter2" not in str(refused.value)


def test_a_connection_that_died_while_nobody_used_it_is_replaced(database: str, tmp_path: Path) -> None:
    opened = open_store(
        Settings(data_dir=tmp_path, store_url=SecretStr(database), encryption_key=ENCRYPTION_KEY, pepper=PEPPER)
    )
    opened.ping()
    with psycopg.connect(database) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    opened.ping()
    opened.engine.dispose()


def test_a_store_that_cannot_be_reached_is_told_without_its_address() -> None:
    engine = connect(f"postgresql://me:hunter2@127.0.0.1:{free_port()}/x")

    with pytest.raises(StoreUnavailable) as unavailable, engine.connect():
        pass

    assert "hunter2" not in str(unavailable.value)


def _opened(settings: Settings, use: Callable[[Store], Any]) -> Any:
    opened = open_store(settings)
    try:
        return use(opened)
    finally:
        opened.engine.dispose()


class _LosesAnAnswer:
    """An engine that does what it is asked, but the first time it is not heard that it did."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as transaction:
            yield transaction
        if not self._lost:
            self._lost = True
            raise StoreUnavailable


def waits_for_a_lock(transaction: sa.Connection) -> bool:
    """Whether somebody waits for what `transaction` has locked: on SQLite that is everything."""
    if transaction.dialect.name == "sqlite":
        return True
    return bool(transaction.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())


def _until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


@contextmanager
def _held_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The first pull that attaches a set's table stops there while the event is set."""
    attach, held = ingestion_module.attach, threading.Event()

    def attached(transaction: sa.Connection, number: int) -> None:
        attach(transaction, number)
        held.set()
        _until(lambda: not held.is_set())

    monkeypatch.setattr(ingestion_module, "attach", attached)
    yield held


def _expire(store: Store) -> None:
    with store.engine.begin() as transaction:
        transaction.execute(tables.pull.update().values(lease_until=datetime(2000, 1, 1, tzinfo=UTC)))
