"""Tests of connectors over the API: what is asked for, waited for, answered and cleared away. Dagster is faked."""

import json
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from qanatix_api import connector_tests
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.naming import DRAFT_TAG
from qanatix_pipelines.reports import (
    Check,
    CheckName,
    CheckStatus,
    ConnectorTest,
    ShownEntity,
)
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.opening import Store
from tests.fakes import FakeDagster
from tests.served import served
from tests.system import until
from tests.test_dry_runs_api import COMPARED
from tests.test_pulls_api import API, BODY

UNNAMED = {name: BODY[name] for name in ("connector_type", "connection_config", "query")}


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


def report(*, failed: CheckName | None = None) -> dict[str, Any]:
    """Of a test, as its run answers it."""
    checks = [
        Check(
            name=name,
            status=CheckStatus.FAILED if name is failed else CheckStatus.PASSED,
            detail=f"What is said of {name}.",
        )
        for name in CheckName
    ]
    data = '{"price":12.50,"big":123456789012345678901234567890.5}'
    entity = ShownEntity(id=UUID(int=7), source_id="7", name="Bolt", data=data)
    tested = ConnectorTest(ok=failed is None, checks=checks, columns=[], sample=[entity], rejected=[], warnings=[])
    return {"result": tested.model_dump(mode="json")}


def answering(store: Store, answer: dict[str, Any], taken: list[Any] | None = None) -> Callable[[dict[str, str]], str]:
    """A Dagster whose runs give this answer at once."""

    def look(tags: dict[str, str]) -> str:
        draft_id = UUID(tags[DRAFT_TAG])
        ours = store.of(store.tenants.of_draft(draft_id))
        if taken is not None:
            taken.append(ours.drafts.take(draft_id))
        ours.drafts.answer(draft_id, answer)
        return "run-7"

    return look


def drafts(store: Store) -> int:
    with store.engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(tables.draft)).scalar_one())


def test_an_unsaved_connector_is_tested_by_a_run_that_is_told_a_drafts_id(
    api: TestClient, store: Store, dagster: FakeDagster
) -> None:
    taken: list[Any] = []
    dagster.on_look = answering(store, report(), taken)

    answer = api.post(f"{API}/connectors/test?rows=25", json=BODY)

    assert (answer.status_code, answer.json()["ok"]) == (200, True)
    assert [check["name"] for check in answer.json()["checks"]] == [name.value for name in CheckName]
    assert '"vertical_data":{"price":12.50,"big":123456789012345678901234567890.5}' in answer.text
    (draft,) = taken
    assert (draft.kind, draft.connector_id, draft.asked["rows"]) == ("test", None, 25)
    assert draft.asked["connector"]["connection_config"] == BODY["connection_config"]
    (launch,) = dagster.launches
    tags = {tag["key"]: tag["value"] for tag in launch["execution"]["executionMetadata"]["tags"]}
    assert tags.keys() == {"qanatix/draft", "qanatix/kind", "qanatix/source", "qanatix/tenant", "qanatix/trigger"}
    assert (tags["qanatix/draft"], tags["qanatix/kind"], tags["qanatix/trigger"]) == (str(draft.id), "test", "api")
    assert launch["execution"]["selector"]["pipelineName"] == "test_connector"
    assert "secret" not in json.dumps(launch)
    until(lambda: drafts(store) == 0)
    assert dagster.terminated == []


def test_it_needs_no_name_and_no_entity_set(api: TestClient, store: Store, dagster: FakeDagster) -> None:
    dagster.on_look = answering(store, report())

    answer = api.post(f"{API}/connectors/test", json=UNNAMED)

    assert (answer.status_code, answer.json()["sample"][0]["id"]) == (200, None)
    assert api.post(f"{API}/connectors/test", json=BODY).json()["sample"][0]["id"] == str(UUID(int=7))


