"""API keys over HTTP: what each allows, and how they are made, rotated and revoked."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi.testclient import TestClient

from qanatix_api.app import create_app
from qanatix_pipelines.keys import Scope, new_key
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.keys import KeyStore
from tests.conftest import ENCRYPTION_KEY, PEPPER

KEYS = "/api/v1/auth/keys"
CONNECTORS = "/api/v1/connectors"
SOME_ID = UUID(int=1)
ROUTES = {
    ("GET", CONNECTORS): Scope.CONNECTORS_READ,
    ("GET", f"{CONNECTORS}/{SOME_ID}"): Scope.CONNECTORS_READ,
    ("POST", CONNECTORS): Scope.CONNECTORS_WRITE,
    ("PATCH", f"{CONNECTORS}/{SOME_ID}"): Scope.CONNECTORS_WRITE,
    ("DELETE", f"{CONNECTORS}/{SOME_ID}"): Scope.CONNECTORS_WRITE,
    ("POST", f"{CONNECTORS}/{SOME_ID}/pause"): Scope.CONNECTORS_WRITE,
    ("POST", f"{CONNECTORS}/{SOME_ID}/resume"): Scope.CONNECTORS_WRITE,
    ("POST", f"{CONNECTORS}/{SOME_ID}/pull"): Scope.PULLS_RUN,
    ("GET", f"{CONNECTORS}/{SOME_ID}/pulls"): Scope.CONNECTORS_READ,
    ("GET", f"/api/v1/pulls/{SOME_ID}"): Scope.CONNECTORS_READ,
    ("GET", f"/api/v1/pulls/{SOME_ID}/rejections"): Scope.ENTITIES_READ,
    ("POST", f"/api/v1/pulls/{SOME_ID}/cancel"): Scope.PULLS_RUN,
    ("GET", "/api/v1/entities"): Scope.ENTITIES_READ,
    ("GET", f"/api/v1/entities/{SOME_ID}"): Scope.ENTITIES_READ,
    ("GET", KEYS): Scope.ADMIN,
    ("POST", KEYS): Scope.ADMIN,
    ("DELETE", f"{KEYS}/00000000"): Scope.ADMIN,
    ("POST", f"{KEYS}/00000000/rotate"): Scope.ADMIN,
}


@pytest.fixture
def api(data_dir: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(data_dir=data_dir, encryption_key=ENCRYPTION_KEY, pepper=PEPPER))) as client:
        yield client


@pytest.fixture
def store(api: TestClient) -> KeyStore:
    kept: KeyStore = api.app.state.services.keys  # type: ignore[attr-defined]
    return kept


@pytest.fixture
def admin(store: KeyStore) -> dict[str, str]:
    return bearer(store.create("admin", frozenset(Scope)).text)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def status(api: TestClient, key: str) -> int:
    return api.get(CONNECTORS, headers=bearer(key)).status_code


class TestScopes:
    @pytest.mark.parametrize(("route", "scope"), ROUTES.items())
    def test_a_route_asks_for_its_scope_and_names_it(
        self, api: TestClient, store: KeyStore, route: tuple[str, str], scope: Scope
    ) -> None:
        lacking = store.create("all but one", frozenset(Scope) - {scope}).text
        having = store.create("one", {scope}).text

        refused = api.request(*route, headers=bearer(lacking))

        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            f"This needs an API key with the scope {scope}.",
        )
        assert f'scope="{scope}"' in refused.headers["WWW-Authenticate"]
        assert api.request(*route, headers=bearer(having)).status_code in (200, 404, 422)

    def test_every_route_but_the_open_one_asks_for_a_scope(self, api: TestClient) -> None:
        paths = api.get("/openapi.json").json()["paths"]

        asked = {
            (path, method): [scope for needed in operation.get("security", []) for scope in needed["HTTPBearer"]]
            for path, methods in paths.items()
            for method, operation in methods.items()
        }
        assert [route for route, scopes in asked.items() if len(scopes) != 1] == [("/healthz", "get")]
        assert len(asked) == len(ROUTES) + 1

    def test_a_key_that_lacks_a_scope_is_told_so_before_its_body_is_looked_at(
        self, api: TestClient, store: KeyStore
    ) -> None:
        key = store.create("reader", {Scope.CONNECTORS_READ}).text

        assert api.post(CONNECTORS, json={"nonsense": 1}, headers=bearer(key)).status_code == 403


class TestMaking:
    def test_a_key_is_shown_once(self, api: TestClient, admin: dict[str, str]) -> None:
        made = api.post(KEYS, json={"name": "nightly", "scopes": ["pulls:run"]}, headers=admin)

        key = made.json().pop("key")
        shown = api.get(KEYS, headers=admin)
        assert (made.status_code, key[:8], key[8:16]) == (201, "sk_live_", made.json()["id"])
        assert made.json() | {"key": None} == shown.json()[1] | {"key": None}
        assert key[16:] not in shown.text
        assert api.get(KEYS, headers=bearer(key)).status_code == 403

    def test_it_allows_all_but_keys_and_has_no_end_unless_that_is_said(
        self, api: TestClient, admin: dict[str, str]
    ) -> None:
        made = api.post(KEYS, json={"name": "nightly"}, headers=admin).json()

        assert made["scopes"] == ["connectors:read", "connectors:write", "entities:read", "pulls:run"]
        assert (made["expires_at"], made["last_used_at"], made["revoked_at"]) == (None, None, None)

    def test_it_ends_when_that_is_said(self, api: TestClient, admin: dict[str, str]) -> None:
        made = api.post(KEYS, json={"name": "nightly", "expires_in_days": 30}, headers=admin).json()

        lives = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
        assert lives == timedelta(days=30)

    def test_a_key_gives_no_scope_that_it_lacks(self, api: TestClient, store: KeyStore) -> None:
        caller = bearer(store.create("keeper", {Scope.ADMIN, Scope.CONNECTORS_READ}).text)

        refused = api.post(KEYS, json={"name": "x", "scopes": ["connectors:read", "pulls:run"]}, headers=caller)

        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            "This needs an API key with the scope pulls:run.",
        )
        assert len(store.list()) == 1

    @pytest.mark.parametrize(
        ("field", "change"),
        [
            ("name", {"name": ""}),
            ("name", {"name": "a\nb"}),
            ("name", {"name": 5}),
            ("scopes", {"scopes": []}),
            ("scopes", {"scopes": ["hunter2"]}),
            ("scopes", {"scopes": "admin"}),
            ("scopes", {"scopes": None}),
            ("expires_in_days", {"expires_in_days": 0}),
            ("expires_in_days", {"expires_in_days": 10**6}),
            ("expires_in_days", {"expires_in_days": "30"}),
            ("id", {"id": "00000000"}),
        ],
    )
    def test_what_is_wrong_is_named(
        self, api: TestClient, admin: dict[str, str], field: str, change: dict[str, Any]
    ) -> None:
        refused = api.post(KEYS, json={"name": "x"} | change, headers=admin)

        assert (refused.status_code, refused.json()["detail"][0]["loc"][:2]) == (422, ["body", field])
        assert "hunter2" not in refused.text


class TestEnding:
    def test_a_revoked_key_is_refused_and_listed(self, api: TestClient, admin: dict[str, str], store: KeyStore) -> None:
        key = store.create("old")

        revoked = api.delete(f"{KEYS}/{key.id}", headers=admin)

        assert (revoked.status_code, revoked.content) == (204, b"")
        assert status(api, key.text) == 401
        assert api.get(KEYS, headers=admin).json()[1]["revoked_at"] is not None

    @pytest.mark.parametrize("key_id", ["00000000", "nonsense", "%00", "0000000A", "a" * 5000])
    @pytest.mark.parametrize(("method", "path"), [("DELETE", "{}"), ("POST", "{}/rotate")])
    def test_an_unknown_key_is_not_found(
        self, api: TestClient, admin: dict[str, str], method: str, path: str, key_id: str
    ) -> None:
        response = api.request(method, f"{KEYS}/{path.format(key_id)}", headers=admin)

        assert (response.status_code, response.json()["detail"]) == (404, "There is no such key.")

    def test_a_revoked_key_is_revoked_and_rotated_no_more(
        self, api: TestClient, admin: dict[str, str], store: KeyStore
    ) -> None:
        key = store.create("old")
        store.revoke(key.id)

        assert api.delete(f"{KEYS}/{key.id}", headers=admin).status_code == 404
        assert api.post(f"{KEYS}/{key.id}/rotate", headers=admin).status_code == 404


class TestRotation:
    def test_the_old_secret_is_refused_at_once(self, api: TestClient, admin: dict[str, str], store: KeyStore) -> None:
        old = store.create("mine")

        new = api.post(f"{KEYS}/{old.id}/rotate", headers=admin)

        assert (new.status_code, new.json()["id"]) == (200, old.id)
        assert (status(api, old.text), status(api, new.json()["key"])) == (401, 200)

    def test_it_is_taken_during_the_grace(self, api: TestClient, admin: dict[str, str], store: KeyStore) -> None:
        old = store.create("mine")

        api.post(f"{KEYS}/{old.id}/rotate", json={"grace_seconds": 3600}, headers=admin)

        assert status(api, old.text) == 200

    def test_a_key_gains_no_scope_by_another_ones_new_secret(self, api: TestClient, store: KeyStore) -> None:
        keeper, other = store.create("keeper", {Scope.ADMIN}), store.create("other", {Scope.PULLS_RUN})

        refused = api.post(f"{KEYS}/{other.id}/rotate", headers=bearer(keeper.text))

        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            "This needs an API key with the scope pulls:run.",
        )
        assert store.find(other.text) is not None

    @pytest.mark.parametrize(
        "body", [{"grace_seconds": -1}, {"grace_seconds": 10**8}, {"grace_seconds": 1.5}, {"x": 1}]
    )
    def test_a_wrong_grace_is_refused(
        self, api: TestClient, admin: dict[str, str], store: KeyStore, body: dict[str, Any]
    ) -> None:
        key = store.create("mine")

        assert api.post(f"{KEYS}/{key.id}/rotate", json=body, headers=admin).status_code == 422
        assert store.find(key.text) is not None


class TestUse:
    def test_a_keys_last_use_is_kept(self, api: TestClient, store: KeyStore) -> None:
        key = store.create("mine")

        api.get(CONNECTORS, headers=bearer(key.text))
        api.__exit__()  # what is under way is finished

        used = store.get(key.id).last_used_at
        assert used is not None
        assert abs(datetime.now(UTC) - used) < timedelta(minutes=5)
        api.__enter__()

    def test_a_refused_key_was_not_used(self, api: TestClient, store: KeyStore) -> None:
        key = store.create("mine")
        store.revoke(key.id)

        api.get(CONNECTORS, headers=bearer(key.text))

        assert store.get(key.id).last_used_at is None

    def test_nobody_waits_for_it_while_the_store_is_written(
        self, api: TestClient, store: KeyStore, tmp_path: Path
    ) -> None:
        key = store.create("mine")
        with closing(sqlite3.connect(tmp_path / "qanatix.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

            assert status(api, key.text) == 200  # the lock is still held
            assert other.in_transaction


def _revoked(store: KeyStore) -> str:
    key = store.create("a")
    store.revoke(key.id)
    return key.text


def _rotated(store: KeyStore) -> str:
    key = store.create("a")
    store.rotate(key.id)
    return key.text


WRONG: dict[str, Callable[[KeyStore], str]] = {
    "no key at all": lambda _: "x",
    "mistyped": lambda store: store.create("a").text[:-1],
    "unknown": lambda _: new_key().text,
    "another secret": lambda store: new_key(store.create("a").id).text,
    "revoked": _revoked,
    "at its end": lambda store: store.create("a", expires_in=timedelta(seconds=-1)).text,
    "rotated": _rotated,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_every_way_in_which_a_key_is_wrong_has_one_answer(api: TestClient, store: KeyStore, wrong: str) -> None:
    headers = bearer(WRONG[wrong](store)) | {"X-Request-Id": "same"}

    response: httpx2.Response = api.get(CONNECTORS, headers=headers)

    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert response.json() == {
        "detail": "This needs a valid API key: Authorization: Bearer sk_live_...",
        "request_id": "same",
    }
