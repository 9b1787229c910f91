"""A pull while it merges: it says so, writes heartbeats, and is given up at its deadline."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from qanatix_api.receipts import Phase, Progress
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.defs.progress import ProgressLog
from qanatix_pipelines.errors import MergeTimeout, PullCancelled, StoreUnavailable
from qanatix_pipelines.limits import Limits
from qanatix_pipelines.pull import PullOutcome, run_pull
from qanatix_pipelines.receipts import LEASE_SECONDS, PullStatus, Receipt
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.history import WantedPulls
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store
from tests.kept import staged_in
from tests.system import until
from tests.test_pull import Scripted
from tests.test_store import NEW, READ_AT, batch, waits_for_a_lock

OUTER_SECONDS = 60


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


@contextmanager
def at_the_merge(store: Store, call: Callable[[], None]) -> Iterator[None]:
    """What is called once the merge has its locks, and before it writes."""

    def called(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(("INSERT INTO main.entity ", "INSERT INTO entity ", "INSERT INTO qanatix.entity_1 ")):
            call()

    sa.event.listen(store.engine, "before_cursor_execute", called)
    try:
        yield
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", called)


def test_a_receipt_says_that_its_pull_reads_and_then_that_it_merges(store: Store, connector: Connector) -> None:
    receipt = store.pulls.begin(connector, "run")
    pull = Ingestion(store.engine, connector, receipt)
    pull.stage(batch((1, "a")), 1)
    seen: list[Progress] = [_progress(store, receipt)]

    pull.begin_merge()
    with at_the_merge(store, lambda: seen.append(_progress(store, receipt))):
        pull.commit(None, READ_AT, 0)
    seen.append(_progress(store, receipt))

    assert [progress.phase for progress in seen] == [Phase.READING, Phase.MERGING, None]
    assert [progress.merging_seconds is not None for progress in seen] == [False, True, True]


def test_a_pull_gives_signs_of_life_while_it_merges(store: Store, connector: Connector) -> None:
    """On SQLite it cannot, and need not: nobody else can write, and so nobody can begin it again."""
    if store.engine.dialect.name == "sqlite":
        pytest.skip("the merge holds the only lock")
    receipt = store.pulls.begin(connector, "run")
    pull = Ingestion(store.engine, connector, receipt)
    pull.begin_merge()
    pull.stage(batch((1, "a")), 1)
    told = [_progress(store, receipt).heartbeat_at]

    def give_sign() -> None:
        store.pulls.renew(receipt)
        told.append(_progress(store, receipt).heartbeat_at)

    with at_the_merge(store, give_sign):
        pull.commit(None, READ_AT, 0)

    assert None not in told
    assert told == sorted(set(told))  # type: ignore[type-var]


def test_nobody_begins_a_pull_again_that_merges_into_sqlite(store: Store, connector: Connector) -> None:
    """Its lease runs out while it holds the lock, and who finds it lapsed then has nothing to begin."""
    if store.engine.dialect.name != "sqlite":
        pytest.skip("there it writes heartbeats")
    receipt = store.pulls.begin(connector, "run")
    pull = Ingestion(store.engine, connector, receipt)
    pull.stage(batch((1, "a")), 1)
    found: list[Receipt] = []

    with at_the_merge(store, lambda: found.append(store.pulls.get(receipt.id))):
        pull.commit(None, READ_AT, 0)

    assert [one.status for one in found] == [PullStatus.RUNNING]
    assert not store.pulls.retry(found[0])
    assert store.pulls.get(receipt.id).status is PullStatus.COMPLETED


def test_a_merge_is_given_up_at_its_deadline(
    store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = threading.Event()
    cancel = Ingestion.cancel

    def cancelled(pull: Ingestion) -> None:
        cancel(pull)
        given_up.set()

    monkeypatch.setattr(Ingestion, "cancel", cancelled)

    with at_the_merge(store, lambda: assert_set(given_up)), pytest.raises(MergeTimeout, match="QANATIX_MERGE_SECONDS"):
        _pulled(store, connector, Limits(merge_seconds=0.1))

    _nothing_of_it_is_kept(store, connector)


def test_a_merge_that_waits_for_a_lock_is_given_up_at_its_deadline(store: Store, connector: Connector) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("its lock is the store's only one")
    _pulled(store, connector, Limits())
    with store.engine.begin() as transaction:
        rows = transaction.execute(sa.select(tables.entity)).mappings().all()
        transaction.execute(tables.entity.delete())

    with store.engine.connect() as another:
        another.execute(tables.entity.insert(), [dict(row) for row in rows])
        with pytest.raises(MergeTimeout):
            _pulled(store, connector, Limits(merge_seconds=0.5))

    _nothing_of_it_is_kept(store, connector)


def test_a_pull_that_is_cancelled_while_it_merges_is_not_told_to_be_late(store: Store, connector: Connector) -> None:
    def cancel() -> None:
        if store.engine.dialect.name == "postgresql":
            store.pulls.cancel(store.history.page(WantedPulls(connector.id), limit=1, cursor=None)[0][0].id)

    with at_the_merge(store, cancel), suppress(PullCancelled):
        _pulled(store, connector, Limits())

    (receipt,), _ = store.history.page(WantedPulls(connector.id), limit=1, cursor=None)
    cancelled = store.engine.dialect.name == "postgresql"  # on SQLite nobody can while it merges
    assert receipt.status is (PullStatus.CANCELLED if cancelled else PullStatus.COMPLETED)


def test_a_merge_whose_process_is_gone_ends_and_holds_no_lock(store: Store, connector: Connector) -> None:
    if store.engine.dialect.name == "sqlite":
        pytest.skip("it ends with its process")
    holder = store.engine.connect()
    lock = sa.select(sa.func.pg_advisory_xact_lock(1))
    holder.execute(lock)
    with ThreadPoolExecutor(1) as threads:
        merging = store.engine.connect()
        merging.execute(tables.connector.update().values(name="Being written"))
        process = merging.connection.driver_connection
        assert process is not None
        waiting = threads.submit(merging.execute, lock)
        until(lambda: waits_for_a_lock(holder))

        with socket.fromfd(process.fileno(), socket.AF_INET, socket.SOCK_STREAM) as end:
            end.shutdown(socket.SHUT_RDWR)  # as the system does where a process is killed
        store.connectors.remove(connector.id)

        assert isinstance(waiting.exception(), StoreUnavailable)
    holder.close()
    merging.close()


@pytest.mark.parametrize("again", ["the source is read again", "another attempt"])
def test_what_begins_anew_reads_first(store: Store, connector: Connector, again: str) -> None:
    receipt = store.pulls.begin(connector, "run")
    pull = Ingestion(store.engine, connector, receipt)
    pull.begin_merge()

    if again == "another attempt":
        store.pulls.retry(store.pulls.get(receipt.id))
    else:
        pull.restart()

    assert store.pulls.get(receipt.id).merging_since is None


def test_a_heartbeat_is_when_the_last_sign_was_given(store: Store, connector: Connector) -> None:
    queued, _ = store.pulls.queue(connector.id)
    running = store.pulls.claim(queued.id, connector, "run")

    assert Progress.of(queued).heartbeat_at is None
    assert Progress.of(running).heartbeat_at == running.lease_until - timedelta(seconds=LEASE_SECONDS)


def test_the_runs_log_tells_of_a_long_merge_less_and_less_often(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = ProgressLog(logging.getLogger("run"))

    for seconds in range(10, 101, 10):
        log.hear_merge(seconds)

    assert [message.rpartition(" for ")[2] for message in caplog.messages] == ["10 s", "20 s", "30 s", "50 s", "80 s"]


def assert_set(event: threading.Event) -> None:
    assert event.wait(OUTER_SECONDS)


def _pulled(store: Store, connector: Connector, limits: Limits) -> PullOutcome:
    kept = store.connectors.get(connector.id)
    source: Any = Scripted([[1, 2, 3]])
    return run_pull(store, kept, store.pulls.begin(kept, "run"), lambda _config: source, limits=limits)


def _progress(store: Store, receipt: Receipt) -> Progress:
    return Progress.of(store.pulls.get(receipt.id))


def _nothing_of_it_is_kept(store: Store, connector: Connector) -> None:
    (receipt, *_), _ = store.history.page(WantedPulls(connector.id), limit=1, cursor=None)
    assert (receipt.status, receipt.error_code) == (PullStatus.FAILED, "merge_timeout")
    assert store.entities.page(vertical=None, entity_type=None, limit=1, cursor=None) == ([], None)
    assert staged_in(store) == set()