def test_a_registered_connector_is_tested_by_its_id(api: TestClient, store: Store, dagster: FakeDagster) -> None:
    connector_id = api.post(f"{API}/connectors", json=BODY).json()["id"]
    taken: list[Any] = []
    dagster.on_look = answering(store, report(failed=CheckName.LOGIN), taken)

    answer = api.post(f"{API}/connectors/{connector_id}/test")

    assert (answer.status_code, answer.json()["ok"]) == (200, False)
    (draft,) = taken
    assert (str(draft.connector_id), draft.asked) == (connector_id, {"rows": 10})


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"query": "DELETE FROM products"}, ["body", "query"]),
        ({"connection_config": {"dsn": "hunter2"}}, ["body", "connection_config", "dsn"]),
        ({"cursor_column": "id"}, ["body", "cursor_column"]),
    ],
)
def test_what_could_not_be_registered_is_refused_before_any_run(
    api: TestClient, dagster: FakeDagster, body: dict[str, Any], where: list[str]
) -> None:
    answer = api.post(f"{API}/connectors/test", json=BODY | body)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, where)
    assert dagster.launches == []


@pytest.mark.parametrize("rows", ["0", "101", "x"])
def test_the_number_of_rows_has_bounds(api: TestClient, rows: str) -> None:
    assert api.post(f"{API}/connectors/test?rows={rows}", json=BODY).status_code == 422


def test_an_unknown_connector_is_not_found(api: TestClient) -> None:
    assert api.post(f"{API}/connectors/{UUID(int=1)}/test").status_code == 404


@pytest.mark.parametrize("scope", sorted(set(Scope) - {Scope.CONNECTORS_WRITE, Scope.ADMIN}))
def test_rows_are_shown_only_to_who_may_write_connectors(client: Callable[..., TestClient], scope: Scope) -> None:
    answers = [
        client(scope).post(f"{API}/connectors/test", json=BODY),
        client(scope).post(f"{API}/connectors/{UUID(int=1)}/test"),
    ]

    assert {answer.status_code for answer in answers} == {403}


@pytest.mark.parametrize(
    ("path", "body", "failed"),
    [
        ("/test", BODY, None),
        ("/{id}/test", None, None),
        ("?test=true", BODY, CheckName.KEY),
        ("/{id}/pull", {"dry_run": True}, None),
    ],
)
def test_an_answer_with_rows_is_kept_nowhere_and_not_given_again(
    api: TestClient, store: Store, dagster: FakeDagster, path: str, body: Any, failed: CheckName | None
) -> None:
    connector_id = api.post(f"{API}/connectors", json=BODY).json()["id"]
    dagster.on_look = answering(
        store, {"result": COMPARED.model_dump(mode="json")} if "pull" in path else report(failed=failed)
    )
    once = {"Idempotency-Key": "once"}

    answers = [api.post(f"{API}/connectors{path.format(id=connector_id)}", json=body, headers=once) for _ in range(2)]

    assert {answer.status_code for answer in answers} == {422 if failed else 200}
    assert [answer.headers["Cache-Control"] for answer in answers] == ["no-store"] * 2
    assert len(dagster.launches) == 2
    with store.engine.connect() as connection:
        kept = connection.execute(sa.select(tables.idempotency.c.answer)).all()
    assert len(kept) == 1  # that of the connector itself
    until(lambda: drafts(store) == 0)


ERRORS = {
    "credentials_unreadable": 424,
    "pull_superseded": 409,
    "store_unavailable": 503,
    "not_found": 404,
    "test_broken": 500,
}


@pytest.mark.parametrize(("code", "status"), ERRORS.items())
def test_what_keeps_the_run_from_testing_is_answered_by_its_code(
    api: TestClient, store: Store, dagster: FakeDagster, code: str, status: int
) -> None:
    dagster.on_look = answering(store, {"error": {"code": code, "detail": "It is so."}})

    answer = api.post(f"{API}/connectors/test", json=BODY)

    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (status, code, "It is so.")
    until(lambda: drafts(store) == 0)


def test_without_dagster_it_is_said_that_it_was_not_started(
    api: TestClient, store: Store, dagster: FakeDagster
) -> None:
    dagster.stop()

    answer = api.post(f"{API}/connectors/test", json=BODY)

    assert (answer.status_code, answer.json()["code"]) == (503, "test_not_started")
    assert answer.headers["Retry-After"]
    until(lambda: drafts(store) == 0)


