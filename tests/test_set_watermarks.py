"""A watermark that is set by hand, and pulls that begin and end meanwhile, in SQLite and in PostgreSQL."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import dagster as dg
import pytest

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.defs.assets import _begun
from qanatix_pipelines.errors import InvalidConnector, NotFound, PullError, PullInProgress
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.connectors import ConnectorStore
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tenants import Tenant
from qanatix_pipelines.watermarks import Watermark
from tests.test_store import NEW, READ_AT, batch

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
RACES = 25


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


def put(store: Store, connector: Connector, value: Watermark | None) -> Connector:
    return store.watermarks.put(connector.id, value, lambda _connector: None)


@pytest.mark.parametrize("value", [JANUARY, 0, -(10**37), None])
def test_it_is_kept_with_the_time_at_which_it_was_set(
    store: Store, connector: Connector, value: Watermark | None
) -> None:
    before = datetime.now(UTC)
    answered = put(store, connector, value)

    kept = store.connectors.get(connector.id)
    assert (kept, kept.watermark) == (answered, value)
    if value is None:
        assert kept.watermark_at is None
    else:
        assert kept.watermark_at is not None
        assert before - timedelta(milliseconds=1) <= kept.watermark_at <= datetime.now(UTC)


def test_nothing_else_of_the_connector_changes(store: Store, connector: Connector) -> None:
    changed = put(store, connector, JANUARY)

    assert changed.model_copy(update={"watermark": None, "watermark_at": None}) == connector


def test_what_is_wrong_with_it_is_told_by_the_connector_as_it_is_now(store: Store, connector: Connector) -> None:
    current = store.connectors.change(connector.id, {"cursor_column": "id"})
    seen: list[Connector] = []

    def refuse(found: Connector) -> None:
        seen.append(found)
        raise InvalidConnector(("value",), "must be an integer")

    with pytest.raises(InvalidConnector):
        store.watermarks.put(connector.id, JANUARY, refuse)

    assert seen == [current] == [store.connectors.get(connector.id)]


def test_that_of_anothers_connector_cannot_be_set(store: Store, connector: Connector) -> None:
    for other, one in ((store.of(Tenant("acme")), connector.id), (store, uuid4())):
        with pytest.raises(NotFound):
            other.watermarks.put(one, JANUARY, lambda _connector: None)

    assert store.connectors.get(connector.id).watermark is None


@pytest.mark.parametrize("state", ["queued", "running", "lapsed"])
def test_while_a_pull_is_live_it_is_refused_and_stays(store: Store, connector: Connector, state: str) -> None:
    live, _ = store.pulls.queue(connector.id)
    if state != "queued":
        live = store.pulls.claim(live.id, connector, "run")
    if state == "lapsed":
        with store.engine.begin() as transaction:
            transaction.execute(tables.pull.update().values(lease_until=READ_AT))

    with pytest.raises(PullInProgress) as raised:
        put(store, connector, JANUARY)

    assert (raised.value.pull_id, raised.value.run_id) == (live.id, live.run_id)
    assert store.connectors.get(connector.id) == connector
    store.pulls.cancel(live.id)
    assert put(store, connector, JANUARY).watermark == JANUARY


@pytest.mark.slow
def test_no_pull_overwrites_one_that_was_set_without_having_begun_there(store: Store, connector: Connector) -> None:
    """In each race either it is refused, or it was set before the pull read it, or after the pull had moved it."""
    outcomes = set()
    for number in range(RACES):
        barrier = threading.Barrier(2)
        told: dict[str, Watermark | None] = {}

        def pull(barrier: threading.Barrier = barrier, told: dict[str, Watermark | None] = told) -> None:
            barrier.wait(60)
            pulled, receipt = _begun(store, connector.partition_key, _run())
            told["read"] = pulled.watermark
            ingestion = Ingestion(store.engine, pulled, receipt)
            ingestion.stage(batch((1, "a")), 1)
            ingestion.commit(READ_AT, READ_AT, time.monotonic())

        pulling = threading.Thread(target=pull)
        pulling.start()
        barrier.wait(60)
        time.sleep(number % 5 * 0.002)  # it meets the pull in another place each time
        set_at = JANUARY + timedelta(days=number)
        try:
            put(store, connector, set_at)
        except PullInProgress:
            outcomes.add("refused")
        else:
            outcomes.add("set")
            pulling.join()
            assert set_at in (told["read"], store.connectors.get(connector.id).watermark)
        pulling.join()

    assert outcomes


def test_a_run_that_read_the_connector_just_before_reads_it_again(store: Store, connector: Connector) -> None:
    put(store, connector, READ_AT)

    class Slow(ConnectorStore):
        def by_partition(self, key: str) -> Connector:
            found = super().by_partition(key)
            put(store, connector, JANUARY)
            return found

    slow = replace(store, connectors=_as(Slow, store.connectors))

    pulled, receipt = _begun(slow, connector.partition_key, _run())

    assert (pulled.watermark, receipt.status.value) == (JANUARY, "running")


def test_a_run_whose_connector_was_changed_just_before_is_given_up(store: Store, connector: Connector) -> None:
    class Slow(ConnectorStore):
        def by_partition(self, key: str) -> Connector:
            found = super().by_partition(key)
            store.connectors.change(connector.id, {"query": "SELECT 2"})
            return found

    with pytest.raises(PullError, match="changed or deleted"):
        _begun(replace(store, connectors=_as(Slow, store.connectors)), connector.partition_key, _run())


def _as(kind: type[ConnectorStore], store: ConnectorStore) -> ConnectorStore:
    made = kind.__new__(kind)
    made.__dict__.update(store.__dict__)
    return made


def _run() -> dg.DagsterRun:
    return dg.DagsterRun("pull_postgresql", run_id=str(uuid4()))
