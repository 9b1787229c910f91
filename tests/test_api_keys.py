"""API keys over HTTP: what each allows, and how they are made, rotated and revoked."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi.testclient import TestClient

from qanatix_pipelines.keys import Scope, new_key
from qanatix_pipelines.store.keys import KeyStore

KEYS = "/api/v1/auth/keys"
CONNECTORS = "/api/v1/connectors"
SOME_ID = UUID(int=1)
ROUTES = {
    ("GET", CONNECTORS): Scope.CONNECTORS_READ,
    ("GET", f"{CONNECTORS}/{SOME_ID}"): Scope.CONNECTORS_READ,
    ("GET", f"{CONNECTORS}/by-key/mine"): Scope.CONNECTORS_READ,
    ("PUT", f"{CONNECTORS}/by-key/mine"): Scope.CONNECTORS_WRITE,
    ("POST", CONNECTORS): Scope.CONNECTORS_WRITE,
    ("PATCH", f"{CONNECTORS}/{SOME_ID}"): Scope.CONNECTORS_WRITE,
    ("DELETE", f"{CONNECTORS}/{SOME_ID}"): Scope.CONNECTORS_WRITE,
    ("POST", f"{CONNECTORS}/{SOME_ID}/pause"): Scope.CONNECTORS_WRITE,
    ("POST", f"{CONNECTORS}/{SOME_ID}/resume"): Scope.CONNECTORS_WRITE,
    ("POST", f"{CONNECTORS}/{SOME_ID}/pull"): Scope.PULLS_RUN,
    ("GET", f"{CONNECTORS}/{SOME_ID}/pulls"): Scope.CONNECTORS_READ,
    ("GET", f"{CONNECTORS}/{SOME_ID}/watermark"): Scope.CONNECTORS_READ,
    ("PUT", f"{CONNECTORS}/{SOME_ID}/watermark"): Scope.CONNECTORS_WRITE,
    ("POST", f"{CONNECTORS}/test"): Scope.CONNECTORS_WRITE,
    ("POST", f"{CONNECTORS}/{SOME_ID}/test"): Scope.CONNECTORS_WRITE,
    ("GET", f"{CONNECTORS}/{SOME_ID}/dry-runs/{SOME_ID}"): Scope.CONNECTORS_WRITE,
    ("DELETE", f"{CONNECTORS}/{SOME_ID}/dry-runs/{SOME_ID}"): Scope.CONNECTORS_WRITE,
    ("GET", "/api/v1/pulls"): Scope.CONNECTORS_READ,
    ("GET", f"/api/v1/pulls/{SOME_ID}"): Scope.CONNECTORS_READ,
    ("GET", f"/api/v1/pulls/{SOME_ID}/rejections"): Scope.ENTITIES_READ,
    ("POST", f"/api/v1/pulls/{SOME_ID}/cancel"): Scope.PULLS_RUN,
    ("GET", "/api/v1/entities"): Scope.ENTITIES_READ,
    ("GET", f"/api/v1/entities/{SOME_ID}"): Scope.ENTITIES_READ,
    ("GET", "/api/v1/records"): Scope.ENTITIES_READ,
    ("GET", f"/api/v1/records/{SOME_ID}"): Scope.ENTITIES_READ,
    ("GET", "/api/v1/collections"): Scope.ENTITIES_READ,
    ("GET", KEYS): Scope.ADMIN,
    ("POST", KEYS): Scope.ADMIN,
    ("DELETE", f"{KEYS}/00000000"): Scope.ADMIN,
    ("POST", f"{KEYS}/00000000/rotate"): Scope.ADMIN,
}


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def api(keyless: TestClient) -> TestClient:
    return keyless


@pytest.fixture
def keys(api: TestClient) -> KeyStore:
    kept: KeyStore = api.app.state.services.keys  # type: ignore[attr-defined]
    return kept


@pytest.fixture
def admin(keys: KeyStore) -> dict[str, str]:
    return bearer(keys.create("admin", frozenset(Scope)).text)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def status(api: TestClient, key: str) -> int:
    return api.get(CONNECTORS, headers=bearer(key)).status_code


class TestScopes:
    @pytest.mark.parametrize(("route", "scope"), ROUTES.items())
    def test_a_route_asks_for_its_scope_and_names_it(
        self, api: TestClient, keys: KeyStore, route: tuple[str, str], scope: Scope
    ) -> None:
        lacking = keys.create("all but one", frozenset(Scope) - {scope, Scope.ADMIN}).text
        having = keys.create("one", {scope}).text

        refused = api.request(*route, headers=bearer(lacking))

        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            f"This needs an API key with the scope {scope}.",
        )
        assert f'scope="{scope}"' in refused.headers["WWW-Authenticate"]
        assert api.request(*route, headers=bearer(having)).status_code in (200, 404, 422)

    def test_admin_implies_all(self, api: TestClient, keys: KeyStore) -> None:
        admin = bearer(keys.create("admin", {Scope.ADMIN}).text)

        answers = {route: api.request(*route, headers=admin).status_code for route in ROUTES}

        assert [route for route, status in answers.items() if status in {401, 403}] == []

    def test_every_route_but_the_open_one_asks_for_a_scope(self, api: TestClient) -> None:
        paths = api.get("/openapi.json").json()["paths"]

        asked = {
            (path, method): operation.get("x-required-scopes", [])
            for path, methods in paths.items()
            for method, operation in methods.items()
        }
        assert [route for route, scopes in asked.items() if len(scopes) != 1] == [("/healthz", "get")]
        assert len(asked) == len(ROUTES) + 1

    def test_a_key_that_lacks_a_scope_is_told_so_before_its_body_is_looked_at(
        self, api: TestClient, keys: KeyStore
    ) -> None:
        key = keys.create("reader", {Scope.CONNECTORS_READ}).text

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

    @pytest.mark.parametrize(
        ("words", "meant"),
        [
            (["ingest"], ["connectors:read", "connectors:write", "pulls:run"]),
            (["upload"], ["connectors:read", "connectors:write", "pulls:run"]),
            (["entities"], ["entities:read"]),
            (["records", "pulls:run"], ["entities:read", "pulls:run"]),
            (["ingest", "upload", "entities", "records", "admin"], sorted(Scope)),
            (["pulls:run", "pulls:run"], ["pulls:run"]),
        ],
    )
    def test_the_vendors_words_are_taken_for_scopes(
        self, api: TestClient, admin: dict[str, str], words: list[str], meant: list[str]
    ) -> None:
        assert api.post(KEYS, json={"name": "x", "scopes": words}, headers=admin).json()["scopes"] == meant

    def test_search_is_refused_by_name(self, api: TestClient, admin: dict[str, str]) -> None:
        refused = api.post(KEYS, json={"name": "x", "scopes": ["ingest", "search"]}, headers=admin)

        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", "scopes"])
        assert "search" in refused.json()["detail"][0]["msg"]

    @pytest.mark.parametrize("zone", ["+00:00", "+05:30"])
    def test_it_ends_at_the_time_that_is_said(self, api: TestClient, admin: dict[str, str], zone: str) -> None:
        year = datetime.now(UTC).year + 1

        made = api.post(KEYS, json={"name": "x", "expires_at": f"{year}-06-01T12:00:00{zone}"}, headers=admin).json()

        assert datetime.fromisoformat(made["expires_at"]) == datetime.fromisoformat(f"{year}-06-01T12:00:00{zone}")

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
            ("expires_at", {"expires_at": "2020-01-01T00:00:00Z"}),
            ("expires_at", {"expires_at": "9000-01-01T00:00:00Z"}),
            ("expires_at", {"expires_at": "2099-01-01T00:00:00"}),
            ("expires_at", {"expires_at": "hunter2"}),
            ("expires_at", {"expires_at": 2_000_000_000}),
            ("expires_at", {"expires_at": "{soon}", "expires_in_days": 1}),
            ("id", {"id": "00000000"}),
        ],
    )
    def test_what_is_wrong_is_named(
        self, api: TestClient, admin: dict[str, str], field: str, change: dict[str, Any]
    ) -> None:
        soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        given = {name: soon if value == "{soon}" else value for name, value in change.items()}

        refused = api.post(KEYS, json={"name": "x"} | given, headers=admin)

        assert (refused.status_code, refused.json()["detail"][0]["loc"][:2]) == (422, ["body", field])
        assert "hunter2" not in refused.text


class TestEnding:
    def test_a_revoked_key_is_refused_and_listed(self, api: TestClient, admin: dict[str, str], keys: KeyStore) -> None:
        key = keys.create("old")

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
        self, api: TestClient, admin: dict[str, str], keys: KeyStore
    ) -> None:
        key = keys.create("old")
        keys.revoke(key.id)

        assert api.delete(f"{KEYS}/{key.id}", headers=admin).status_code == 404
        assert api.post(f"{KEYS}/{key.id}/rotate", headers=admin).status_code == 404


class TestRotation:
    def test_the_old_secret_is_refused_at_once(self, api: TestClient, admin: dict[str, str], keys: KeyStore) -> None:
        old = keys.create("mine")

        new = api.post(f"{KEYS}/{old.id}/rotate", headers=admin)

        assert (new.status_code, new.json()["id"]) == (200, old.id)
        assert (status(api, old.text), status(api, new.json()["key"])) == (401, 200)

    def test_it_is_taken_during_the_grace(self, api: TestClient, admin: dict[str, str], keys: KeyStore) -> None:
        old = keys.create("mine")

        api.post(f"{KEYS}/{old.id}/rotate", json={"grace_seconds": 3600}, headers=admin)

        assert status(api, old.text) == 200

    @pytest.mark.parametrize(
        "body", [{"grace_seconds": -1}, {"grace_seconds": 10**8}, {"grace_seconds": 1.5}, {"x": 1}]
    )
    def test_a_wrong_grace_is_refused(
        self, api: TestClient, admin: dict[str, str], keys: KeyStore, body: dict[str, Any]
    ) -> None:
        key = keys.create("mine")

        assert api.post(f"{KEYS}/{key.id}/rotate", json=body, headers=admin).status_code == 422
        assert keys.find(key.text) is not None


class TestUse:
    def test_a_keys_last_use_is_kept(self, api: TestClient, keys: KeyStore) -> None:
        key = keys.create("mine")

        api.get(CONNECTORS, headers=bearer(key.text))
        api.__exit__()  # what is under way is finished

        used = keys.get(key.id).last_used_at
        assert used is not None
        assert abs(datetime.now(UTC) - used) < timedelta(minutes=5)
        api.__enter__()

    def test_a_refused_key_was_not_used(self, api: TestClient, keys: KeyStore) -> None:
        key = keys.create("mine")
        keys.revoke(key.id)

        api.get(CONNECTORS, headers=bearer(key.text))

        assert keys.get(key.id).last_used_at is None

    def test_nobody_waits_for_it_while_the_store_is_written(
        self, api: TestClient, keys: KeyStore, tmp_path: Path
    ) -> None:
        key = keys.create("mine")
        with closing(sqlite3.connect(tmp_path / "qanatix.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

            assert status(api, key.text) == 200  # the lock is still held
            assert other.in_transaction


def _revoked(keys: KeyStore) -> str:
    key = keys.create("a")
    keys.revoke(key.id)
    return key.text


def _rotated(keys: KeyStore) -> str:
    key = keys.create("a")
    keys.rotate(key.id)
    return key.text


WRONG: dict[str, Callable[[KeyStore], str]] = {
    "no key at all": lambda _: "x",
    "mistyped": lambda keys: keys.create("a").text[:-1],
    "unknown": lambda _: new_key().text,
    "another secret": lambda keys: new_key(keys.create("a").id).text,
    "revoked": _revoked,
    "at its end": lambda keys: keys.create("a", expires_in=timedelta(seconds=-1)).text,
    "rotated": _rotated,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_every_way_in_which_a_key_is_wrong_has_one_answer(api: TestClient, keys: KeyStore, wrong: str) -> None:
    headers = bearer(WRONG[wrong](keys)) | {"X-Request-Id": "same"}

    response: httpx2.Response = api.get(CONNECTORS, headers=headers)

    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert response.json() == {
        "detail": "This needs a valid API key: Authorization: Bearer sk_live_...",
        "request_id": "same",
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
    }