@pytest.mark.parametrize("status", ["FAILURE", "CANCELED", "SUCCESS"])
def test_a_run_that_ends_without_an_answer_is_lost(
    api: TestClient, store: Store, dagster: FakeDagster, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qanatix_api.looks._RUN_POLL_SECONDS", 0.05)
    dagster.on_look = lambda _tags: "lost"
    dagster.statuses["lost"] = status

    answer = api.post(f"{API}/connectors/test", json=BODY)

    assert (answer.status_code, answer.json()["code"]) == (503, "test_lost")
    until(lambda: drafts(store) == 0)


def test_a_run_that_never_leaves_the_queue_is_told_as_not_started(
    api: TestClient, store: Store, dagster: FakeDagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_tests, "ANSWER_SECONDS", 0.2)
    dagster.on_look = lambda _tags: "waiting"
    dagster.statuses["waiting"] = "QUEUED"

    answer = api.post(f"{API}/connectors/test", json=BODY)

    assert (answer.status_code, answer.json()["code"]) == (503, "test_not_started")
    assert "queue" in answer.json()["detail"]
    assert answer.headers["Retry-After"]
    until(lambda: dagster.terminated == ["waiting"])
    assert drafts(store) == 0


def test_a_run_that_gives_no_answer_in_time_is_lost_and_ended(
    api: TestClient, store: Store, dagster: FakeDagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_tests, "ANSWER_SECONDS", 0.2)
    dagster.on_look = lambda _tags: "endless"
    dagster.statuses["endless"] = "STARTED"

    answer = api.post(f"{API}/connectors/test", json=BODY)

    assert (answer.status_code, answer.json()["code"]) == (503, "test_lost")
    until(lambda: dagster.terminated == ["endless"])
    assert drafts(store) == 0


def test_when_the_caller_goes_the_run_is_ended_and_the_draft_deleted(
    settings: Settings, store: Store, dagster: FakeDagster
) -> None:
    launched = threading.Event()

    def endless(_tags: dict[str, str]) -> str:
        launched.set()
        return "endless"

    dagster.on_look = endless
    dagster.statuses["endless"] = "STARTED"
    given = settings.model_copy(update={"dagster_url": dagster.url})
    with served(given) as running, httpx2.Client(base_url=running.url, headers=running.headers) as caller:
        with pytest.raises(httpx2.ReadTimeout):
            caller.post(f"{API}/connectors/test", json=BODY, timeout=httpx2.Timeout(5, read=0.5))
        assert launched.wait(10)
        until(lambda: dagster.terminated == ["endless"] and drafts(store) == 0)


def test_a_connector_is_created_only_if_it_passes_the_test_that_was_asked_for(
    api: TestClient, store: Store, dagster: FakeDagster
) -> None:
    dagster.on_look = answering(store, report(failed=CheckName.QUERY))
    refused = api.post(f"{API}/connectors?test=true", json=BODY)
    assert (refused.status_code, refused.json()["code"]) == (422, "test_failed")
    assert refused.json()["detail"].endswith("its test failed at query. What is said of query.")
    assert refused.json()["test"]["ok"] is False
    assert api.get(f"{API}/connectors").json() == []

    dagster.on_look = answering(store, report())
    created = api.post(f"{API}/connectors?test=true", json=BODY)

    assert created.status_code == 201
    assert [one["id"] for one in api.get(f"{API}/connectors").json()] == [created.json()["id"]]


def test_without_being_asked_for_there_is_no_test(api: TestClient, dagster: FakeDagster) -> None:
    assert api.post(f"{API}/connectors?test=false", json=BODY).status_code == 201
    assert dagster.launches == []


WATCH = {"cursor_column": "updated_at"}
SINCE = {"query": "SELECT * FROM products WHERE updated_at > :last_pull"}
ADVISED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["no_last_pull"]),
    (SINCE, []),
    (SINCE | {"watch": WATCH}, ["watch_is_cheaper"]),
    (SINCE | {"watch": {"query": "SELECT max(updated_at) FROM products"}}, []),
    (SINCE | {"schedule": {"cron": "*/5 * * * *"}}, ["watch_is_cheaper"]),
    (SINCE | {"schedule": {"cron": "0 * * * *"}}, []),
    (SINCE | {"schedule": {"cron": "*/5 * * * *"}, "watch": {"query": "SELECT 1"}}, []),
]


