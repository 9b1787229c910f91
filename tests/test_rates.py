"""How often one may ask."""

import time
from pathlib import Path
from unittest import mock

import pytest
from fastapi.testclient import TestClient

from qanatix_api import rates
from qanatix_pipelines.settings import Settings
from tests.conftest import ENCRYPTION_KEY, PEPPER

CONNECTORS = "/api/v1/connectors"
NOWHERE = f"{CONNECTORS}/00000000-0000-0000-0000-000000000001"


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(
        data_dir=data_dir,
        encryption_key=ENCRYPTION_KEY,
        pepper=PEPPER,
        reads_per_minute=3,
        writes_per_minute=2,
        pulls_per_minute=1,
        failed_keys_per_minute=2,
    )


class TestRequests:
    @pytest.mark.parametrize(
        ("method", "path", "limit"),
        [
            ("GET", CONNECTORS, 3),
            ("GET", "/api/v1/entities", 3),
            ("GET", "/api/v1/nothing", 3),
            ("POST", CONNECTORS, 2),
            ("PATCH", NOWHERE, 2),
            ("DELETE", NOWHERE, 2),
            ("POST", f"{NOWHERE}/pull", 1),
        ],
    )
    def test_each_kind_has_its_own_limit(self, api: TestClient, method: str, path: str, limit: int) -> None:
        answers = [api.request(method, path) for _ in range(limit + 1)]

        assert [answer.status_code == 429 for answer in answers] == [False] * limit + [True]
        assert [answer.headers["X-RateLimit-Limit"] for answer in answers] == [str(limit)] * (limit + 1)
        assert [int(answer.headers["X-RateLimit-Remaining"]) for answer in answers] == [*range(limit - 1, -1, -1), 0]
        assert answers[-1].headers["Retry-After"] == answers[-1].headers["X-RateLimit-Reset"]
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60

    def test_a_minute_later_as_many_are_answered_again(self, settings: Settings) -> None:
        """The library's own clock is moved, as a minute is long for a test."""
        counted = rates.Rates(settings)
        asked = [counted.request("a", "POST", CONNECTORS) for _ in range(3)]

        with mock.patch("time.time", return_value=time.time() + 61):
            later = [counted.request("a", "POST", CONNECTORS) for _ in range(3)]

        assert [one.granted for one in asked + later] == [True, True, False] * 2

    def test_another_key_has_its_own(self, api: TestClient) -> None:
        for _ in range(4):
            assert api.get(CONNECTORS).status_code in (200, 429)
        other = api.app.state.services.keys.create("other").text  # type: ignore[attr-defined]

        assert api.get(CONNECTORS, headers={"Authorization": f"Bearer {other}"}).status_code == 200

    def test_health_is_not_counted(self, api: TestClient) -> None:
        assert [api.get("/healthz").status_code for _ in range(5)] == [200] * 5


class TestFailures:
    def test_an_address_with_wrong_keys_is_refused_after_a_while(self, api: TestClient) -> None:
        answers = [api.get(CONNECTORS, headers={"Authorization": "Bearer x"}) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [401, 401, 429]
        assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
        assert 1 <= int(answers[2].headers["Retry-After"]) <= 60

    def test_a_valid_key_at_that_address_is_not(self, api: TestClient) -> None:
        for _ in range(3):
            api.get(CONNECTORS, headers={"Authorization": "Bearer x"})

        assert api.get(CONNECTORS).status_code == 200

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            ("10.0.0.1", "10.0.0.2", False),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
            ("unix", "unix", True),
        ],
    )
    def test_addresses_of_one_customer_are_one(self, settings: Settings, one: str, other: str, same: bool) -> None:
        counted = rates.Rates(settings)

        assert counted.failure(one).remaining == 1
        assert counted.failure(other).remaining == (0 if same else 1)
