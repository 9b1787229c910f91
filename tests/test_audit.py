"""The audit trail."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from qanatix_api.app import create_app
from qanatix_pipelines.keys import ApiKey, Scope
from tests.fakes import FakeDagster

CONNECTORS, KEYS = "/api/v1/connectors", "/api/v1/auth/keys"
CANARY = "hunter2-canary"
BODY = {
    "name": CANARY,
    "connector_type": "postgresql",
    "vertical": CANARY,
    "entity_type": CANARY,
    "connection_config": {"dsn": f"postgresql://{CANARY}:{CANARY}@db.internal:5432/{CANARY}"},
    "query": f"SELECT '{CANARY}' WHERE now() > :last_pull",
}


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def api(keyless: TestClient, caplog: pytest.LogCaptureFixture) -> TestClient:
    caplog.set_level(logging.INFO)
    return keyless


@pytest.fixture
def key(api: TestClient) -> ApiKey:
    """A key that may do everything, which the client uses."""
    made: ApiKey = api.app.state.services.keys.create("auditor", frozenset(Scope))  # type: ignore[attr-defined]
    api.headers["Authorization"] = f"Bearer {made.text}"
    return made


def trail(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "qanatix.audit"]


def test_a_line_says_who_did_what_to_what_by_which_request(
    api: TestClient, key: ApiKey, caplog: pytest.LogCaptureFixture
) -> None:
    made = api.post(CONNECTORS, json=BODY, headers={"X-Request-Id": "mine"}).json()

    (line,) = trail(caplog)
    at = datetime.fromisoformat(line.pop("at"))
    who = {"tenant": "default", "key_id": key.id, "request_id": "mine"}
    assert line == {"action": "connector.created", "id": made["id"], **who}
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=5)


def test_whatever_a_key_changes_is_told_and_nothing_that_it_said(
    api: TestClient, key: ApiKey, dagster: FakeDagster, caplog: pytest.LogCaptureFixture
) -> None:
    dagster.stop()
    connector = api.post(CONNECTORS, json=BODY).json()["id"]
    api.patch(f"{CONNECTORS}/{connector}", json={"name": f"{CANARY} changed"})
    api.put(f"{CONNECTORS}/{connector}/watermark", json={"value": "2026-01-01T00:00:00Z"})
    pull = api.post(f"{CONNECTORS}/{connector}/pull")
    api.delete(f"{CONNECTORS}/{connector}")
    made = api.post(KEYS, json={"name": CANARY}).json()
    rotated = api.post(f"{KEYS}/{made['id']}/rotate").json()
    api.delete(f"{KEYS}/{made['id']}")

    lines = trail(caplog)
    assert [(line["action"], line["id"]) for line in lines] == [
        ("connector.created", connector),
        ("connector.changed", connector),
        ("connector.watermark_set", connector),
        ("connector.pulled", connector),
        ("connector.deleted", connector),
        ("key.created", made["id"]),
        ("key.rotated", made["id"]),
        ("key.revoked", made["id"]),
    ]
    assert {line["key_id"] for line in lines} == {key.id}
    assert pull.status_code == 503
    for secret in (CANARY, key.text, made["key"], rotated["key"]):
        assert secret not in caplog.text


def test_whatever_connects_to_a_source_is_told(
    api: TestClient, key: ApiKey, dagster: FakeDagster, caplog: pytest.LogCaptureFixture
) -> None:
    connector = api.post(CONNECTORS, json=BODY).json()["id"]
    dagster.stop()
    answers = [
        api.post(f"{CONNECTORS}/test", json=BODY),
        api.post(f"{CONNECTORS}?test=true", json=BODY),
        api.post(f"{CONNECTORS}/{connector}/test"),
        api.post(f"{CONNECTORS}/{connector}/pull", json={"dry_run": True}),
    ]

    lines = trail(caplog)[1:]
    assert [answer.status_code for answer in answers] == [503] * 4
    assert [(line["action"], line["id"]) for line in lines] == [
        ("connector.tested", "unsaved"),
        ("connector.tested", "unsaved"),
        ("connector.tested", connector),
        ("connector.dry_run", connector),
    ]
    assert {line["key_id"] for line in lines} == {key.id}
    assert CANARY not in caplog.text


@pytest.mark.usefixtures("key")
def test_what_changed_nothing_is_not_told(api: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = f"{CONNECTORS}/{uuid4()}"
    answers = [
        api.get(CONNECTORS),
        api.post(CONNECTORS, json={}),
        api.patch(nowhere, json={"name": "x"}),
        api.put(f"{nowhere}/watermark", json={"value": None}),
        api.post(f"{nowhere}/pull"),
        api.delete(nowhere),
        api.delete(f"{KEYS}/00000000"),
    ]

    assert [answer.status_code for answer in answers] == [200, 422, 404, 404, 404, 404, 404]
    assert trail(caplog) == []


@pytest.mark.usefixtures("key")
def test_it_goes_to_stderr_as_json_unless_somebody_says_where(
    api: TestClient, forget_handlers: Callable[[], None], capfd: pytest.CaptureFixture[str]
) -> None:
    forget_handlers()
    create_app(api.app.state.services.settings)  # type: ignore[attr-defined]

    api.post(CONNECTORS, json=BODY)

    (line,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("{"))
    assert json.loads(line)["action"] == "connector.created"
