"""The API by itself: requests, answers, and what they never show. Dagster is faked at its socket, the store is real."""

import json
import re
import sqlite3
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi.testclient import TestClient

from qanatix_api.dagster import STATUSES
from qanatix_pipelines.errors import PullError, QueryRejected, ResultUnusable, SourceUnreachable, StoreUnavailable
from qanatix_pipelines.naming import PULL_TAG
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.engine import connect
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.pulls import PullStore
from tests.fakes import FakeDagster

PASSWORD = "hunter2-of-the-source"
BODY: dict[str, Any] = {
    "name": "Production products",
    "connector_type": "postgresql",
    "vertical": "manufacturing",
    "entity_type": "product",
    "connection_config": {"dsn": f"postgresql://reader:{PASSWORD}@db.internal:5432/shop"},
    "query": "SELECT * FROM products WHERE updated_at > :last_pull",
    "name_column": "product_name",
}
CONNECTORS = "/api/v1/connectors"


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def registered(api: TestClient) -> dict[str, Any]:
    """A connector, as it is shown."""
    made = api.post(CONNECTORS, json=BODY).json()["id"]
    answer: dict[str, Any] = api.get(f"{CONNECTORS}/{made}").json()
    return answer


def told(response: httpx2.Response, detail: str) -> dict[str, Any]:
    """The body of an error with this sentence, and without a code."""
    assert response.headers["Content-Type"] == "application/problem+json"
    return {
        "type": "about:blank",
        "title": HTTPStatus(response.status_code).phrase,
        "status": response.status_code,
        "detail": detail,
        "request_id": response.headers["X-Request-Id"],
    }


