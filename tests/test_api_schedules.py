"""Schedules, watches and pauses over HTTP."""

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from qanatix_pipelines.errors import LoginRefused
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store
from tests.conftest import PEPPER

CONNECTORS = "/api/v1/connectors"
PASSWORD = "hunter2-of-the-source"
POSTGRESQL: dict[str, Any] = {
    "name": "Production products",
    "connector_type": "postgresql",
    "vertical": "manufacturing",
    "entity_type": "product",
    "connection_config": {"dsn": f"postgresql://reader:{PASSWORD}@db.internal:5432/shop"},
    "query": "SELECT * FROM products WHERE updated_at > :last_pull",
}
MONGODB = POSTGRESQL | {
    "connector_type": "mongodb",
    "connection_config": {"uri": "mongodb://reader:pw@db.internal", "database": "shop", "collection": "orders"},
    "query": '{"updated_at": {"$gt": ":last_pull"}}',
}
NEO4J = POSTGRESQL | {
    "connector_type": "neo4j",
    "connection_config": {"uri": "bolt+s://db.internal", "user": "u", "password": "pw", "database": "neo4j"},
    "query": "MATCH (p:Part) WHERE p.updated_at > $last_pull RETURN p.id AS id, p.name AS name",
}


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


def registered(api: TestClient, body: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    response = api.post(CONNECTORS, json=(body or POSTGRESQL) | fields)
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refused(api: TestClient, body: dict[str, Any] | None = None, **fields: Any) -> tuple[list[str], str]:
    """Where a registration is wrong, and why."""
    response = api.post(CONNECTORS, json=(body or POSTGRESQL) | fields)
    assert response.status_code == 422, response.text
    (problem,) = response.json()["detail"]
    return problem["loc"], problem["msg"]


class TestSchedules:
    def test_a_schedule_is_answered_in_its_normal_form_with_when_it_is_due(self, api: TestClient) -> None:
        made = registered(api, schedule={"cron": " 0  6 * * mon ", "timezone": "Europe/Berlin"})

        assert made["schedule"] == {"cron": "0 6 * * MON", "timezone": "Europe/Berlin"}
        due = datetime.fromisoformat(made["next_due_at"])
        assert datetime.now(UTC) < due <= datetime.now(UTC) + timedelta(days=7)
        assert (due.hour, due.weekday()) in ((4, 0), (5, 0))
        assert api.get(f"{CONNECTORS}/{made['id']}").json() | {"warnings": []} == made

    @pytest.mark.parametrize("change", [False, True])
    def test_a_text_is_a_schedule_in_utc(self, api: TestClient, *, change: bool) -> None:
        if change:
            made = api.patch(
                f"{CONNECTORS}/{registered(api)['id']}", json={"schedule": " */15 6-18  * * mon-fri"}
            ).json()
        else:
            made = registered(api, schedule=" */15 6-18  * * mon-fri")

        assert made["schedule"] == {"cron": "*/15 6-18 * * MON-FRI", "timezone": "UTC"}
        assert made["next_due_at"] is not None

    @pytest.mark.parametrize("text", ["", "* * * *", "@daily", "61 * * * *", "0 0 31 2 *", "* " * 200])
    def test_a_text_that_is_no_schedule_is_refused(self, api: TestClient, text: str) -> None:
        assert refused(api, schedule=text)[0] == ["body", "schedule"]

    def test_without_one_it_is_pulled_on_demand(self, api: TestClient) -> None:
        made = registered(api)
        assert (made["schedule"], made["next_due_at"], made["watch"], made["paused"]) == (None, None, None, False)

    @pytest.mark.parametrize(
        ("schedule", "where"),
        [
            ({"cron": "61 * * * *"}, ["body", "schedule", "cron"]),
            ({"cron": "0 0 31 2 *"}, ["body", "schedule", "cron"]),
            ({"cron": "* * * * *", "timezone": PASSWORD}, ["body", "schedule", "timezone"]),
            ({"timezone": "UTC"}, ["body", "schedule", "cron"]),
            ({"cron": "* * * * *", "seconds": 1}, ["body", "schedule", "seconds"]),
            ("*/5 * * *", ["body", "schedule"]),
        ],
    )
    def test_a_wrong_schedule_is_refused_by_its_field(self, api: TestClient, schedule: Any, where: list[str]) -> None:
        changing = api.patch(f"{CONNECTORS}/{registered(api)['id']}", json={"schedule": schedule})

        loc, message = refused(api, schedule=schedule)
        assert loc == where
        assert PASSWORD not in message
        assert (changing.status_code, changing.json()["detail"][0]["loc"]) == (422, where)

    def test_a_schedule_is_changed_and_ended_live(self, api: TestClient) -> None:
        path = f"{CONNECTORS}/{registered(api)['id']}"

        given = api.patch(path, json={"schedule": {"cron": "*/5 * * * *"}}).json()
        kept = api.patch(path, json={"name": "Other"}).json()
        ended = api.patch(path, json={"schedule": None}).json()

        assert given["schedule"] == kept["schedule"] == {"cron": "*/5 * * * *", "timezone": "UTC"}
        due = datetime.fromisoformat(given["next_due_at"])
        assert due - datetime.now(UTC) <= timedelta(minutes=5)
        assert (ended["schedule"], ended["next_due_at"]) == (None, None)


class TestWatches:
    def test_a_watch_is_answered_with_its_defaults(self, api: TestClient) -> None:
        made = registered(api, watch={"cursor_column": "updated_at"})

        assert made["watch"] == {"query": None, "cursor_column": "updated_at", "every_seconds": 60}
        assert (made["watched_at"], made["watch_failures"], made["watch_error"]) == (None, 0, None)

    @pytest.mark.parametrize(
        ("watch", "where"),
        [
            ({}, ["body", "watch"]),
            ({"query": "SELECT 1", "cursor_column": "id"}, ["body", "watch"]),
            ({"query": "SELECT 1", "every_seconds": 29}, ["body", "watch", "every_seconds"]),
            ({"query": "SELECT 1", "every_seconds": 86_401}, ["body", "watch", "every_seconds"]),
            ({"query": "SELECT 1; SELECT 2"}, ["body", "watch", "query"]),
            ({"query": "SELECT max(at) FROM t WHERE at > :last_pull"}, ["body", "watch", "query"]),
        ],
    )
    def test_a_wrong_watch_is_refused_by_its_field(
        self, api: TestClient, watch: dict[str, Any], where: list[str]
    ) -> None:
        changing = api.patch(f"{CONNECTORS}/{registered(api)['id']}", json={"watch": watch})

        assert refused(api, watch=watch)[0] == where
        assert (changing.status_code, changing.json()["detail"][0]["loc"]) == (422, where)

    def test_a_watchs_query_keeps_the_rules_of_its_type(self, api: TestClient) -> None:
        loc, message = refused(api, MONGODB, watch={"query": '{"$where": "sleep(1)"}'})
        assert (loc, message) == (
            ["body", "watch", "query"],
            "The query's $where is not an operator that a pull may use.",
        )

    def test_a_column_of_mongodbs_is_no_operator(self, api: TestClient) -> None:
        assert refused(api, MONGODB, watch={"cursor_column": "$where"})[0] == ["body", "watch", "cursor_column"]

    def test_neo4j_is_watched_by_a_query_only(self, api: TestClient) -> None:
        loc, message = refused(api, NEO4J, watch={"cursor_column": "updated_at"})

        assert loc == ["body", "watch", "cursor_column"]
        assert message.startswith("is not possible with Neo4j: give a query instead")
        assert registered(api, NEO4J, watch={"query": "MATCH (p:Part) RETURN max(p.updated_at)"})["watch"]

    def test_a_failure_is_told_as_a_code_and_a_sentence(self, api: TestClient, store: Store) -> None:
        made = registered(api, watch={"query": "SELECT 1"})
        (look,) = store.watches.due(datetime.now(UTC), 10)
        store.watches.fail(look, LoginRefused("The source refused the login."), datetime.now(UTC))

        shown = api.get(f"{CONNECTORS}/{made['id']}").json()

        assert shown["watch_failures"] == 1
        assert shown["watch_error"] == {"code": "login_refused", "detail": "The source refused the login."}


class TestPausing:
    def test_a_paused_connector_is_not_due_and_resumed_from_now_on(self, api: TestClient) -> None:
        path = f"{CONNECTORS}/{registered(api, schedule={'cron': '*/5 * * * *'})['id']}"

        paused, resumed = api.post(f"{path}/pause"), api.post(f"{path}/resume")

        assert (paused.status_code, resumed.status_code) == (200, 200)
        assert (paused.json()["paused"], paused.json()["next_due_at"]) == (True, None)
        assert resumed.json()["paused"] is False
        assert datetime.fromisoformat(resumed.json()["next_due_at"]) > datetime.now(UTC) - timedelta(minutes=1)

    def test_twice_is_as_once(self, api: TestClient) -> None:
        path = f"{CONNECTORS}/{registered(api, schedule={'cron': '0 0 1 1 *'})['id']}"

        answers = [api.post(f"{path}/{verb}").json() for verb in ("resume", "pause", "pause")]

        assert [answer["paused"] for answer in answers] == [False, True, True]

    def test_a_pull_that_is_asked_for_is_done(self, api: TestClient) -> None:
        path = f"{CONNECTORS}/{registered(api)['id']}"
        api.post(f"{path}/pause")

        assert api.post(f"{path}/pull").json()["status"] == "completed"

    @pytest.mark.parametrize("verb", ["pause", "resume"])
    def test_it_needs_a_connector_that_is_there_and_the_scope(self, api: TestClient, store: Store, verb: str) -> None:
        keys = KeyStore(store.engine, PEPPER.encode())
        puller = keys.create("puller", frozenset({Scope.PULLS_RUN, Scope.CONNECTORS_READ})).text
        path = f"{CONNECTORS}/{registered(api)['id']}/{verb}"

        assert api.post(path, headers={"Authorization": f"Bearer {puller}"}).status_code == 403
        assert api.post(f"{CONNECTORS}/{uuid4()}/{verb}").status_code == 404

    def test_it_is_told_in_the_audit_trail(self, api: TestClient, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        made = registered(api)
        for verb in ("pause", "resume"):
            api.post(f"{CONNECTORS}/{made['id']}/{verb}")

        lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "qanatix.audit"]
        assert [(line["action"], line["id"]) for line in lines] == [
            ("connector.created", made["id"]),
            ("connector.paused", made["id"]),
            ("connector.resumed", made["id"]),
        ]

    def test_it_is_changed_by_these_two_only(self, api: TestClient) -> None:
        path = f"{CONNECTORS}/{registered(api)['id']}"
        assert api.patch(path, json={"paused": True}).status_code == 422


class TestRedactedCredentials:
    def test_sent_back_as_it_was_shown_it_is_unchanged(self, api: TestClient, store: Store) -> None:
        made = registered(api)

        answer = api.patch(
            f"{CONNECTORS}/{made['id']}", json={"connection_config": made["connection_config"], "name": "Other"}
        )

        assert (answer.status_code, answer.json()["name"]) == (200, "Other")
        kept = store.connectors.get(UUID(made["id"]))
        assert kept.generation == 1
        assert store.connectors.connection_config(kept) == POSTGRESQL["connection_config"]

    @pytest.mark.parametrize(
        "config",
        [
            {"dsn": "***REDACTED***"},
            {"dsn": "postgresql://reader:***REDACTED***@db.internal:5432/shop"},
            {"dsn": {"url": "***REDACTED***"}},
            {"dsn": ["***REDACTED***"]},
            {"connection_config": "***REDACTED***"},
        ],
    )
    def test_within_it_it_is_refused_and_nothing_changed(
        self, api: TestClient, store: Store, config: dict[str, Any]
    ) -> None:
        made = registered(api)

        answer = api.patch(f"{CONNECTORS}/{made['id']}", json={"connection_config": config})

        assert answer.status_code == 422
        kept = store.connectors.get(UUID(made["id"]))
        assert (kept.generation, store.connectors.connection_config(kept)) == (1, POSTGRESQL["connection_config"])

    @pytest.mark.parametrize("config", ["***REDACTED*** ", "REDACTED", "", "***"])
    def test_what_is_nearly_it_is_no_configuration(self, api: TestClient, config: str) -> None:
        path = f"{CONNECTORS}/{registered(api)['id']}"
        assert api.patch(path, json={"connection_config": config}).status_code == 422

    def test_a_new_connector_cannot_be_registered_with_it(self, api: TestClient) -> None:
        body = POSTGRESQL | {"connection_config": "***REDACTED***"}
        assert api.post(CONNECTORS, json=body).status_code == 422
