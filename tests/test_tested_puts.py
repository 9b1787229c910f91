"""`PUT /connectors/by-key/{key}?test=true`: nothing is registered or replaced that fails its test. Dagster is faked."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from qanatix_pipelines.naming import DRAFT_TAG
from qanatix_pipelines.reports import CheckName
from qanatix_pipelines.store.opening import Store
from tests.fakes import FakeDagster
from tests.test_connector_keys import BODY, CONNECTORS, MINE, REDACTED
from tests.test_looks_api import answering, report

TESTED = f"{MINE}?test=true"
OTHER = {"name": "Other", "query": "SELECT id, name FROM products"}


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


def test_a_connector_is_registered_only_if_it_passes_its_test(
    api: TestClient, store: Store, dagster: FakeDagster
) -> None:
    dagster.on_look = answering(store, report(failed=CheckName.QUERY))
    refused = api.put(TESTED, json=BODY)
    assert (refused.status_code, refused.json()["code"]) == (422, "test_failed")
    assert refused.json()["detail"] == (
        "The connector was not registered: its test failed at query. What is said of query."
    )
    assert refused.json()["test"]["ok"] is False
    assert api.get(CONNECTORS).json() == []

    dagster.on_look = answering(store, report())

    assert api.put(TESTED, json=BODY).status_code == 201
    assert api.get(MINE).json()["name"] == BODY["name"]


@pytest.mark.parametrize("config", [REDACTED, {}], ids=["kept credentials", "new credentials"])
def test_a_connector_is_replaced_only_if_what_replaces_it_passes_its_test(
    api: TestClient, store: Store, dagster: FakeDagster, config: dict[str, Any]
) -> None:
    made = api.put(MINE, json=BODY).json()
    taken: list[Any] = []
    dagster.on_look = answering(store, report(failed=CheckName.LOGIN), taken)
    refused = api.put(TESTED, json=BODY | OTHER | config)
    assert (refused.status_code, refused.json()["code"]) == (422, "test_failed")
    assert refused.json()["detail"].startswith("The connector was not replaced: its test failed at login.")
    assert api.get(MINE).json()["name"] == BODY["name"]

    dagster.on_look = answering(store, report(), taken)
    replaced = api.put(TESTED, json=BODY | OTHER | config)

    assert (replaced.status_code, replaced.json()["id"], replaced.json()["name"]) == (200, made["id"], "Other")
    drafts = [(one.connector_id, (one.asked.get("settings") or one.asked.get("connector"))["query"]) for one in taken]
    assert drafts == [(UUID(made["id"]) if config else None, OTHER["query"])] * 2
    assert all(("connection_config" in one.asked.get("settings", one.asked)) is False for one in taken)


def test_what_is_wrong_is_told_before_any_run(api: TestClient, dagster: FakeDagster) -> None:
    api.put(MINE, json=BODY)

    answers = [
        api.put(TESTED, json=BODY | {"query": "DROP TABLE products"}),
        api.put(TESTED, json=BODY | REDACTED | {"query": "DROP TABLE products"}),
        api.put(TESTED, json=BODY | REDACTED | {"connector_type": "mysql"}),
        api.put(TESTED, json=BODY, headers={"If-Match": '"other"'}),
        api.put(f"{CONNECTORS}/by-key/new?test=true", json=BODY, headers={"If-Match": "*"}),
        api.put(f"{CONNECTORS}/by-key/new?test=true", json=BODY | REDACTED),
    ]

    assert [answer.status_code for answer in answers] == [422, 422, 422, 412, 412, 422]
    assert dagster.launches == []


def test_a_connector_that_is_changed_while_it_is_tested_is_tested_again(
    api: TestClient, store: Store, dagster: FakeDagster
) -> None:
    """What is tested is what is kept: by then it has other credentials, perhaps."""
    made = api.put(MINE, json=BODY).json()
    answer = answering(store, report())
    tested = []

    def meanwhile(tags: dict[str, str]) -> str:
        tested.append(tags[DRAFT_TAG])
        if len(tested) == 1:
            assert api.patch(f"{CONNECTORS}/{made['id']}", json={"batch_size": 7}).status_code == 200
        return answer(tags)

    dagster.on_look = meanwhile

    assert api.put(TESTED, json=BODY | REDACTED | OTHER).status_code == 200
    assert len(tested) == 2


def test_who_names_a_state_is_told_that_it_changed_while_it_was_tested(
    api: TestClient, store: Store, dagster: FakeDagster
) -> None:
    made = api.put(MINE, json=BODY)
    answer: Callable[[dict[str, str]], str] = answering(store, report())

    def meanwhile(tags: dict[str, str]) -> str:
        api.patch(f"{CONNECTORS}/{made.json()['id']}", json={"batch_size": 7})
        return answer(tags)

    dagster.on_look = meanwhile

    refused = api.put(TESTED, json=BODY | OTHER, headers={"If-Match": made.headers["ETag"]})

    assert (refused.status_code, refused.json()["code"]) == (412, "connector_changed")
    assert api.get(MINE).json()["name"] == BODY["name"]


def test_without_being_asked_for_there_is_no_test(api: TestClient, dagster: FakeDagster) -> None:
    assert api.put(f"{MINE}?test=false", json=BODY).status_code == 201
    assert dagster.launches == []