class TestRegistering:
    def test_a_connector_is_created_and_its_credentials_are_not_shown(self, api: TestClient) -> None:
        response = api.post(CONNECTORS, json=BODY)

        assert response.status_code == 201
        answer = response.json()
        assert answer["connection_config"] == "***REDACTED***"
        assert PASSWORD not in response.text
        assert answer["batch_size"] == 5000
        assert UUID(answer["id"])
        assert answer["created_at"].endswith("Z")

    def test_what_was_given_is_answered(self, api: TestClient) -> None:
        given = BODY | {"batch_size": 100, "id_column": "sku"}

        answer = api.post(CONNECTORS, json=given).json()

        assert {field: answer[field] for field in given} == given | {"connection_config": "***REDACTED***"}

    def test_the_newer_words_are_taken_and_answered_too(self, api: TestClient) -> None:
        body = {key: value for key, value in BODY.items() if key not in ("vertical", "entity_type")}

        answer = api.post(CONNECTORS, json=body | {"collection": "retail", "record_type": "shop"}).json()

        assert (answer["vertical"], answer["entity_type"]) == ("retail", "shop")
        assert (answer["collection"], answer["record_type"]) == ("retail", "shop")

    @pytest.mark.parametrize("newer", [{"collection": "manufacturing"}, {"record_type": "product"}])
    def test_both_words_for_one_thing_are_taken_where_they_say_the_same(
        self, api: TestClient, registered: dict[str, Any], newer: dict[str, str]
    ) -> None:
        assert api.post(CONNECTORS, json=BODY | newer | {"name": "Other"}).status_code == 201
        assert api.patch(f"{CONNECTORS}/{registered['id']}", json=newer).json()["vertical"] == "manufacturing"

    @pytest.mark.parametrize(
        ("newer", "older"), [({"collection": "retail"}, "vertical"), ({"record_type": "shop"}, "entity_type")]
    )
    def test_both_words_for_one_thing_are_refused_where_they_differ(
        self, api: TestClient, registered: dict[str, Any], newer: dict[str, str], older: str
    ) -> None:
        refused = [
            api.post(CONNECTORS, json=BODY | newer),
            api.patch(f"{CONNECTORS}/{registered['id']}", json={older: BODY[older]} | newer),
        ]

        assert [answer.status_code for answer in refused] == [422, 422]
        assert [answer.json()["detail"][0]["loc"] for answer in refused] == [["body", older]] * 2

    def test_the_document_has_both_words(self, api: TestClient) -> None:
        schemas = api.get("/openapi.json").json()["components"]["schemas"]

        for request in ("MysqlConnectorRequest", "MysqlConnectorReplacement", "ConnectorChanges"):
            assert {"vertical", "collection", "entity_type", "record_type"} <= schemas[request]["properties"].keys()
            assert not {"vertical", "collection"} & set(schemas[request].get("required", ()))

    def test_the_new_connector_becomes_a_partition(self, api: TestClient, dagster: FakeDagster) -> None:
        api.post(CONNECTORS, json=BODY)

        ((kind, partition),) = dagster.partitions
        assert kind == "add"
        assert partition.startswith("production-products-")

    def test_nothing_but_the_partition_is_asked_of_anybody(self, api: TestClient, dagster: FakeDagster) -> None:
        assert api.post(CONNECTORS, json=BODY).status_code == 201  # db.internal does not exist
        assert dagster.launches == []

    def test_it_works_while_dagster_is_away(self, api: TestClient, dagster: FakeDagster) -> None:
        dagster.stop()

        assert api.post(CONNECTORS, json=BODY).status_code == 201

    @pytest.mark.parametrize(
        ("where", "change"),
        [
            (["body", "query"], {"query": None}),
            (["body", "query"], {"query": "SELECT 'oops"}),
            (["body", "query"], {"query": "SELECT 1; DROP TABLE x"}),
            (["body", "query"], {"query": "SELECT '\ud800'"}),
            (["body", "name"], {"name": " "}),
            (["body", "name"], {"name": "\ufb2c" * 100}),
            (["body", "name"], {"name": "a\u202eb"}),
            (["body", "name"], {"name": "\u200b"}),
            (["body", "name"], {"name": "\u3164 \u2800\ufe0f"}),
            (["body", "connector_type"], {"connector_type": "oracle"}),
            (["body", "vertical"], {"vertical": "a/b"}),
            (["body", "vertical"], {"vertical": "connectors"}),
            (["body", "entity_type"], {"entity_type": 5}),
            (["body", "batch_size"], {"batch_size": 0}),
            (["body", "batch_size"], {"batch_size": "100"}),
            (["body", "batch_size"], {"batch_size": True}),
            (["body", "batch_size"], {"batch_size": 10**30}),
            (["body", "tenant"], {"tenant": "me"}),
            (["body", "connection_config"], {"connection_config": PASSWORD}),
            (["body", "connection_config", "dsn"], {"connection_config": {}}),
            (["body", "connection_config", "dsn"], {"connection_config": {"dsn": f"mysql://a:{PASSWORD}@b/c"}}),
            (["body", "connection_config", "dsn"], {"connection_config": {"dsn": 5}}),
            (["body", "connection_config", "dsn"], {"connection_config": {"dsn": "postgresql://a:***REDACTED***@b/c"}}),
            (["body", "connection_config", "uri"], {"connection_config": {"uri": PASSWORD}}),
            (
                ["body", "connection_config", "passfile"],
                {"connection_config": BODY["connection_config"] | {"passfile": PASSWORD}},
            ),
        ],
    )
    def test_a_wrong_field_is_named_and_nothing_is_echoed(
        self, api: TestClient, where: list[str], change: dict[str, Any]
    ) -> None:
        response = api.post(CONNECTORS, content=json.dumps(BODY | change), headers={"Content-Type": "application/json"})

        assert response.status_code == 422
        problems = response.json()["detail"]
        assert where in [problem["loc"] for problem in problems]
        assert {key for problem in problems for key in problem} == {"loc", "msg", "type"}
        assert not any(problem["msg"].startswith("Value error") for problem in problems)  # pydantic's own words
        assert PASSWORD not in response.text

    @pytest.mark.parametrize(
        "field", ["name", "connector_type", "vertical", "entity_type", "connection_config", "query"]
    )
    def test_a_required_field_that_is_missing_is_named(self, api: TestClient, field: str) -> None:
        response = api.post(CONNECTORS, json={key: value for key, value in BODY.items() if key != field})

        assert [problem["loc"][:2] for problem in response.json()["detail"]] == [["body", field]]
        assert PASSWORD not in response.text

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"name": NaN}', b"[" * 60_000])
    def test_a_body_that_is_no_connector_is_refused(self, api: TestClient, body: bytes) -> None:
        response = api.post(CONNECTORS, content=body, headers={"Content-Type": "application/json"})

        assert response.status_code in (400, 422)
        assert "detail" in response.json()


