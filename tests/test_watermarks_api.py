"""The watermark over the API, and pulls of a part of their source. Dagster is faked at its socket."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from qanatix_pipelines.keys import Scope
from qanatix_pipelines.naming import PULL_TAG
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store
from tests.fakes import FakeDagster
from tests.test_api import BODY, CONNECTORS

JANUARY = "2026-01-01T00:00:00Z"
FEBRUARY = "2026-02-01T00:00:00Z"
BY_NUMBER = {"query": "SELECT * FROM products WHERE id > :last_pull", "cursor_column": "id"}
WHOLE = {"query": "SELECT * FROM products"}


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def new(api: TestClient) -> Callable[..., str]:
    """Register a connector with these fields: its id."""

    def registered(**fields: Any) -> str:
        made: str = api.post(CONNECTORS, json=BODY | fields).json()["id"]
        return made

    return registered


def shown(api: TestClient, connector: str) -> dict[str, Any]:
    response = api.get(f"{CONNECTORS}/{connector}/watermark")
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def put(api: TestClient, connector: str, body: Any) -> Any:
    return api.put(f"{CONNECTORS}/{connector}/watermark", json=body)


class TestShown:
    def test_before_the_first_pull_there_is_none(self, api: TestClient, new: Callable[..., str]) -> None:
        connector = new()

        assert shown(api, connector) == {
            "connector_id": connector,
            "kind": "time",
            "used": True,
            "value": None,
            "read_at": None,
            "set_at": None,
            "source_clock": None,
            "overlap": 300,
            "next_last_pull": None,
        }

    def test_the_next_pull_binds_it_less_the_overlap(
        self, api: TestClient, new: Callable[..., str], store: Store
    ) -> None:
        connector = new(overlap=60)

        answer = put(api, connector, {"value": JANUARY})

        assert answer.status_code == 200
        told = shown(api, connector)
        assert told == answer.json()
        assert (told["value"], told["overlap"], told["next_last_pull"]) == (JANUARY, 60, "2025-12-31T23:59:00Z")
        at = store.connectors.get(UUID(connector)).watermark_at
        assert at == datetime.fromisoformat(told["set_at"])

    def test_what_was_set_by_hand_was_not_read(self, api: TestClient, new: Callable[..., str], store: Store) -> None:
        connector = new()
        _read(store, connector)
        read = shown(api, connector)

        put(api, connector, {"value": JANUARY})

        was_set = shown(api, connector)
        assert (read["read_at"] is not None, read["source_clock"] is not None, read["set_at"]) == (True, True, None)
        assert (was_set["read_at"], was_set["source_clock"], was_set["set_at"] is not None) == (None, None, True)
        _read(store, connector)
        again = shown(api, connector)
        assert (again["read_at"] is not None, again["set_at"]) == (True, None)

    def test_one_in_the_future_counts_as_the_time_when_it_was_set(
        self, api: TestClient, new: Callable[..., str]
    ) -> None:
        connector = new(overlap=60)
        told = put(api, connector, {"value": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}).json()

        bound, read_at = (datetime.fromisoformat(told[field]) for field in ("next_last_pull", "set_at"))

        assert timedelta(0) <= read_at - timedelta(seconds=60) - bound < timedelta(seconds=5)

    def test_an_integer_is_shown_as_one(self, api: TestClient, new: Callable[..., str]) -> None:
        connector = new(**BY_NUMBER)

        put(api, connector, {"value": 2**62})

        told = shown(api, connector)
        assert (told["kind"], told["value"], told["next_last_pull"]) == ("integer", 2**62, 2**62 - 10_000)

    def test_the_first_times_are_within_the_calendar(self, api: TestClient, new: Callable[..., str]) -> None:
        connector = new()

        put(api, connector, {"value": "0001-01-01T00:00:01Z"})

        assert shown(api, connector)["next_last_pull"] == "0001-01-01T00:00:00Z"

    def test_a_query_that_does_not_use_it_is_told(self, api: TestClient, new: Callable[..., str]) -> None:
        assert shown(api, new(**WHOLE))["used"] is False


class TestSet:
    def test_null_has_the_next_pull_read_everything(self, api: TestClient, new: Callable[..., str]) -> None:
        connector = new()
        put(api, connector, {"value": JANUARY})

        assert put(api, connector, {"value": None}).status_code == 200

        told = shown(api, connector)
        assert (told["value"], told["set_at"], told["next_last_pull"]) == (None, None, None)

    def test_an_empty_body_is_told_that_null_reads_everything(self, api: TestClient, new: Callable[..., str]) -> None:
        refused = put(api, new(), {})

        (wrong,) = refused.json()["detail"]
        assert (refused.status_code, wrong["loc"]) == (422, ["body", "value"])
        assert wrong["msg"] == "must be given: a time or an integer, or null to have the next pull read everything"

    @pytest.mark.parametrize(
        ("fields", "value", "problem"),
        [
            ({}, 5, "must be a time: the connector has no cursor_column"),
            (BY_NUMBER, JANUARY, "must be an integer, as those in the connector's cursor_column"),
            (WHOLE, JANUARY, "needs a query that says :last_pull: without it, every pull reads everything"),
            (WHOLE, None, "needs a query that says :last_pull: without it, every pull reads everything"),
            ({}, "2026-01-01", "must be a time with its zone, such as 2026-01-31T00:00:00Z, or an integer of at most"),
            ({}, "2199-01-01T00:00:00Z", "must not lie more than a day in the future"),
            (BY_NUMBER, 1.5, "must be a time with its zone"),
            (BY_NUMBER, True, "must be a time with its zone"),
        ],
    )
    def test_what_does_not_fit_the_cursor_is_refused(
        self, api: TestClient, new: Callable[..., str], fields: dict[str, Any], value: Any, problem: str
    ) -> None:
        connector = new(**fields)

        response = put(api, connector, {"value": value})

        assert response.status_code == 422
        (wrong,) = response.json()["detail"]
        assert wrong["loc"] == ["body", "value"]
        assert wrong["msg"].startswith(problem)
        assert shown(api, connector)["value"] is None

    def test_a_source_whose_clock_is_ahead_of_ours_may_have_it(self, api: TestClient, new: Callable[..., str]) -> None:
        ahead = datetime.now(UTC) + timedelta(hours=14)

        assert put(api, new(), {"value": ahead.isoformat()}).status_code == 200

    @pytest.mark.parametrize("body", [{}, {"watermark": JANUARY}, {"value": JANUARY, "at": 1}, [], JANUARY, None])
    def test_nothing_else_is_a_request_for_it(self, api: TestClient, new: Callable[..., str], body: Any) -> None:
        assert put(api, new(), body).status_code == 422

    def test_while_a_pull_runs_it_is_refused(self, api: TestClient, new: Callable[..., str], store: Store) -> None:
        connector = new()
        live, _ = store.pulls.queue(UUID(connector))

        response = put(api, connector, {"value": JANUARY})

        assert (response.status_code, response.json()["code"]) == (409, "pull_in_progress")
        assert response.json()["pull_id"] == str(live.id)
        assert shown(api, connector)["value"] is None

    def test_it_takes_the_scope_of_who_changes_connectors(
        self, new: Callable[..., str], client: Callable[..., TestClient]
    ) -> None:
        connector = new()
        reader = client(Scope.CONNECTORS_READ)

        assert put(reader, connector, {"value": JANUARY}).status_code == 403
        assert shown(reader, connector)["value"] is None
        assert client(Scope.PULLS_RUN).get(f"{CONNECTORS}/{connector}/watermark").status_code == 403

    def test_one_of_no_connector_is_not_found(self, api: TestClient) -> None:
        assert put(api, str(uuid4()), {"value": JANUARY}).status_code == 404
        assert api.get(f"{CONNECTORS}/{uuid4()}/watermark").status_code == 404


class TestParts:
    """Pulls that are asked for a part of their source."""

    def test_one_is_told_on_its_receipt_and_to_dagster(
        self, api: TestClient, new: Callable[..., str], dagster: FakeDagster
    ) -> None:
        asked = {"since": JANUARY, "limit": 5}

        answer = api.post(f"{CONNECTORS}/{new()}/pull", json=asked)

        assert answer.status_code == 200
        receipt = api.get(f"/api/v1/pulls/{answer.json()['pull_id']}").json()
        told = {name: receipt[name] for name in ("full_refresh", "since", "until", "limit")}
        assert told == {"full_refresh": False, "since": JANUARY, "until": None, "limit": 5}
        (launch,) = dagster.launches
        tags = {tag["key"]: tag["value"] for tag in launch["execution"]["executionMetadata"]["tags"]}
        assert (tags["qanatix/since"], tags["qanatix/limit"]) == (JANUARY, "5")

    def test_a_window_is_for_a_query_that_has_an_end(self, api: TestClient, new: Callable[..., str]) -> None:
        connector = new(query=f"{BODY['query']} AND updated_at <= :until")

        answer = api.post(f"{CONNECTORS}/{connector}/pull", json={"since": JANUARY, "until": FEBRUARY})

        receipt = api.get(f"/api/v1/pulls/{answer.json()['pull_id']}").json()
        assert (receipt["status"], receipt["since"], receipt["until"]) == ("completed", JANUARY, FEBRUARY)
        assert shown(api, connector)["value"] is None

    def test_an_integer_is_told_as_one(self, api: TestClient, new: Callable[..., str]) -> None:
        answer = api.post(f"{CONNECTORS}/{new(**BY_NUMBER)}/pull", json={"since": 2**62})

        assert api.get(f"/api/v1/pulls/{answer.json()['pull_id']}").json()["since"] == 2**62

    @pytest.mark.parametrize(
        ("fields", "body", "field", "problem"),
        [
            (WHOLE, {"since": JANUARY}, "since", "needs a query that says :last_pull"),
            (BY_NUMBER, {"since": JANUARY}, "since", "must be an integer"),
            ({}, {"since": 5}, "since", "must be a time"),
            ({}, {"since": JANUARY, "until": FEBRUARY}, "until", "needs a query that says :until"),
            ({}, {"until": FEBRUARY}, "until", "needs since"),
            ({}, {"since": FEBRUARY, "until": JANUARY}, "until", "must be greater than since"),
            ({}, {"since": JANUARY, "full_refresh": True}, "since", "must not be given together with full_refresh"),
            ({}, {"limit": 0}, "limit", "Input should be greater than or equal to 1"),
        ],
    )
    def test_what_the_query_cannot_be_asked_is_refused_and_nothing_is_pulled(
        self,
        api: TestClient,
        new: Callable[..., str],
        dagster: FakeDagster,
        fields: dict[str, Any],
        body: dict[str, Any],
        field: str,
        problem: str,
    ) -> None:
        response = api.post(f"{CONNECTORS}/{new(**fields)}/pull", json=body)

        assert response.status_code == 422
        (wrong,) = response.json()["detail"]
        assert wrong["loc"] == ["body", field]
        assert wrong["msg"].startswith(problem)
        assert dagster.launches == []

    @pytest.mark.parametrize(
        ("running", "asked", "status"),
        [
            ({"since": JANUARY}, {}, 409),
            ({}, {"since": JANUARY}, 409),
            ({"limit": 5}, {"limit": 6}, 409),
            ({"since": JANUARY}, {"since": JANUARY}, 202),
            ({"full_refresh": True}, None, 202),
        ],
    )
    def test_only_who_asks_for_the_same_joins_one(
        self,
        api: TestClient,
        new: Callable[..., str],
        dagster: FakeDagster,
        running: Any,
        asked: Any,
        status: int,
    ) -> None:
        dagster.on_launch = lambda _tags: "endless"
        dagster.statuses["endless"] = "STARTED"
        connector = new()
        live = api.post(f"{CONNECTORS}/{connector}/pull?wait=false", json=running).json()["pull_id"]

        response = api.post(f"{CONNECTORS}/{connector}/pull?wait=false", json=asked)

        assert response.status_code == status
        assert response.json()["pull_id"] == live
        assert response.json().get("code") == ("pull_in_progress" if status == 409 else None)

    def test_one_whose_run_died_is_begun_again_as_the_same(
        self, api: TestClient, new: Callable[..., str], dagster: FakeDagster
    ) -> None:
        complete = dagster.on_launch
        dagster.on_launch = lambda tags: "dead" if len(dagster.launches) < 2 else complete(tags)
        dagster.statuses["dead"] = "FAILURE"

        answer = api.post(f"{CONNECTORS}/{new()}/pull", json={"since": JANUARY})

        assert answer.status_code == 200
        assert len(dagster.launches) == 2
        for launch in dagster.launches:
            tags = {tag["key"]: tag["value"] for tag in launch["execution"]["executionMetadata"]["tags"]}
            assert (tags["qanatix/since"], tags[PULL_TAG]) == (JANUARY, answer.json()["pull_id"])


def _read(store: Store, connector_id: str) -> None:
    """What a pull keeps that has read the source up to now."""
    connector = store.connectors.get(UUID(connector_id))
    receipt = store.pulls.begin(connector, str(uuid4()))
    at = datetime.now(UTC)
    Ingestion(store.engine, connector, receipt).commit(at, at, time.monotonic(), clock=at)
