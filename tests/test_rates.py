"""How often one may ask."""

from collections.abc import Iterator
from math import ceil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from qanatix_api import rates
from qanatix_api.app import create_app
from qanatix_api.rates import Buckets
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.keys import KeyStore
from tests.conftest import ENCRYPTION_KEY, PEPPER

SECOND = 10**9
CONNECTORS = "/api/v1/connectors"
NOWHERE = f"{CONNECTORS}/00000000-0000-0000-0000-000000000001"


class Clock:
    """Nanoseconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.at = 5 * SECOND

    def __call__(self) -> int:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestBuckets:
    def test_as_many_are_granted_as_the_limit_says(self, clock: Clock) -> None:
        buckets = Buckets(3, clock)

        taken = [buckets.take("a") for _ in range(5)]

        assert [allowance.granted for allowance in taken] == [True, True, True, False, False]
        assert [allowance.remaining for allowance in taken] == [2, 1, 0, 0, 0]
        assert [allowance.full_in for allowance in taken] == [20, 40, 60, 60, 60]

    def test_a_refusal_says_when_to_come_again_and_then_one_is_granted(self, clock: Clock) -> None:
        buckets = Buckets(3, clock)
        for _ in range(3):
            buckets.take("a")

        clock.at += 19 * SECOND
        assert (buckets.take("a").granted, buckets.take("a").next_in) == (False, 1)
        clock.at += SECOND
        assert [buckets.take("a").granted for _ in range(2)] == [True, False]

    def test_nobody_takes_anothers(self, clock: Clock) -> None:
        buckets = Buckets(1, clock)

        assert [buckets.take(whose).granted for whose in ("a", "b", "a", "b")] == [True, True, False, False]

    @given(
        limit=st.integers(1, 1_000_000),
        pauses=st.lists(st.integers(0, 120 * SECOND), min_size=1, max_size=50),
    )
    def test_never_more_are_granted_than_were_there_and_grew(self, limit: int, pauses: list[int]) -> None:
        clock = Clock()
        buckets, pace, granted = Buckets(limit, clock), 60 * SECOND // limit, 0
        for pause in pauses:
            clock.at += pause
            allowance = buckets.take("a")
            granted += allowance.granted
            assert 0 <= allowance.remaining < limit
            assert allowance.granted or 1 <= allowance.next_in <= ceil(pace / SECOND)
        assert granted <= limit + (clock.at - 5 * SECOND) // pace

    def test_full_buckets_are_not_kept(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rates, "_MANY", 10)
        buckets = Buckets(60, clock)
        for address in range(1000):
            buckets.take(str(address))
            clock.at += SECOND

        assert len(buckets._full_at) < 20


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path,
        encryption_key=ENCRYPTION_KEY,
        pepper=PEPPER,
        reads_per_minute=3,
        writes_per_minute=2,
        pulls_per_minute=1,
        failed_keys_per_minute=2,
    )


@pytest.fixture
def api(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(Buckets.__init__, "__defaults__", (Clock(),))  # or a busy machine's minute may pass
    app = create_app(settings)
    with TestClient(app) as client:
        keys: KeyStore = app.state.services.keys
        client.headers["Authorization"] = f"Bearer {keys.create('test').text}"
        yield client


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
        assert answers[-1].headers["X-RateLimit-Reset"] == "60"
        assert int(answers[-1].headers["Retry-After"]) == 60 // limit

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
        assert answers[2].headers["Retry-After"] == "30"

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