class TestReading:
    def test_the_list_is_a_bare_array(self, api: TestClient, registered: dict[str, Any]) -> None:
        assert api.get(CONNECTORS).json() == [registered]

    def test_one_is_shown_by_its_id(self, api: TestClient, registered: dict[str, Any]) -> None:
        assert api.get(f"{CONNECTORS}/{registered['id']}").json() == registered

    def test_it_shows_how_its_last_pull_went(self, api: TestClient, registered: dict[str, Any]) -> None:
        api.post(f"{CONNECTORS}/{registered['id']}/pull")

        shown = api.get(f"{CONNECTORS}/{registered['id']}").json()

        assert shown["last_pull_status"] == "completed"
        assert shown["last_pull_at"].endswith("Z")

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    @pytest.mark.parametrize("unknown", [str(UUID(int=1)), "nonsense", "%00", "%ff", "a" * 5000])
    def test_an_unknown_connector_is_not_found(self, api: TestClient, method: str, unknown: str) -> None:
        response = api.request(method, f"{CONNECTORS}/{unknown}")

        assert (response.status_code, response.json()) == (404, told(response, "There is no such connector."))

    @pytest.mark.parametrize("unknown", [str(UUID(int=1)), "nonsense"])
    def test_an_unknown_connector_cannot_be_pulled(self, api: TestClient, unknown: str) -> None:
        assert api.post(f"{CONNECTORS}/{unknown}/pull").status_code == 404


class TestChanging:
    def test_what_is_given_changes_and_the_rest_stays(self, api: TestClient, registered: dict[str, Any]) -> None:
        response = api.patch(f"{CONNECTORS}/{registered['id']}", json={"name": "Parts", "record_type": "part"})

        assert response.status_code == 200
        changed = {"name": "Parts", "entity_type": "part", "record_type": "part"}
        assert response.json() == registered | changed | {"warnings": []}
        assert api.get(f"{CONNECTORS}/{registered['id']}").json() == registered | changed

    def test_the_type_cannot_change_and_what_is_no_field_is_told(
        self, api: TestClient, registered: dict[str, Any]
    ) -> None:
        changes = {"connector_type": "mysql", "nmae": "Parts"}
        response = api.patch(f"{CONNECTORS}/{registered['id']}", json=changes)

        assert response.status_code == 422
        told = {part["loc"][-1]: part["msg"] for part in response.json()["detail"]}
        assert told["connector_type"] == "cannot be changed: register another connector"
        assert told["nmae"].startswith(
            "is not a field here: check how it is spelt; it takes name, key, vertical, entity_type"
        )

    def test_null_takes_back_what_is_optional(self, api: TestClient, registered: dict[str, Any]) -> None:
        response = api.patch(f"{CONNECTORS}/{registered['id']}", json={"name_column": None})

        assert (response.status_code, response.json()["name_column"]) == (200, None)

    def test_credentials_as_they_are_shown_stay_as_they_are(
        self, api: TestClient, registered: dict[str, Any], store: Store
    ) -> None:
        api.patch(f"{CONNECTORS}/{registered['id']}", json={"connection_config": registered["connection_config"]})

        kept = store.connectors.get(UUID(registered["id"]))
        assert (store.connectors.connection_config(kept), kept.generation) == (BODY["connection_config"], 1)

    def test_another_password_keeps_last_pull(self, api: TestClient, registered: dict[str, Any], store: Store) -> None:
        at = datetime(2026, 3, 7, tzinfo=UTC)
        with store.engine.begin() as transaction:
            transaction.execute(tables.connector.update().values(watermark=at, watermark_at=at))
        config = {"dsn": "postgresql://reader:changed@db.internal:5432/shop"}

        response = api.patch(f"{CONNECTORS}/{registered['id']}", json={"connection_config": config})

        kept = store.connectors.get(UUID(registered["id"]))
        assert (response.status_code, kept.watermark) == (200, at)
        assert store.connectors.connection_config(kept) == config

    @pytest.mark.parametrize(
        "changed",
        [
            f"postgresql://reader:{PASSWORD}@db.internal:5432/another",
            f"postgresql://other:{PASSWORD}@db.internal:5432/shop",  # who may see, or is shown, other rows
        ],
    )
    def test_another_database_or_user_begins_last_pull_anew(
        self, api: TestClient, registered: dict[str, Any], store: Store, changed: str
    ) -> None:
        at = datetime(2026, 3, 7, tzinfo=UTC)
        with store.engine.begin() as transaction:
            transaction.execute(tables.connector.update().values(watermark=at, watermark_at=at))
        config = {"dsn": changed}

        api.patch(f"{CONNECTORS}/{registered['id']}", json={"connection_config": config})

        assert store.connectors.get(UUID(registered["id"])).watermark is None

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": None}, "name"),
            ({"name": ""}, "name"),
            ({"query": None}, "query"),
            ({"query": "SELECT 1; SELECT 2"}, "query"),
            ({"batch_size": 0}, "batch_size"),
            ({"batch_size": None}, "batch_size"),
            ({"vertical": "connectors"}, "vertical"),
            ({"connection_config": None}, "connection_config"),
            ({"connection_config": {"dsn": "x"}}, "connection_config"),
            ({"connection_config": "hunter2"}, "connection_config"),
            ({"connector_type": "mysql"}, "connector_type"),
            ({"overlap": 1}, "overlap"),
            ({"overlap": "300"}, "overlap"),
            ({"cursor_column": "id", "query": "SELECT 1"}, "cursor_column"),
            ({"watermark": None}, "watermark"),
        ],
    )
    def test_what_is_wrong_is_named_and_changes_nothing(
        self, api: TestClient, registered: dict[str, Any], change: dict[str, Any], field: str
    ) -> None:
        response = api.patch(f"{CONNECTORS}/{registered['id']}", json={"name": "Changed"} | change)

        assert response.status_code == 422
        assert field in [part["loc"][1] for part in response.json()["detail"]]
        assert "hunter2" not in response.text
        assert api.get(f"{CONNECTORS}/{registered['id']}").json() == registered

    def test_a_change_of_what_is_read_stops_the_running_pull(
        self, api: TestClient, registered: dict[str, Any], store: Store
    ) -> None:
        running = store.pulls.begin(store.connectors.get(UUID(registered["id"])), "run")

        api.patch(f"{CONNECTORS}/{registered['id']}", json={"query": "SELECT 1 AS product_name"})

        assert store.pulls.get(running.id).error_code == "pull_superseded"

    def test_there_is_nothing_to_change_of_an_unknown_connector(self, api: TestClient) -> None:
        assert api.patch(f"{CONNECTORS}/{uuid4()}", json={"name": "x"}).status_code == 404