@pytest.mark.parametrize(("fields", "codes"), ADVISED)
def test_create_and_patch_warn_of_what_needs_no_connection(
    api: TestClient, fields: dict[str, Any], codes: list[str]
) -> None:
    created = api.post(f"{API}/connectors", json=BODY | fields).json()
    plain = api.post(f"{API}/connectors", json=BODY | {"entity_type": "other"}).json()

    changed = api.patch(f"{API}/connectors/{plain['id']}", json=fields).json()

    assert [one["code"] for one in created["warnings"]] == codes
    assert [one["code"] for one in changed["warnings"]] == codes


def test_who_fills_the_same_set_with_the_same_key_is_told(api: TestClient, store: Store, dagster: FakeDagster) -> None:
    dagster.on_look = answering(store, report())
    api.post(f"{API}/connectors", json=BODY | {"name": "First"})
    api.post(f"{API}/connectors", json=BODY | {"name": "Its own key", "id_column": "sku"})

    answers = [
        api.post(f"{API}/connectors/test", json=BODY),
        api.post(f"{API}/connectors", json=BODY),
        api.post(f"{API}/connectors/test", json=UNNAMED),
    ]

    told = [[one for one in answer.json()["warnings"] if one["code"] == "same_set"] for answer in answers]
    assert [len(one) for one in told] == [1, 1, 0]
    assert "with the same key: 'First'." in told[0][0]["detail"]


@pytest.mark.parametrize(
    ("again", "told"),
    [
        ({}, 0),
        ({"key": "mine", "query": "SELECT 1 AS id"}, 0),
        ({"name": "Other"}, 1),
        ({"query": "SELECT 1 AS id"}, 1),
    ],
    ids=["the same file", "the same key", "another name", "another query"],
)
def test_a_connector_that_was_registered_is_no_rival_of_itself(
    api: TestClient, store: Store, dagster: FakeDagster, again: dict[str, Any], told: int
) -> None:
    dagster.on_look = answering(store, report())
    api.post(f"{API}/connectors", json=BODY | {"key": "mine"})

    answer = api.post(f"{API}/connectors/test", json=BODY | again)

    assert [one["code"] for one in answer.json()["warnings"]].count("same_set") == told


WARNED_OF = {"no_last_pull": "last_pull", "no_key": "key", "no_name": "name"}


@pytest.mark.parametrize(("code", "name"), WARNED_OF.items())
@pytest.mark.parametrize("warned", [True, False])
def test_what_a_check_warns_of_is_not_told_twice(
    api: TestClient, store: Store, dagster: FakeDagster, code: str, name: str, *, warned: bool
) -> None:
    """Where a check before it has failed, the warning stays."""
    answer = report()
    answer["result"]["warnings"] = [{"code": code, "detail": "It is so."}, {"code": "watch_is_cheaper", "detail": ""}]
    for check in answer["result"]["checks"]:
        check["status"] = "warned" if check["name"] == name and warned else "skipped"
    dagster.on_look = answering(store, answer)

    told = [one["code"] for one in api.post(f"{API}/connectors/test", json=UNNAMED).json()["warnings"]]

    assert told == ([] if warned else [code]) + ["watch_is_cheaper"]


def test_a_connector_that_is_registered_after_its_test_is_told_what_only_that_could_find(
    api: TestClient, store: Store, dagster: FakeDagster
) -> None:
    answer = report()
    answer["result"]["warnings"] = [{"code": code, "detail": "It is so."} for code in WARNED_OF]
    dagster.on_look = answering(store, answer)

    created = api.post(f"{API}/connectors?test=true", json=BODY).json()

    assert sorted(one["code"] for one in created["warnings"]) == ["no_key", "no_last_pull", "no_name"]
