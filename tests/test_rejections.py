"""Rejected rows: which are kept of a pull, for how long, and how they are told, in SQLite and in PostgreSQL."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.errors import SourceFailed
from qanatix_pipelines.extents import Extent
from qanatix_pipelines.health import SHOWN
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.rejections import Reason, Rejection
from qanatix_pipelines.row_keys import WarningCode
from qanatix_pipelines.store.health import health_of
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.rejections import PULLS_KEPT, ROWS_KEPT
from qanatix_pipelines.tenants import Tenant
from tests.test_store import NEW, READ_AT, batch

API = "/api/v1"


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


def nameless(*rows: int) -> list[Rejection]:
    return [Rejection(row, f"k{row}", Reason.NAME_MISSING, "name") for row in rows]


def reject(
    store: Store,
    connector: Connector,
    *batches: list[Rejection],
    watermark: datetime | None = None,
    full_refresh: bool = False,
) -> Receipt:
    """The receipt of a pull that has rejected these."""
    connector = store.connectors.get(connector.id)
    receipt = store.pulls.begin(connector, "run", Extent(full_refresh=full_refresh))
    pull = Ingestion(store.engine, connector, receipt)
    for rejections in batches:
        pull.stage(EntityBatch(batch().frame, rejections, 0), len(rejections))
    return pull.commit(watermark, READ_AT, time.monotonic())


def told(store: Store, pull: Receipt, limit: int = 2 * ROWS_KEPT) -> list[int]:
    return [rejection.row for rejection in store.rejections.page(pull.id, limit=limit)[0]]


class TestKept:
    def test_a_receipt_counts_all_by_reason_and_a_thousand_are_kept(self, store: Store, connector: Connector) -> None:
        oversized = Rejection(1, None, Reason.ROW_TOO_LARGE, None)

        receipt = reject(store, connector, [oversized, *nameless(*range(2, 800))], nameless(*range(800, 1301)))

        assert (receipt.records_pulled, receipt.records_rejected) == (1300, 1300)
        assert receipt.rejected_by_reason == {Reason.ROW_TOO_LARGE: 1, Reason.NAME_MISSING: 1299}
        assert told(store, receipt) == list(range(1, ROWS_KEPT + 1))
        assert store.rejections.page(receipt.id, limit=2)[0] == [oversized, *nameless(2)]

    def test_pages_hold_every_row_once_in_the_order_of_the_source(self, store: Store, connector: Connector) -> None:
        receipt = reject(store, connector, nameless(9, 20, 100, 1000, 2**40))
        pages, cursor = [], None
        while True:
            page, cursor = store.rejections.page(receipt.id, limit=2, cursor=cursor)
            pages.append([rejection.row for rejection in page])
            if cursor is None:
                break

        assert pages == [[9, 20], [100, 1000], [2**40]]

    def test_what_was_rejected_before_the_source_was_read_again_is_forgotten(
        self, store: Store, connector: Connector
    ) -> None:
        pull = Ingestion(store.engine, connector, store.pulls.begin(connector, "run"))
        pull.stage(EntityBatch(batch().frame, nameless(1, 2), 0), 2)
        pull.restart()
        pull.stage(EntityBatch(batch().frame, nameless(3), 0), 1)

        receipt = pull.commit(None, READ_AT, time.monotonic())

        assert receipt.rejected_by_reason == {Reason.NAME_MISSING: 1}
        assert told(store, receipt) == [3]

    def test_of_a_pull_that_failed_nothing_is_kept(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")
        Ingestion(store.engine, connector, receipt).stage(EntityBatch(batch().frame, nameless(1), 0), 1)
        store.pulls.end(receipt, SourceFailed("It failed."))

        assert store.pulls.get(receipt.id).rejected_by_reason == {}
        assert told(store, receipt) == []

    def test_the_last_ten_pulls_that_rejected_rows_are_kept_of_each_connector(
        self, store: Store, connector: Connector
    ) -> None:
        other = store.connectors.add(NEW)
        others = reject(store, other, nameless(1))
        pulls = []
        for row in range(1, PULLS_KEPT + 3):
            pulls.append(reject(store, connector, nameless(row)))
            reject(store, connector)

        assert [told(store, pull) for pull in pulls] == [[], [], *([row] for row in range(3, PULLS_KEPT + 3))]
        assert told(store, others) == [1]
        assert store.pulls.get(pulls[0].id).rejected_by_reason == {Reason.NAME_MISSING: 1}

    def test_they_go_with_their_connector(self, store: Store, connector: Connector) -> None:
        other = store.connectors.add(NEW)
        gone, stays = reject(store, connector, nameless(1)), reject(store, other, nameless(2))

        store.connectors.remove(connector.id)

        assert (told(store, gone), told(store, stays)) == ([], [2])

    def test_another_tenants_are_not_there(self, store: Store, connector: Connector) -> None:
        receipt = reject(store, connector, nameless(1))

        assert told(store.of(Tenant("acme")), receipt) == []


class TestTold:
    def test_each_has_its_place_key_reason_and_column(
        self, store: Store, connector: Connector, client: Callable[..., TestClient]
    ) -> None:
        receipt = reject(store, connector, [*nameless(2), Rejection(5, None, Reason.ROW_TOO_LARGE, None)])
        api = client(Scope.ENTITIES_READ)

        page = api.get(f"{API}/pulls/{receipt.id}/rejections?limit=1").json()
        last = api.get(f"{API}/pulls/{receipt.id}/rejections", params={"cursor": page["cursor"]}).json()

        assert page["items"] == [
            {
                "row": 2,
                "key": "k2",
                "reason": "name_missing",
                "detail": "The column that name_column names is null or blank.",
                "column": "name",
            }
        ]
        assert page["has_more"] is True
        assert last == {
            "items": [
                {
                    "row": 5,
                    "key": None,
                    "reason": "row_too_large",
                    "detail": "The row is larger than 16 MiB.",
                    "column": None,
                }
            ],
            "kept": 2,
            "total": 2,
            "cursor": None,
            "has_more": False,
        }

    def test_of_a_connector_that_was_deleted_it_is_told_that_none_is_kept_of_how_many(
        self, store: Store, connector: Connector, client: Callable[..., TestClient]
    ) -> None:
        receipt = reject(store, connector, nameless(*range(1, ROWS_KEPT + 3)))
        there = client(Scope.ENTITIES_READ).get(f"{API}/pulls/{receipt.id}/rejections?limit=1").json()
        store.connectors.remove(connector.id)

        gone = client(Scope.ENTITIES_READ).get(f"{API}/pulls/{receipt.id}/rejections").json()

        assert (there["kept"], there["total"]) == (ROWS_KEPT, ROWS_KEPT + 2)
        assert (gone["items"], gone["kept"], gone["total"]) == ([], 0, ROWS_KEPT + 2)

    def test_a_receipt_tells_the_counts(
        self, store: Store, connector: Connector, client: Callable[..., TestClient]
    ) -> None:
        receipt = reject(store, connector, nameless(2, 3))

        shown = client(Scope.CONNECTORS_READ).get(f"{API}/pulls/{receipt.id}").json()

        assert (shown["records_rejected"], shown["rejected_by_reason"]) == (2, {"name_missing": 2})

    def test_keys_of_rows_are_told_to_who_may_read_entities(
        self, store: Store, connector: Connector, client: Callable[..., TestClient]
    ) -> None:
        receipt = reject(store, connector, nameless(2))

        refused = client(Scope.CONNECTORS_READ, Scope.PULLS_RUN).get(f"{API}/pulls/{receipt.id}/rejections")

        assert (refused.status_code, "k2" in refused.text) == (403, False)

    def test_another_tenants_pull_is_as_one_that_is_not_there(
        self, store: Store, connector: Connector, client: Callable[..., TestClient]
    ) -> None:
        receipt = reject(store, connector, nameless(2))

        answer = client(*Scope, tenant=Tenant("acme")).get(f"{API}/pulls/{receipt.id}/rejections")

        assert (answer.status_code, answer.json()["detail"]) == (404, "There is no such pull.")

    @pytest.mark.parametrize("cursor", ["nonsense", "cm93IDA=", "cm93IC0x", "4pyT", "MjAyNi0wMS0wMQ=="])
    def test_a_wrong_cursor_is_named(
        self, store: Store, connector: Connector, client: Callable[..., TestClient], cursor: str
    ) -> None:
        receipt = reject(store, connector, nameless(2))

        answer = client(*Scope).get(f"{API}/pulls/{receipt.id}/rejections", params={"cursor": cursor})

        assert answer.status_code == 422
        assert [problem["loc"] for problem in answer.json()["detail"]] == [["query", "cursor"]]


def test_each_reason_and_each_warning_is_explained() -> None:
    explained = (Path(__file__).parents[1] / "docs" / "receipts.md").read_text()

    assert [code for code in (*Reason, *WarningCode) if f"| `{code}` |" not in explained] == []


class TestHealth:
    """For a day, unless a pull has read everything since and rejected nothing."""

    def test_rejected_rows_are_told_for_a_day(self, store: Store, connector: Connector) -> None:
        reject(store, connector, nameless(2, 3), watermark=READ_AT)
        reject(store, connector, watermark=READ_AT)

        (health,) = health_of(store.engine, "postgresql")

        assert health.rejected_at is not None
        assert health.rejection(health.rejected_at + SHOWN) == "2 rejected: 2 name_missing"
        assert health.rejection(health.rejected_at + SHOWN + timedelta(seconds=1)) is None

    @pytest.mark.parametrize(("watermark", "full_refresh"), [(None, False), (READ_AT, True)])
    def test_a_pull_that_reads_everything_and_rejects_nothing_ends_it(
        self, store: Store, connector: Connector, watermark: datetime | None, full_refresh: bool
    ) -> None:
        reject(store, connector, nameless(2, 3), watermark=watermark)
        reject(store, connector, watermark=watermark, full_refresh=full_refresh)

        (health,) = health_of(store.engine, "postgresql")

        assert health.rejection(READ_AT) is None