class TestPulling:
    def test_the_answer_has_the_counts_the_pull_and_the_run(
        self, api: TestClient, registered: dict[str, Any], store: Store
    ) -> None:
        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert response.status_code == 200
        answer = response.json()
        receipt = store.pulls.get(UUID(answer["pull_id"]))
        assert answer == {
            "status": "completed",
            "records_pulled": 3,
            "records_ingested": 1,
            "duplicates_skipped": 2,
            "records_rejected": 0,
            "rejected_by_reason": {},
            "keys_repeated": 0,
            "key_column": None,
            "name_column": None,
            "warnings": [{"code": "no_key", "detail": receipt.warnings[0].detail, "keys": []}],
            "duration_seconds": pytest.approx(0.25, abs=0.24),
            "change_number": 1,
            "pull_id": str(receipt.id),
            "run_id": receipt.run_id,
        }

    def test_the_run_is_told_ids_and_nothing_else(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster
    ) -> None:
        api.post(f"{CONNECTORS}/{registered['id']}/pull")

        (launch,) = dagster.launches
        assert launch["execution"].keys() == {"selector", "executionMetadata"}
        keys = [tag["key"] for tag in launch["execution"]["executionMetadata"]["tags"]]
        assert keys == [
            "dagster/partition",
            ".dagster/qanatix_pull_id",
            "qanatix/trigger",
            "qanatix/connector",
            "qanatix/source",
            "qanatix/tenant",
        ]
        said = json.dumps(launch)
        assert PASSWORD not in said
        assert "SELECT" not in said

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, QueryRejected("The source rejected the query.")),
            (400, ResultUnusable("No such column.")),
            (424, SourceUnreachable("The source could not be reached.")),
        ],
    )
    def test_a_sources_failure_is_an_answer_that_no_client_repeats(
        self,
        api: TestClient,
        registered: dict[str, Any],
        dagster: FakeDagster,
        store: Store,
        status: int,
        error: PullError,
    ) -> None:
        def fail(tags: dict[str, str]) -> str:
            store.pulls.end(store.pulls.get(UUID(tags[PULL_TAG])), error)
            return "run"

        dagster.on_launch = fail

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert response.status_code == status
        assert response.json()["detail"] == str(error)
        assert response.json()["code"] == error.code
        assert response.json()["type"] == f"urn:qanatix:error:{error.code}"
        assert (response.json()["status"], response.json()["pull_status"]) == (status, "failed")

    def test_many_requests_at_once_are_one_pull_with_one_answer(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue, everybody_asked = PullStore.queue, threading.Barrier(10)

        def queued(*asked: Any, **how: Any) -> tuple[Receipt, bool]:
            answer = queue(*asked, **how)
            everybody_asked.wait(60)
            return answer

        monkeypatch.setattr(PullStore, "queue", queued)
        with ThreadPoolExecutor(10) as clients:
            answers = list(clients.map(lambda _: api.post(f"{CONNECTORS}/{registered['id']}/pull"), range(10)))

        assert [answer.status_code for answer in answers] == [200] * 10
        assert len({answer.json()["pull_id"] for answer in answers}) == 1
        assert len(dagster.launches) == 1

    def test_a_run_that_ends_without_a_word_is_followed_by_another(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster
    ) -> None:
        complete = dagster.on_launch
        dagster.on_launch = lambda tags: "dead" if len(dagster.launches) < 3 else complete(tags)
        dagster.statuses["dead"] = "FAILURE"

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert (response.status_code, response.json()["records_ingested"]) == (200, 1)
        assert len(dagster.launches) == 3

    def test_everything_is_read_again_where_that_is_asked_for(
        self, api: TestClient, registered: dict[str, Any], store: Store
    ) -> None:
        response = api.post(f"{CONNECTORS}/{registered['id']}/pull", json={"full_refresh": True})

        assert response.status_code == 200
        assert store.pulls.get(UUID(response.json()["pull_id"])).full_refresh

    def test_a_full_refresh_does_not_join_a_pull_that_is_none(
        self, api: TestClient, registered: dict[str, Any], store: Store
    ) -> None:
        live, _ = store.pulls.queue(UUID(registered["id"]))

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull", json={"full_refresh": True})

        assert (response.status_code, response.json()["code"]) == (409, "pull_in_progress")
        assert (response.json()["pull_id"], response.json()["run_id"]) == (str(live.id), None)

    @pytest.mark.parametrize("body", [{"full_refresh": "yes"}, {"full": True}, [], "x", None])
    def test_a_pull_is_asked_for_by_nothing_else(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster, body: Any
    ) -> None:
        response = api.post(f"{CONNECTORS}/{registered['id']}/pull", json=body)

        assert response.status_code == (200 if body is None else 422)
        assert len(dagster.launches) == (1 if body is None else 0)

    def test_a_run_that_ends_without_a_word_three_times_is_told_as_lost(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster
    ) -> None:
        dagster.on_launch = lambda _tags: "dead"
        dagster.statuses["dead"] = "FAILURE"

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert (response.status_code, response.json()["code"]) == (500, "pull_lost")

    def test_a_run_that_succeeds_without_beginning_its_pull_is_told_to_use_another_store(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster
    ) -> None:
        dagster.on_launch = lambda _tags: "elsewhere"
        dagster.statuses["elsewhere"] = "SUCCESS"

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert (response.status_code, response.json()["code"]) == (500, "wrong_store")
        assert "QANATIX_STORE_URL" in response.json()["detail"]
        assert len(dagster.launches) == 1

    def test_a_dagster_that_is_away_meanwhile_costs_the_pull_none_of_its_attempts(
        self,
        api: TestClient,
        registered: dict[str, Any],
        dagster: FakeDagster,
        store: Store,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        complete = dagster.on_launch
        dagster.on_launch = lambda tags: "dead" if len(dagster.launches) == 1 else complete(tags)
        dagster.statuses["dead"] = "FAILURE"
        answer, asked = dagster.answer, []

        def away_thrice(document: str, variables: dict[str, Any]) -> dict[str, Any] | None:
            asked.extend([document] if document == STATUSES else [])
            return None if document == STATUSES and len(asked) <= 3 else answer(document, variables)

        monkeypatch.setattr(dagster, "answer", away_thrice)

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert (response.status_code, len(dagster.launches)) == (200, 2)
        assert store.pulls.get(UUID(response.json()["pull_id"])).attempt == 2

    @pytest.mark.parametrize(("missed", "expected"), [(5, (200, "completed")), (1000, (202, "queued"))])
    def test_a_store_that_is_away_meanwhile_is_waited_for(
        self,
        api: TestClient,
        registered: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        missed: int,
        expected: tuple[int, str],
    ) -> None:
        services = api.app.state.services  # type: ignore[attr-defined]
        object.__setattr__(services, "settings", services.settings.model_copy(update={"pull_wait_seconds": 2}))
        pulls, misses = services.store.pulls, []
        several = pulls.several

        def away(pull_ids: Collection[UUID]) -> dict[UUID, Receipt]:
            misses.append(pull_ids)
            if len(misses) <= missed:
                raise StoreUnavailable
            return several(pull_ids)

        monkeypatch.setattr(pulls, "several", away)

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert (response.status_code, response.json()["status"]) == expected

    def test_a_run_that_gives_no_sign_of_life_is_told_as_lost_though_dagster_shows_it_running(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster, store: Store
    ) -> None:
        def claim_and_die(tags: dict[str, str]) -> str:
            store.pulls.claim(UUID(tags[PULL_TAG]), store.connectors.get(UUID(registered["id"])), "zombie")
            with store.engine.begin() as transaction:
                transaction.execute(tables.pull.update().values(lease_until=datetime(2000, 1, 1, tzinfo=UTC)))
            return "zombie"

        dagster.on_launch = claim_and_die
        dagster.statuses["zombie"] = "STARTED"

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert (response.status_code, response.json()["code"]) == (500, "pull_lost")

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            *(
                (error, (error, "'pull_postgresql'", "'qanatix'", "QANATIX_CODE_LOCATION"))
                for error in (
                    "PipelineNotFoundError",
                    "InvalidSubsetError",
                    "RunConfigValidationInvalid",
                    "PythonError",
                )
            ),
            ("UnauthorizedError", ("--read-only",)),
        ],
    )
    def test_a_launch_that_dagster_refuses_is_told_with_what_to_check(
        self,
        api: TestClient,
        registered: dict[str, Any],
        dagster: FakeDagster,
        monkeypatch: pytest.MonkeyPatch,
        error: str,
        told: tuple[str, ...],
    ) -> None:
        monkeypatch.setattr(dagster, "answer", lambda *_: {"launchRun": {"__typename": error}})

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert (response.status_code, response.json()["code"]) == (503, "pull_not_started")
        assert [part for part in told if part not in response.json()["detail"]] == []

    def test_what_is_not_dagster_is_told_and_nothing_is_left_waiting(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster, store: Store
    ) -> None:
        dagster.raw = b"<html>log in</html>"

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert (response.status_code, "QANATIX_DAGSTER_URL" in response.json()["detail"]) == (503, True)
        assert store.pulls.live(UUID(registered["id"])) is None

    def test_a_cancelled_run_is_told_as_cancelled(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster
    ) -> None:
        dagster.on_launch = lambda _tags: "gone"
        dagster.statuses["gone"] = "CANCELED"

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert (response.status_code, response.json()["code"]) == (409, "pull_cancelled")

    def test_a_pull_that_takes_longer_than_the_wait_goes_on(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster
    ) -> None:
        dagster.on_launch = lambda _tags: "slow"
        dagster.statuses["slow"] = "STARTED"
        services = api.app.state.services  # type: ignore[attr-defined]
        object.__setattr__(services, "settings", services.settings.model_copy(update={"pull_wait_seconds": 0.2}))

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert (response.status_code, response.json()["status"]) == (202, "queued")
        assert response.json()["run_id"] == "slow"

    @pytest.mark.parametrize(("faults", "status"), [(3, 200), (4, 503)])
    def test_dagsters_webserver_is_asked_again_where_its_database_was_away(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster, faults: int, status: int
    ) -> None:
        dagster.faults = faults

        assert api.post(f"{CONNECTORS}/{registered['id']}/pull").status_code == status

    def test_without_dagster_nothing_is_pulled_and_the_next_try_is_free(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster, store: Store
    ) -> None:
        dagster.stop()

        response = api.post(f"{CONNECTORS}/{registered['id']}/pull")

        assert response.status_code == 503
        assert response.headers["Retry-After"].isdecimal()
        assert store.pulls.live(UUID(registered["id"])) is None
        assert api.get(f"{CONNECTORS}/{registered['id']}").json()["last_pull_status"] == "failed"


