"""What a receipt and a connector tell over REST of keys, of columns, and of the merge; and to whom."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.pull import run_pull
from qanatix_pipelines.store.opening import Store
from tests.held import held_merges
from tests.system import until
from tests.test_pull import Scripted
from tests.test_repeated_keys import COLUMNS, pulled
from tests.test_store import NEW

API = "/api/v1"
KEY = "key-of-a-row"


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


class TestWarnings:
    def test_keys_are_told_to_who_may_read_entities(
        self, store: Store, connector: Connector, client: Callable[..., TestClient]
    ) -> None:
        receipt = pulled(store, connector, [(KEY, "a"), (KEY, "b")])
        api = client(Scope.CONNECTORS_READ, Scope.ENTITIES_READ)

        alone = api.get(f"{API}/pulls/{receipt.id}").json()
        (listed,) = api.get(f"{API}/connectors/{connector.id}/pulls").json()["items"]

        assert [warning["keys"] for warning in alone["warnings"]] == [[KEY]]
        assert listed == alone

    def test_who_may_not_is_told_all_but_the_keys(
        self, store: Store, connector: Connector, client: Callable[..., TestClient]
    ) -> None:
        receipt = pulled(store, connector, [(KEY, "a"), (KEY, "b")])
        api = client(Scope.CONNECTORS_READ)

        answers = [api.get(f"{API}/{path}") for path in (f"pulls/{receipt.id}", f"connectors/{connector.id}/pulls")]

        assert [answer.status_code for answer in answers] == [200, 200]
        assert all(KEY not in answer.text for answer in answers)
        (warning,) = answers[0].json()["warnings"]
        assert warning == {"code": "keys_repeated", "detail": receipt.warnings[0].detail, "keys": []}


class TestColumns:
    def test_a_connector_shows_what_its_last_result_had(
        self, store: Store, connector: Connector, client: Callable[..., TestClient]
    ) -> None:
        api = client(Scope.CONNECTORS_READ)
        before = shown(api, connector.id)
        pulled(store, connector, [("1", "a")])

        assert (before, shown(api, connector.id)) == ((None, None), ("id", "name"))

    def test_what_the_connector_names_it_shows_before_any_pull(
        self, store: Store, client: Callable[..., TestClient]
    ) -> None:
        named = store.connectors.add(NEW.model_copy(update={"id_column": "sku", "name_column": "title"}))

        assert shown(client(Scope.CONNECTORS_READ), named.id) == ("sku", "title")

    def test_a_result_without_a_key_shows_none(
        self, store: Store, connector: Connector, client: Callable[..., TestClient]
    ) -> None:
        pulled(store, connector, [("1", "a")], columns=COLUMNS[1:])

        assert shown(client(Scope.CONNECTORS_READ), connector.id) == (None, "name")

    def test_after_another_query_nothing_is_shown(
        self, store: Store, connector: Connector, client: Callable[..., TestClient]
    ) -> None:
        pulled(store, connector, [("1", "a")])
        api = client(Scope.CONNECTORS_READ, Scope.CONNECTORS_WRITE)

        changed = api.patch(f"{API}/connectors/{connector.id}", json={"query": "SELECT 1 AS number"})

        assert changed.status_code == 200
        assert shown(api, connector.id) == (None, None)


@pytest.mark.parametrize("store_kind", ["postgresql"])  # SQLite's only lock would hold what tells of the merge, too
def test_a_pull_that_merges_says_so(
    store: Store, connector: Connector, store_database: str, client: Callable[..., TestClient]
) -> None:
    api = client(Scope.CONNECTORS_READ)
    first: Any = Scripted([[1]])
    run_pull(store, connector, store.pulls.begin(connector, "first"), lambda _config: first)
    receipt = store.pulls.begin(connector, "run")
    source: Any = Scripted([[1, 2, 3]])

    def told() -> dict[str, Any]:
        answer: dict[str, Any] = api.get(f"{API}/pulls/{receipt.id}").json()
        return answer

    with ThreadPoolExecutor(1) as threads, held_merges(store_database) as let_go:
        pulling = threads.submit(run_pull, store, connector, receipt, lambda _config: source)
        until(lambda: pulling.done() or told()["progress"]["phase"] == "merging")
        merging = told()
        let_go()
        pulling.result()
    ended = told()

    assert (merging["status"], merging["records_pulled"], merging["ended_at"]) == ("running", 0, None)
    assert (merging["progress"]["phase"], merging["progress"]["records_read"]) == ("merging", 3)
    assert merging["progress"]["merging_seconds"] >= 0
    assert merging["progress"]["heartbeat_at"] is not None
    assert (ended["status"], ended["records_pulled"], ended["progress"]["phase"]) == ("completed", 3, None)
    assert ended["progress"]["merging_seconds"] >= merging["progress"]["merging_seconds"]


def shown(api: TestClient, connector_id: UUID) -> tuple[str | None, str | None]:
    """The key's and the name's columns, as they are shown alone and in the list."""
    alone = api.get(f"{API}/connectors/{connector_id}").json()
    assert api.get(f"{API}/connectors").json() == [alone]
    return alone["effective_key_column"], alone["effective_name_column"]
