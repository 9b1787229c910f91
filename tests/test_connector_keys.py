"""Connectors by keys of their caller's, and changes that are made only to the state that their caller knows."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi.testclient import TestClient

from qanatix_pipelines.keys import Scope
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tenants import Tenant
from tests.conftest import PEPPER

CONNECTORS = "/api/v1/connectors"
MINE = f"{CONNECTORS}/by-key/shop.products"
BODY: dict[str, Any] = {
    "name": "Products",
    "connector_type": "postgresql",
    "vertical": "manufacturing",
    "entity_type": "product",
    "connection_config": {"dsn": "postgresql://reader:secret@db.internal:5432/shop"},
    "query": "SELECT * FROM products",
}
REDACTED = {"connection_config": "***REDACTED***"}


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


class TestPut:
    def test_a_key_that_is_new_registers_a_connector(self, api: TestClient) -> None:
        made = api.put(MINE, json=BODY)

        assert (made.status_code, made.json()["key"]) == (201, "shop.products")
        assert made.headers["Location"] == f"{CONNECTORS}/{made.json()['id']}"
        shown = api.get(made.headers["Location"])
        assert (shown.json() | {"warnings": made.json()["warnings"]}) == made.json()
        assert shown.headers["ETag"] == made.headers["ETag"]
        assert api.get(MINE).json() == shown.json()

    def test_a_key_that_is_known_replaces_its_connector_whole(self, api: TestClient) -> None:
        made = api.put(MINE, json=BODY | {"name_column": "name", "batch_size": 7}).json()

        replaced = api.put(MINE, json=BODY | {"name": "Other", "key": "shop.products"})

        assert replaced.status_code == 200
        assert replaced.json() == made | {
            "name": "Other",
            "name_column": None,
            "effective_name_column": None,
            "batch_size": 5000,
        }

    def test_credentials_are_replaced_or_kept(self, api: TestClient, store: Store) -> None:
        made = UUID(api.put(MINE, json=BODY).json()["id"])
        other = {"connection_config": {"dsn": "postgresql://reader:other@db.internal:5432/shop"}}

        kept = []
        for change in (REDACTED, other, REDACTED):
            assert api.put(MINE, json=BODY | change).status_code == 200
            kept.append(store.connectors.connection_config(store.connectors.get(made)))

        assert kept == [BODY["connection_config"], other["connection_config"], other["connection_config"]]

    def test_it_stays_paused(self, api: TestClient) -> None:
        made = api.put(MINE, json=BODY).json()["id"]
        api.post(f"{CONNECTORS}/{made}/pause")

        assert api.put(MINE, json=BODY).json()["paused"]

    @pytest.mark.parametrize(
        ("path", "change", "where"),
        [
            (MINE, {"key": "other"}, ["body", "key"]),
            (MINE, {"connection_config": None}, ["body", "connection_config"]),
            (MINE, REDACTED, ["body", "connection_config"]),
            (MINE, {"query": "SELECT 'oops"}, ["body", "query"]),
            (MINE, {"connector_type": "oracle"}, ["body", "connector_type"]),
            (f"{CONNECTORS}/by-key/-x", {}, ["path", "key"]),
            (f"{CONNECTORS}/by-key/a%20b", {}, ["path", "key"]),
            (f"{CONNECTORS}/by-key/{'x' * 101}", {}, ["path", "key"]),
        ],
    )
    def test_what_is_wrong_is_named_and_nothing_is_registered(
        self, api: TestClient, path: str, change: dict[str, Any], where: list[str]
    ) -> None:
        refused = api.put(path, json=BODY | change)

        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"][:2] == where
        assert api.get(CONNECTORS).json() == []

    @pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
    def test_a_key_that_cannot_be_one_is_told_the_rule(self, api: TestClient, method: str) -> None:
        if method == "PUT":
            refused = api.put(f"{CONNECTORS}/by-key/-x", json=BODY)
        else:
            path = CONNECTORS if method == "POST" else f"{CONNECTORS}/{api.post(CONNECTORS, json=BODY).json()['id']}"
            refused = api.request(method, path, json=(BODY if method == "POST" else {}) | {"key": "-x"})

        (told,) = refused.json()["detail"]
        assert (refused.status_code, told["loc"]) == (422, ["path" if method == "PUT" else "body", "key"])
        assert told["msg"] == (
            "must be 1 to 100 of letters, digits, `_`, `.` and `-`, and begin with a letter or a digit"
        )

    @pytest.mark.parametrize("word", ["vertical", "entity_type", "collection", "record_type"])
    def test_the_names_of_a_set_are_told_their_rule(self, api: TestClient, word: str) -> None:
        own = {"collection": "vertical", "record_type": "entity_type"}.get(word, word)
        given = {name: value for name, value in BODY.items() if name != own}

        (told,) = api.post(CONNECTORS, json=given | {word: "a b"}).json()["detail"]

        assert told["loc"] == ["body", word]
        assert told["msg"] == "must be 1 to 63 of letters, digits, `_`, `.` and `-`, and begin with a letter or a digit"

    def test_its_type_cannot_be_changed(self, api: TestClient) -> None:
        api.put(MINE, json=BODY)

        refused = api.put(MINE, json=BODY | REDACTED | {"connector_type": "mysql"})

        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", "connector_type"])

    def test_of_several_at_once_one_registers_it_and_the_others_replace_it(self, api: TestClient) -> None:
        with ThreadPoolExecutor(4) as callers:
            answers = list(callers.map(lambda n: api.put(MINE, json=BODY | {"name": f"By {n}"}), range(4)))

        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
        assert len(api.get(CONNECTORS).json()) == 1


class TestUnique:
    @pytest.fixture
    def other(self, api: TestClient) -> str:
        """A connector without a key, beside one with it."""
        api.put(MINE, json=BODY)
        made: str = api.post(CONNECTORS, json=BODY | {"name": "Other"}).json()["id"]
        return made

    def test_a_key_is_taken_once(self, api: TestClient, other: str) -> None:
        given = {"key": "shop.products"}
        refused = [
            api.post(CONNECTORS, json=BODY | given),
            api.patch(f"{CONNECTORS}/{other}", json=given),
        ]

        assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(409, "key_taken")] * 2
        assert len(api.get(CONNECTORS).json()) == 2

    def test_it_is_free_again_once_it_is_taken_away_or_its_connector_is_deleted(
        self, api: TestClient, other: str
    ) -> None:
        first = api.get(MINE).json()["id"]
        assert api.patch(f"{CONNECTORS}/{first}", json={"key": None}).json()["key"] is None
        assert api.patch(f"{CONNECTORS}/{other}", json={"key": "shop.products"}).status_code == 200
        api.delete(f"{CONNECTORS}/{other}")

        assert api.get(MINE).status_code == 404
        assert api.post(CONNECTORS, json=BODY | {"key": "shop.products"}).status_code == 201

    def test_another_tenant_has_keys_of_its_own(self, api: TestClient, store: Store) -> None:
        api.put(MINE, json=BODY)
        mine = api.get(MINE).json()
        key = KeyStore(store.engine, PEPPER.encode()).of(Tenant("acme")).create("theirs", frozenset(Scope))
        theirs = {"Authorization": f"Bearer {key.text}"}

        assert api.get(MINE, headers=theirs).status_code == 404
        assert api.put(MINE, json=BODY | {"name": "Theirs"}, headers=theirs).status_code == 201
        assert api.get(MINE).json() == mine


class TestConditions:
    def change(self, api: TestClient, method: str, connector: str, tags: str | list[str]) -> httpx2.Response:
        headers = [("If-Match", tag) for tag in ([tags] if isinstance(tags, str) else tags)]
        match method:
            case "PATCH":
                return api.patch(f"{CONNECTORS}/{connector}", json={"name": "Changed"}, headers=headers)
            case "PUT":
                return api.put(MINE, json=BODY | REDACTED | {"name": "Changed"}, headers=headers)
            case _:
                return api.delete(f"{CONNECTORS}/{connector}", headers=headers)

    @pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
    @pytest.mark.parametrize(
        ("tags", "taken"),
        [
            ("{now}", True),
            ("*", True),
            ('"other", {now}', True),
            (['"other"', "{now}"], True),
            ("{before}", False),
            ("W/{now}", False),
            ('"other"', False),
            ("nonsense", False),
            ("", False),
        ],
    )
    def test_a_change_is_made_to_the_state_that_is_named(
        self, api: TestClient, method: str, tags: str | list[str], *, taken: bool
    ) -> None:
        made = api.put(MINE, json=BODY)
        connector = made.json()["id"]
        now = api.patch(f"{CONNECTORS}/{connector}", json={"batch_size": 7}).headers["ETag"]
        known = {"now": now, "before": made.headers["ETag"]}
        given = [tag.format(**known) for tag in tags] if isinstance(tags, list) else tags.format(**known)

        answer = self.change(api, method, connector, given)

        assert answer.is_success is taken
        if not taken:
            assert (answer.status_code, answer.json()["code"]) == (412, "connector_changed")
            shown = api.get(MINE)
            assert (shown.headers["ETag"], shown.json()["name"]) == (now, "Products")

    def test_a_connector_that_must_exist_is_not_registered(self, api: TestClient) -> None:
        assert api.put(MINE, json=BODY, headers={"If-Match": "*"}).status_code == 412
        assert api.get(CONNECTORS).json() == []

    def test_of_two_changes_to_one_state_one_is_made(self, api: TestClient) -> None:
        made = api.put(MINE, json=BODY)
        headers = {"If-Match": made.headers["ETag"]}

        with ThreadPoolExecutor(2) as callers:
            answers = list(
                callers.map(
                    lambda name: api.patch(f"{CONNECTORS}/{made.json()['id']}", json={"name": name}, headers=headers),
                    ("One", "Two"),
                )
            )

        assert sorted(answer.status_code for answer in answers) == [200, 412]

    def test_a_connector_that_was_registered_anew_has_another_state(self, api: TestClient) -> None:
        tag = api.put(MINE, json=BODY).headers["ETag"]
        api.delete(f"{CONNECTORS}/{api.get(MINE).json()['id']}")

        assert api.put(MINE, json=BODY).headers["ETag"] != tag

    def test_what_is_no_change_and_pulls_leave_the_state_as_it_is(self, api: TestClient) -> None:
        made = api.put(MINE, json=BODY)
        path = f"{CONNECTORS}/{made.json()['id']}"

        api.post(f"{path}/pull")
        api.patch(path, json={"name": BODY["name"]})
        api.post(f"{path}/resume")

        assert api.get(path).headers["ETag"] == made.headers["ETag"]
        assert api.post(f"{path}/pause").headers["ETag"] != made.headers["ETag"]