class TestDeleting:
    def test_a_deleted_connector_is_gone(
        self, api: TestClient, registered: dict[str, Any], dagster: FakeDagster
    ) -> None:
        response = api.delete(f"{CONNECTORS}/{registered['id']}")

        assert (response.status_code, response.content) == (204, b"")
        assert api.get(CONNECTORS).json() == []
        assert api.delete(f"{CONNECTORS}/{registered['id']}").status_code == 404
        assert [kind for kind, _ in dagster.partitions] == ["add"]

    def test_its_entities_stay(self, api: TestClient, registered: dict[str, Any]) -> None:
        api.post(f"{CONNECTORS}/{registered['id']}/pull")

        api.delete(f"{CONNECTORS}/{registered['id']}")

        assert len(api.get("/api/v1/entities").json()["items"]) == 1


class TestEntities:
    @pytest.fixture(autouse=True)
    def _pulled(self, api: TestClient, registered: dict[str, Any]) -> None:
        api.post(f"{CONNECTORS}/{registered['id']}/pull")

    def test_a_page_shows_them(self, api: TestClient, registered: dict[str, Any]) -> None:
        answer = api.get("/api/v1/entities", params={"vertical": "manufacturing", "entity_type": "product"}).json()

        (entity,) = answer["items"]
        assert (answer["cursor"], answer["has_more"]) == (None, False)
        assert entity["id"] == str(UUID(int=7))
        assert (entity["name"], entity["source_id"], entity["connector_id"]) == ("Bolt", "7", registered["id"])

    def test_numbers_keep_every_digit(self, api: TestClient) -> None:
        text = api.get(f"/api/v1/entities/{UUID(int=7)}").text

        assert json.loads(text, parse_float=Decimal)["vertical_data"] == {
            "price": Decimal("12.50"),
            "big": Decimal("123456789012345678901234567890.5"),
        }
        assert '"price":12.50' in text

    def test_an_unknown_entity_is_not_found(self, api: TestClient) -> None:
        for unknown in (str(uuid4()), "nonsense"):
            response = api.get(f"/api/v1/entities/{unknown}")
            assert (response.status_code, response.json()) == (404, told(response, "There is no such entity."))

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=101", "limit=x", "cursor=x", "vertical=%00", "entity_type=a/b"]
    )
    def test_a_wrong_page_is_refused_by_name(self, api: TestClient, query: str) -> None:
        response = api.get(f"/api/v1/entities?{query}")

        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["query", query.partition("=")[0]]


