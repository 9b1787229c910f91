"""The id of a request, in its answer and in the log."""

import logging
from collections.abc import Callable
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from qanatix_api.app import create_app


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def client(keyless: TestClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(keyless._transport, "raise_server_exceptions", False)
    return keyless


@pytest.mark.parametrize("path", ["/healthz", "/", "/openapi.json", "/api/v1/connectors", "/nothing", "/healthz/%ff"])
def test_every_answer_has_a_new_id(client: TestClient, path: str) -> None:
    first, second = (client.get(path, follow_redirects=False).headers["X-Request-Id"] for _ in range(2))

    assert UUID(first) != UUID(second)


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64])
def test_the_callers_own_id_is_kept(client: TestClient, given: str) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\xff", "a\tb", "\u00b2", "a/b", '"'])
def test_another_id_takes_the_place_of_one_that_is_no_plain_word(client: TestClient, given: str) -> None:
    response = client.get("/healthz", headers={"X-Request-Id": given.encode("latin-1")})

    assert UUID(response.headers["X-Request-Id"])


@pytest.mark.parametrize(("path", "status"), [("/api/v1/connectors", 401), ("/nothing", 404)])
def test_an_errors_body_has_it(client: TestClient, path: str, status: int) -> None:
    response = client.get(path, headers={"X-Request-Id": "mine"})

    assert (response.status_code, response.json()["request_id"]) == (status, "mine")


def test_a_fault_of_ours_is_logged_with_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("qanatix_pipelines.store.opening.Store.ping", broken)

    response = client.get("/healthz", headers={"X-Request-Id": "mine"})

    assert (response.status_code, response.json()["request_id"]) == (500, "mine")
    assert response.headers["X-Request-Id"] == "mine"
    assert [record.__dict__["request_id"] for record in caplog.records if record.name == "qanatix_api.failures"] == [
        "mine"
    ]


def test_a_line_of_the_core_has_it_too(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    forget_handlers: Callable[[], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    forget_handlers()
    create_app(client.app.state.services.settings)
    monkeypatch.setattr(
        "qanatix_pipelines.store.opening.Store.ping",
        lambda _: logging.getLogger("qanatix_pipelines.store").warning("slow"),
    )

    client.get("/healthz", headers={"X-Request-Id": "mine"})

    assert "WARNING qanatix_pipelines.store request_id=mine slow\n" in capfd.readouterr().err
