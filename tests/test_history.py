"""The history of pulls in the store, and pulls that are cancelled there: over SQLite and over PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import NotFound, PullCancelled, PullLost
from qanatix_pipelines.receipts import PullStatus
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.history import WantedPulls
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.pages import newest_first
from qanatix_pipelines.tenants import Tenant
from tests.kept import staged_in
from tests.test_store import NEW, READ_AT, batch, ingest, ingestion

NOON = datetime(2026, 3, 7, 12, tzinfo=UTC)


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


class TestPages:
    def test_pulls_of_one_instant_are_each_on_one_page(self, store: Store, connector: Connector) -> None:
        _keep(store, connector, [NOON] * 7)
        ids = {pull.id for pull in store.history.page(WantedPulls(connector.id), limit=100, cursor=None)[0]}

        shown, cursor = [], None
        while True:
            page, cursor = store.history.page(WantedPulls(connector.id), limit=3, cursor=cursor)
            shown += [pull.id for pull in page]
            if cursor is None:
                break

        assert (len(shown), set(shown)) == (7, ids)

    def test_the_newest_is_first_and_a_status_is_chosen(self, store: Store, connector: Connector) -> None:
        _keep(store, connector, [NOON + timedelta(hours=hour) for hour in range(4)])
        _keep(store, connector, [NOON + timedelta(hours=hour) for hour in range(9)], "failed")
        _keep(store, store.connectors.add(NEW), [NOON])

        page, _ = store.history.page(WantedPulls(connector.id, PullStatus.COMPLETED), limit=3, cursor=None)

        assert [pull.created_at.hour for pull in page] == [15, 14, 13]

    def test_another_tenants_are_not_shown(self, store: Store, connector: Connector) -> None:
        _keep(store, connector, [NOON])

        acme = store.of(Tenant("acme"))
        assert acme.history.page(WantedPulls(connector.id), limit=3, cursor=None) == ([], None)

    @pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
    @pytest.mark.parametrize("status", [None, "failed"])
    def test_a_page_is_read_off_an_index_however_long_the_history(self, store: Store, status: str | None) -> None:
        table = tables.pull
        ours = sa.select(table).where(table.c.tenant == "default", table.c.connector_id == uuid4())
        query = newest_first(ours if status is None else ours.where(table.c.status == status), table, 20, None)
        compiled = query.compile(store.engine, compile_kwargs={"literal_binds": True})
        asked = str(compiled).replace(f"{tables.SCHEMA}.", "")

        with store.engine.connect() as connection:
            plan = [str(row[3]) for row in connection.execute(sa.text(f"EXPLAIN QUERY PLAN {asked}"))]

        assert len(plan) == 1  # nothing is sorted
        assert "USING INDEX pull_by_" in plan[0]

    def test_the_last_pull_tells_why_it_failed(self, store: Store, connector: Connector) -> None:
        ingest(store, connector)
        failed = store.pulls.begin(connector, "run")
        store.pulls.end(failed, PullLost())

        (last,) = store.connectors.last_pulls(connector.id).values()

        assert (last.id, last.status, last.error_code) == (failed.id, "failed", "pull_lost")
        assert last.error_detail == str(PullLost())
        assert store.connectors.last_pulls() == {connector.id: last}
        assert store.connectors.last_pulls(store.connectors.add(NEW).id) == {}


class TestTimes:
    def test_a_pull_begun_again_keeps_when_it_began(self, store: Store, connector: Connector) -> None:
        begun = store.pulls.begin(connector, "run")
        assert begun.started_at is not None
        store.pulls.retry(begun)

        again = store.pulls.claim(begun.id, connector, "another run")

        assert (again.started_at, again.attempt) == (begun.started_at, 2)

    def test_who_asked_is_kept(self, store: Store, connector: Connector) -> None:
        asked, _ = store.pulls.queue(connector.id)
        store.pulls.end(asked, PullLost())

        begun = store.pulls.begin(connector, "run")

        assert (asked.trigger, asked.started_at, begun.trigger) == ("api", None, "dagster")


class TestCancelling:
    @pytest.mark.parametrize("action", ["stage", "commit", "renew", "restart"])
    def test_a_cancelled_pull_can_do_nothing_more_and_is_told_why(
        self, store: Store, connector: Connector, action: str
    ) -> None:
        pull = ingestion(store, connector)
        pull.stage(batch((1, "a")), 1)
        live = store.pulls.live(connector.id)
        assert live is not None

        cancelled = store.pulls.cancel(live.id)

        assert (cancelled.status, cancelled.error_code) == (PullStatus.CANCELLED, "pull_cancelled")
        assert cancelled.finished_at is not None
        do: dict[str, Callable[[], Any]] = {
            "stage": lambda: pull.stage(batch((2, "b")), 1),
            "commit": lambda: pull.commit(None, READ_AT, 0),
            "renew": pull.renew,
            "restart": pull.restart,
        }
        with pytest.raises(PullCancelled):
            do[action]()
        assert store.entities.counted("manufacturing", "product").entities == 0
        assert staged_in(store) == set()

    def test_a_run_that_comes_late_is_told_that_its_pull_is_cancelled(self, store: Store, connector: Connector) -> None:
        queued, _ = store.pulls.queue(connector.id)
        store.pulls.cancel(queued.id)

        assert store.pulls.name_run(queued.id, "run") is False
        with pytest.raises(PullCancelled):
            store.pulls.claim(queued.id, connector, "run")

    def test_a_run_of_a_pull_that_is_not_cancelled_is_named(self, store: Store, connector: Connector) -> None:
        queued, _ = store.pulls.queue(connector.id)

        assert store.pulls.name_run(queued.id, "run") is True
        assert store.pulls.get(queued.id).run_id == "run"

    def test_a_pull_is_cancelled_whichever_attempt_it_is_in(self, store: Store, connector: Connector) -> None:
        begun = store.pulls.begin(connector, "run")
        store.pulls.retry(begun)

        assert store.pulls.cancel(begun.id).status is PullStatus.CANCELLED
        assert store.pulls.live(connector.id) is None

    def test_a_pull_that_has_ended_stays_as_it_is(self, store: Store, connector: Connector) -> None:
        ingest(store, connector, batch((1, "a")))
        ((completed,), _) = store.history.page(WantedPulls(connector.id), limit=1, cursor=None)

        assert store.pulls.cancel(completed.id) == completed

    def test_anothers_is_not_found(self, store: Store, connector: Connector) -> None:
        begun = store.pulls.begin(connector, "run")

        with pytest.raises(NotFound):
            store.of(Tenant("acme")).pulls.cancel(begun.id)
        assert store.pulls.get(begun.id).status is PullStatus.RUNNING


def _keep(store: Store, connector: Connector, times: list[datetime], status: str = "completed") -> None:
    """Receipts of pulls that were asked for at these times."""
    receipts = [
        {
            "id": uuid4(),
            "tenant": connector.tenant,
            "connector_id": connector.id,
            "status": status,
            "lease_until": at,
            "created_at": at,
        }
        for at in times
    ]
    with store.engine.begin() as transaction:
        transaction.execute(tables.pull.insert(), receipts)