class TestAuthentication:
    ROUTES = (
        ("GET", CONNECTORS),
        ("POST", CONNECTORS),
        ("GET", f"{CONNECTORS}/{UUID(int=1)}"),
        ("POST", f"{CONNECTORS}/{UUID(int=1)}/pull"),
        ("DELETE", f"{CONNECTORS}/{UUID(int=1)}"),
        ("GET", "/api/v1/entities"),
        ("GET", f"/api/v1/entities/{UUID(int=1)}"),
    )
    WRONG: tuple[Callable[[str], str | None], ...] = (
        lambda _key: None,
        lambda _key: "",
        lambda key: key,
        lambda key: f"Basic {key}",
        lambda _key: "Bearer sk_live_" + "0" * 64,
        lambda key: f"Bearer {key[:-1]}",
        lambda key: f"Bearer {key[:20]}{'0' if key[20] != '0' else '1'}{key[21:]}",
    )

    @pytest.mark.parametrize("wrong", range(len(WRONG)))
    @pytest.mark.parametrize(("method", "path"), ROUTES)
    def test_nothing_is_done_without_a_valid_key(self, api: TestClient, method: str, path: str, wrong: int) -> None:
        key = api.headers.pop("Authorization").removeprefix("Bearer ")
        header = self.WRONG[wrong](key)

        response = api.request(method, path, headers={} if header is None else {"Authorization": header})

        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.json() == told(response, "This needs a valid API key: Authorization: Bearer sk_live_...")

    def test_every_route_but_the_open_ones_asks_for_a_key(self, api: TestClient) -> None:
        paths = api.get("/openapi.json").json()["paths"]

        asking = {path for path, methods in paths.items() if all("security" in method for method in methods.values())}
        assert paths.keys() - asking == {"/healthz"}


