"""Requests from pages of other origins (CORS): whether a browser is told that it may send them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from qanatix_api.app import create_app
from qanatix_pipelines.settings import Settings
from tests.conftest import ENCRYPTION_KEY, PEPPER

CONNECTORS = "/api/v1/connectors"
PAGE = "https://app.example.com"
ASKED = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir, encryption_key=ENCRYPTION_KEY, pepper=PEPPER, failed_keys_per_minute=2)


@pytest.fixture
def closed(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as api:
        yield api


@pytest.fixture
def open_to_page(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings.model_copy(update={"cors_origins": PAGE}))) as api:
        yield api


def test_a_page_is_told_nothing_unless_its_origin_is_set(closed: TestClient) -> None:
    answers = [closed.options(CONNECTORS, headers={"Origin": PAGE} | ASKED) for _ in range(5)]

    assert {answer.status_code for answer in answers} == {204}
    assert [name for answer in answers for name in answer.headers if name.startswith("access-control-")] == []


def test_a_browsers_question_is_not_counted_as_a_wrong_key(closed: TestClient) -> None:
    for _ in range(5):
        closed.options(CONNECTORS, headers={"Origin": PAGE} | ASKED)

    assert [closed.get(CONNECTORS).status_code for _ in range(3)] == [401, 401, 429]


def test_a_page_of_a_named_origin_may_send_a_key(open_to_page: TestClient) -> None:
    answer = open_to_page.options(CONNECTORS, headers={"Origin": PAGE} | ASKED)

    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_page_may_read_errors_too_and_what_the_headers_say(open_to_page: TestClient) -> None:
    answer = open_to_page.get(CONNECTORS, headers={"Origin": PAGE})

    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, PAGE)
    assert {"Retry-After", "X-Request-Id"} <= set(answer.headers["Access-Control-Expose-Headers"].split(", "))


@pytest.mark.parametrize("origin", ["https://other.example.com", "https://app.example.com.evil.example", "null"])
def test_a_page_of_another_origin_may_not(open_to_page: TestClient, origin: str) -> None:
    asked = open_to_page.options(CONNECTORS, headers={"Origin": origin} | ASKED)
    answered = open_to_page.get(CONNECTORS, headers={"Origin": origin})

    assert asked.status_code == 400
    assert "Access-Control-Allow-Origin" not in asked.headers
    assert "Access-Control-Allow-Origin" not in answered.headers