class TestMethods:
    @pytest.mark.parametrize(
        ("path", "methods"),
        [
            (CONNECTORS, "GET, HEAD, OPTIONS, POST"),
            (f"{CONNECTORS}/{UUID(int=1)}", "DELETE, GET, HEAD, OPTIONS, PATCH"),
            (f"{CONNECTORS}/{UUID(int=1)}/pull", "OPTIONS, POST"),
            ("/healthz", "GET, HEAD, OPTIONS"),
        ],
    )
    def test_another_method_is_told_all_that_are_taken(self, api: TestClient, path: str, methods: str) -> None:
        response, asked = api.put(path), api.options(path)

        assert (response.status_code, response.headers["Allow"]) == (405, methods)
        assert (asked.status_code, asked.headers["Allow"], asked.content) == (204, methods, b"")

    def test_head_is_answered_wherever_get_is_without_a_body(self, api: TestClient, registered: dict[str, Any]) -> None:
        documented = api.get("/openapi.json").json()["paths"]
        paths = [re.sub(r"{\w+}", registered["id"], path) for path, methods in documented.items() if "get" in methods]
        answers = {path: (api.get(path), api.head(path)) for path in [*paths, "/openapi.json", "/docs"]}

        told = ("Content-Type", "Content-Length", "X-RateLimit-Limit", "ETag")
        assert {got.status_code for got, _ in answers.values()} >= {200, 404}
        for path, (got, headed) in answers.items():
            assert (headed.status_code, headed.content) == (got.status_code, b""), path
            assert [headed.headers.get(name) for name in told] == [got.headers.get(name) for name in told], path

    def test_head_of_what_is_only_posted_is_not_taken(self, api: TestClient, dagster: FakeDagster) -> None:
        assert api.head(f"{CONNECTORS}/{UUID(int=1)}/pull").status_code == 405
        assert dagster.launches == []


class TestFaults:
    @pytest.fixture
    def impatient(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG002  # the test's is patient
        monkeypatch.setattr("qanatix_pipelines.store.opening.connect", lambda address, _: connect(address, 0))

    def test_a_store_that_somebody_keeps_locked_is_told_to_try_again(
        self,
        impatient: None,  # noqa: ARG002  # before the API opens its store
        api: TestClient,
        tmp_path: Path,
    ) -> None:
        with closing(sqlite3.connect(tmp_path / "qanatix.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

            response = api.post(CONNECTORS, json=BODY)

        assert (response.status_code, response.json()["detail"][:26]) == (503, "The store does not answer.")
        assert response.json()["code"] == "store_unavailable"
        assert response.headers["Retry-After"].isdecimal()

    def test_a_fault_of_ours_is_json_and_tells_nothing(self, api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError(PASSWORD)

        monkeypatch.setattr("qanatix_pipelines.store.connectors.ConnectorStore.page", broken)
        monkeypatch.setattr(api._transport, "raise_server_exceptions", False)  # another client has a loop of its own

        response = api.get(CONNECTORS)

        assert response.status_code == 500
        assert response.json() == told(response, "This is a fault of the API's own; its log says where.")


class TestDocumentation:
    def test_health_needs_no_key(self, api: TestClient) -> None:
        del api.headers["Authorization"]

        assert api.get("/healthz").json() == {"status": "ok"}

    def test_the_docs_load_nothing_from_elsewhere(self, api: TestClient) -> None:
        page = api.get("/docs").text

        assert "://" not in page.replace("http://testserver", "")

    def test_the_document_is_openapi_3_1_with_an_example_of_a_connector(self, api: TestClient) -> None:
        document = api.get("/openapi.json").json()

        assert document["openapi"].startswith("3.1")
        body = document["paths"][CONNECTORS]["post"]["requestBody"]["content"]["application/json"]
        assert body["examples"]["postgresql"]["value"]["connector_type"] == "postgresql"

    def test_every_example_can_be_registered(self, api: TestClient) -> None:
        document = api.get("/openapi.json").json()
        body = document["paths"][CONNECTORS]["post"]["requestBody"]["content"]["application/json"]

        for example in body["examples"].values():
            assert api.post(CONNECTORS, json=example["value"]).status_code == 201
