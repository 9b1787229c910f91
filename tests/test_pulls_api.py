"""Pulls over the API: their history, how one is waited for, and cancelled. Dagster is faked at its socket."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from qanatix_pipelines.errors import PullCancelled, SourceUnreachable
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.naming import PULL_TAG
from qanatix_pipelines.receipts import PullStatus
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tenants import Tenant
from tests.conftest import PEPPER
from tests.fakes import FakeDagster
from tests.test_repeated_keys import pulled

API = "/api/v1"
BODY: dict[str, Any] = {
    "name": "Products",
    "connector_type": "postgresql",
    "vertical": "manufacturing",
    "entity_type": "product",
    "connection_config": {"dsn": "postgresql://reader:secret@db.internal:5432/shop"},
    "query": "SELECT * FROM products",
}


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def connector(api: TestClient) -> str:
    made: str = api.post(f"{API}/connectors", json=BODY).json()["id"]
    return made


@pytest.fixture
def endless(dagster: FakeDagster) -> FakeDagster:
    """A Dagster in which runs start and do not end."""
    dagster.on_launch = lambda _tags: "endless"
    dagster.statuses["endless"] = "STARTED"
    return dagster


def pull(api: TestClient, connector: str, query: str = "", **headers: str) -> Any:
    return api.post(f"{API}/connectors/{connector}/pull{query}", headers=headers)


class TestHistory:
    def test_a_receipt_tells_all_of_its_pull(self, api: TestClient, connector: str) -> None:
        answer = pull(api, connector).json()

        receipt = api.get(f"{API}/pulls/{answer['pull_id']}").json()

        times = [datetime.fromisoformat(receipt.pop(name)) for name in ("created_at", "started_at", "ended_at")]
        assert times == sorted(times)
        assert receipt["progress"].pop("records_per_second") > 0
        assert receipt == answer | {
            "connector_id": connector,
            "trigger": "api",
            "attempts": 1,
            "full_refresh": False,
            "since": None,
            "until": None,
            "limit": None,
            "error": None,
            "progress": {
                "phase": None,
                "records_read": 3,
                "bytes_read": 120,
                "merging_seconds": None,
                "heartbeat_at": None,
            },
        }

    def test_a_failed_pulls_receipt_has_the_error_that_was_answered(
        self, api: TestClient, connector: str, dagster: FakeDagster, store: Store
    ) -> None:
        def fail(tags: dict[str, str]) -> str:
            error = SourceUnreachable("The source could not be reached.")
            store.pulls.end(store.pulls.get(UUID(tags[PULL_TAG])), error)
            return "run"

        dagster.on_launch = fail
        answer = pull(api, connector).json()

        receipt = api.get(f"{API}/pulls/{answer['pull_id']}").json()

        assert receipt["status"] == "failed"
        assert receipt["error"] == {"code": answer["code"], "detail": answer["detail"]}
        assert receipt["error"] == {"code": "source_unreachable", "detail": "The source could not be reached."}

    def test_the_history_is_the_receipts_newest_first(self, api: TestClient, connector: str) -> None:
        pulled = [pull(api, connector).json()["pull_id"] for _ in range(3)]

        page = api.get(f"{API}/connectors/{connector}/pulls").json()

        assert [item["pull_id"] for item in page["items"]] == pulled[::-1]
        assert page["items"][0] == api.get(f"{API}/pulls/{pulled[-1]}").json()
        assert (page["cursor"], page["has_more"]) == (None, False)

    def test_pages_hold_every_pull_once_though_they_began_at_one_instant(
        self, api: TestClient, connector: str, store: Store
    ) -> None:
        pulled = {pull(api, connector).json()["pull_id"] for _ in range(7)}
        with store.engine.begin() as transaction:
            transaction.execute(tables.pull.update().values(created_at=datetime(2026, 1, 1, tzinfo=UTC)))

        pages = list(_pages(api, connector, "limit=3"))

        assert [len(page) for page in pages] == [3, 3, 1]
        shown = [item["pull_id"] for page in pages for item in page]
        assert (len(shown), set(shown)) == (7, pulled)

    def test_a_pull_that_begins_meanwhile_moves_no_page(self, api: TestClient, connector: str) -> None:
        pulled = [pull(api, connector).json()["pull_id"] for _ in range(4)]
        pages = _pages(api, connector, "limit=2")
        first = next(pages)
        pull(api, connector)

        shown = [item["pull_id"] for page in (first, *pages) for item in page]

        assert shown == pulled[::-1]

    def test_a_status_is_filtered_by_on_every_page(self, api: TestClient, connector: str, store: Store) -> None:
        for number in range(6):
            answer = pull(api, connector).json()
            if number % 2:
                _end_as(store, answer["pull_id"], "failed")

        pages = list(_pages(api, connector, "status=failed&limit=2"))

        assert [[item["status"] for item in page] for page in pages] == [["failed", "failed"], ["failed"]]

    def test_another_connectors_pulls_are_not_shown(self, api: TestClient, connector: str) -> None:
        other = api.post(f"{API}/connectors", json=BODY | {"name": "Others"}).json()["id"]
        pull(api, other)

        assert api.get(f"{API}/connectors/{connector}/pulls").json()["items"] == []

    @pytest.mark.parametrize(
        ("query", "where"),
        [
            ("cursor=nonsense", "cursor"),
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("status=done", "status"),
            ("stauts=failed", "stauts"),
        ],
    )
    def test_a_wrong_parameter_is_named(self, api: TestClient, connector: str, query: str, where: str) -> None:
        response = api.get(f"{API}/connectors/{connector}/pulls?{query}")

        assert response.status_code == 422
        assert [problem["loc"] for problem in response.json()["detail"]] == [["query", where]]

    @pytest.mark.parametrize("unknown", [str(UUID(int=1)), "nonsense"])
    def test_what_is_not_there_is_not_found(self, api: TestClient, unknown: str) -> None:
        answers = [
            api.get(f"{API}/connectors/{unknown}/pulls"),
            api.get(f"{API}/pulls/{unknown}"),
            api.post(f"{API}/pulls/{unknown}/cancel"),
        ]

        assert [(answer.status_code, answer.json()["detail"]) for answer in answers] == [
            (404, "There is no such connector."),
            (404, "There is no such pull."),
            (404, "There is no such pull."),
        ]

    def test_a_receipt_outlives_its_connector(self, api: TestClient, connector: str) -> None:
        pull_id = pull(api, connector).json()["pull_id"]
        api.delete(f"{API}/connectors/{connector}")

        assert api.get(f"{API}/pulls/{pull_id}").json()["status"] == "completed"
        assert api.get(f"{API}/connectors/{connector}/pulls").status_code == 404

    def test_another_tenants_are_not_found(
        self, api: TestClient, connector: str, store: Store, endless: FakeDagster
    ) -> None:
        pull_id = pull(api, connector, "?wait=false").json()["pull_id"]
        theirs = KeyStore(store.engine, PEPPER.encode()).of(Tenant("acme")).create("theirs", frozenset(Scope)).text
        headers = {"Authorization": f"Bearer {theirs}"}

        answers = [
            api.get(f"{API}/connectors/{connector}/pulls", headers=headers),
            api.get(f"{API}/pulls/{pull_id}", headers=headers),
            api.post(f"{API}/pulls/{pull_id}/cancel", headers=headers),
        ]

        assert [answer.status_code for answer in answers] == [404] * 3
        assert (store.pulls.get(UUID(pull_id)).status, endless.terminated) == (PullStatus.QUEUED, [])

    def test_the_scopes_are_those_of_connectors_and_of_pulling(
        self, api: TestClient, connector: str, store: Store
    ) -> None:
        pull_id = pull(api, connector).json()["pull_id"]
        keys = KeyStore(store.engine, PEPPER.encode())
        reader, puller = (
            {"Authorization": f"Bearer {keys.create('key', frozenset({scope})).text}"}
            for scope in (Scope.CONNECTORS_READ, Scope.PULLS_RUN)
        )
        paths = (f"connectors/{connector}/pulls", f"pulls/{pull_id}")

        assert [api.get(f"{API}/{path}", headers=reader).status_code for path in paths] == [200, 200]
        assert [api.get(f"{API}/{path}", headers=puller).status_code for path in paths] == [403, 403]
        assert api.post(f"{API}/pulls/{pull_id}/cancel", headers=reader).status_code == 403
        assert api.post(f"{API}/pulls/{pull_id}/cancel", headers=puller).status_code == 409


class TestKeysInWarnings:
    """A key is data: pulling alone does not show it."""

    @pytest.mark.parametrize("query", ["", "?wait=false"])
    def test_who_pulls_is_told_them_if_he_may_read_entities(
        self, api: TestClient, connector: str, store: Store, dagster: FakeDagster, query: str
    ) -> None:
        def repeating(tags: dict[str, str]) -> str:
            given = store.connectors.get(UUID(connector))
            pulled(
                store,
                given,
                [("row-key", "a"), ("row-key", "b")],
                receipt=store.pulls.claim(UUID(tags[PULL_TAG]), given, "run"),
            )
            return "run"

        dagster.on_launch = repeating
        keys = KeyStore(store.engine, PEPPER.encode())
        puller, reader = (
            {"Authorization": f"Bearer {keys.create('key', scopes).text}"}
            for scopes in (frozenset({Scope.PULLS_RUN}), frozenset({Scope.PULLS_RUN, Scope.ENTITIES_READ}))
        )

        answers = [pull(api, connector, query, **headers) for headers in (puller, reader)]

        assert [answer.json()["keys_repeated"] for answer in answers] == [1, 1]
        assert [answer.json()["warnings"][0]["keys"] for answer in answers] == [[], ["row-key"]]
        assert "row-key" not in answers[0].text


class TestLastPull:
    def test_a_connector_says_why_its_last_pull_failed(
        self, api: TestClient, connector: str, dagster: FakeDagster
    ) -> None:
        dagster.raw = b"<html>log in</html>"
        failed = pull(api, connector).json()

        shown = api.get(f"{API}/connectors/{connector}").json()

        assert (shown["last_pull_status"], shown["last_pull_id"]) == ("failed", failed["pull_id"])
        assert shown["last_pull_error"] == {"code": "pull_not_started", "detail": failed["detail"]}
        assert api.get(f"{API}/connectors").json() == [shown]

    def test_once_a_pull_has_completed_it_says_so_no_more(
        self, api: TestClient, connector: str, dagster: FakeDagster
    ) -> None:
        dagster.raw = b"<html>log in</html>"
        pull(api, connector)
        dagster.raw = None
        pull(api, connector)

        shown = api.get(f"{API}/connectors/{connector}").json()

        assert (shown["last_pull_status"], shown["last_pull_error"]) == ("completed", None)


class TestWaiting:
    @pytest.mark.parametrize(
        ("query", "headers", "applied"),
        [
            ("?wait=false", {}, None),
            ("?wait=False", {}, None),  # as Python's clients write it
            ("", {"Prefer": "respond-async"}, "respond-async"),
            ("?wait=true", {"Prefer": "Respond-Async; x=y"}, "respond-async"),
            ("?wait=false", {"Prefer": "respond-async, wait=100"}, "respond-async"),
            ("", {"Prefer": 'return=minimal, wait="1"'}, "wait=1"),
            ("", {"Prefer": "wait=1, respond-async, wait=100"}, "respond-async, wait=1"),
        ],
    )
    def test_a_pull_that_is_not_waited_for_is_accepted(
        self,
        api: TestClient,
        connector: str,
        endless: FakeDagster,  # noqa: ARG002
        query: str,
        headers: dict[str, str],
        applied: str | None,
    ) -> None:
        response = pull(api, connector, query, **headers)

        assert response.status_code == 202
        receipt = response.json()
        assert response.headers["Location"] == f"/api/v1/pulls/{receipt['pull_id']}"
        assert response.headers["Retry-After"].isdecimal()
        assert response.headers.get("Preference-Applied") == applied
        assert api.get(response.headers["Location"]).json() == receipt
        assert (receipt["status"], receipt["run_id"]) == ("queued", "endless")

    def test_one_that_ends_in_the_time_that_is_waited_is_answered_as_ever(
        self, api: TestClient, connector: str
    ) -> None:
        response = pull(api, connector, Prefer="respond-async, wait=20")

        assert (response.status_code, response.json()["status"]) == (200, "completed")
        assert response.headers["Preference-Applied"] == "wait=20"

    @pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "wait", "wait=1.5", "respond-async=no", "", "x" * 5000])
    def test_a_preference_that_cannot_be_read_is_none(self, api: TestClient, connector: str, prefer: str) -> None:
        response = pull(api, connector, Prefer=prefer)

        assert (response.status_code, "Preference-Applied" in response.headers) == (200, False)

    def test_a_wait_longer_than_the_apis_own_is_not_said_to_be_kept_to(
        self,
        api: TestClient,
        connector: str,
        endless: FakeDagster,  # noqa: ARG002
    ) -> None:
        services = api.app.state.services  # type: ignore[attr-defined]
        object.__setattr__(services, "settings", services.settings.model_copy(update={"pull_wait_seconds": 0.2}))

        response = pull(api, connector, Prefer="wait=1000")

        assert (response.status_code, "Preference-Applied" in response.headers) == (202, False)

    def test_a_pull_in_progress_is_joined(self, api: TestClient, connector: str, endless: FakeDagster) -> None:
        first, second = (pull(api, connector, "?wait=false") for _ in range(2))

        assert (second.status_code, second.json()["pull_id"]) == (202, first.json()["pull_id"])
        assert len(endless.launches) == 1

    def test_a_dagster_that_does_not_answer_is_not_waited_for_either(
        self, api: TestClient, connector: str, dagster: FakeDagster, store: Store
    ) -> None:
        complete, answered = dagster.on_launch, threading.Event()

        def late(tags: dict[str, str]) -> str:
            answered.wait(60)
            return complete(tags)

        dagster.on_launch = late

        answers = []
        asking = threading.Thread(target=lambda: answers.append(pull(api, connector, Prefer="wait=1")))
        asking.start()
        while not (live := store.pulls.live(UUID(connector))):
            time.sleep(0.01)
        time.sleep(1.5)  # the client is kept by what is done after the answer
        answered.set()
        asking.join()

        assert (answers[0].status_code, answers[0].json()["status"]) == (202, "queued")
        assert store.pulls.get(live.id).status is PullStatus.COMPLETED

    @pytest.mark.parametrize("query", ["", "?wait=false"])
    def test_where_dagster_is_away_the_answer_has_the_code_and_the_pull(
        self, api: TestClient, connector: str, dagster: FakeDagster, store: Store, query: str
    ) -> None:
        dagster.stop()

        response = pull(api, connector, query)

        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        answer = response.json()
        assert (answer["code"], answer["pull_status"], answer["run_id"]) == ("pull_not_started", "failed", None)
        kept = store.pulls.get(UUID(answer["pull_id"]))
        assert (kept.error_code, kept.error_detail) == (answer["code"], answer["detail"])

    @pytest.mark.parametrize("wait", ["no", "0", "FALSE", ""])
    def test_wait_is_true_or_false(self, api: TestClient, connector: str, dagster: FakeDagster, wait: str) -> None:
        response = pull(api, connector, f"?wait={wait}")

        assert (response.status_code, dagster.launches) == (422, [])


class TestCancelling:
    def test_a_pull_is_cancelled_with_its_run(
        self, api: TestClient, connector: str, endless: FakeDagster, store: Store
    ) -> None:
        pull_id = pull(api, connector, "?wait=false").json()["pull_id"]
        answer = endless.answer

        def ending(document: str, variables: dict[str, Any]) -> dict[str, Any]:
            told = answer(document, variables)
            endless.statuses.update(dict.fromkeys(endless.terminated, "CANCELED"))
            return told

        endless.answer = ending  # type: ignore[method-assign]

        response = api.post(f"{API}/pulls/{pull_id}/cancel")

        assert (response.status_code, endless.terminated) == (200, ["endless"])
        receipt = response.json()
        assert (receipt["status"], receipt["error"]["code"]) == ("cancelled", "pull_cancelled")
        assert receipt == api.get(f"{API}/pulls/{pull_id}").json()
        assert store.pulls.live(UUID(connector)) is None

    def test_a_run_that_does_not_end_is_accepted_to_be_ending_and_the_pull_is_over(
        self, api: TestClient, connector: str, endless: FakeDagster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("qanatix_api.dagster.CANCEL_SECONDS", 0.5)
        pull_id = pull(api, connector, "?wait=false").json()["pull_id"]
        endless.statuses["endless"] = "CANCELING"

        response = api.post(f"{API}/pulls/{pull_id}/cancel")

        assert (response.status_code, response.json()["status"]) == (202, "cancelled")
        assert response.headers["Location"] == f"/api/v1/pulls/{pull_id}"

    def test_a_run_that_was_just_starting_is_terminated_once_it_can_be(
        self, api: TestClient, connector: str, endless: FakeDagster
    ) -> None:
        pull_id = pull(api, connector, "?wait=false").json()["pull_id"]
        answer, statuses = endless.answer, iter(["STARTING", "STARTED", "CANCELED"])

        def starting(document: str, variables: dict[str, Any]) -> dict[str, Any]:
            if "status" in document:
                endless.statuses["endless"] = next(statuses)
            return answer(document, variables)

        endless.answer = starting  # type: ignore[method-assign]

        assert api.post(f"{API}/pulls/{pull_id}/cancel").status_code == 200
        assert endless.terminated == ["endless", "endless"]

    def test_to_cancel_twice_is_to_cancel_once(
        self, api: TestClient, connector: str, endless: FakeDagster, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        pull_id = pull(api, connector, "?wait=false").json()["pull_id"]
        endless.statuses["endless"] = "CANCELED"

        first, second = (api.post(f"{API}/pulls/{pull_id}/cancel") for _ in range(2))

        assert (first.status_code, second.status_code) == (200, 200)
        assert first.json() == second.json()
        told = [json.loads(record.getMessage()) for record in caplog.records if record.name == "qanatix.audit"]
        assert [(line["action"], line["id"], line["pull_id"]) for line in told if "cancel" in line["action"]] == [
            ("pull.cancelled", pull_id, pull_id)
        ]
        assert store.pulls.get(UUID(pull_id)).error_code == PullCancelled.code

    @pytest.mark.parametrize("status", ["completed", "failed"])
    def test_a_pull_that_has_ended_is_not_cancelled(
        self, api: TestClient, connector: str, store: Store, status: str, dagster: FakeDagster
    ) -> None:
        answer = pull(api, connector).json()
        _end_as(store, answer["pull_id"], status)

        response = api.post(f"{API}/pulls/{answer['pull_id']}/cancel")

        assert response.status_code == 409
        assert response.json() == {
            "type": "urn:qanatix:error:pull_finished",
            "title": "Pull finished",
            "status": 409,
            "detail": f"The pull has {status} already: there is nothing to cancel.",
            "code": "pull_finished",
            "pull_id": answer["pull_id"],
            "run_id": answer["run_id"],
            "request_id": response.headers["X-Request-Id"],
        }
        assert dagster.terminated == []

    def test_a_pull_that_has_no_run_yet_is_cancelled(self, api: TestClient, connector: str, store: Store) -> None:
        queued, _ = store.pulls.queue(UUID(connector))

        response = api.post(f"{API}/pulls/{queued.id}/cancel")

        assert (response.status_code, response.json()["status"], response.json()["run_id"]) == (200, "cancelled", None)

    def test_a_run_that_is_launched_while_its_pull_is_cancelled_is_stopped(
        self, api: TestClient, connector: str, dagster: FakeDagster, store: Store
    ) -> None:
        def cancelled_meanwhile(tags: dict[str, str]) -> str:
            store.pulls.cancel(UUID(tags[PULL_TAG]))
            return "late"

        dagster.on_launch = cancelled_meanwhile

        response = pull(api, connector)

        assert (response.status_code, response.json()["code"]) == (409, "pull_cancelled")
        assert dagster.terminated == ["late"]

    def test_without_dagster_the_pull_is_over_all_the_same(
        self, api: TestClient, connector: str, endless: FakeDagster, store: Store
    ) -> None:
        pull_id = pull(api, connector, "?wait=false").json()["pull_id"]
        endless.stop()

        response = api.post(f"{API}/pulls/{pull_id}/cancel")

        assert (response.status_code, response.json()["status"]) == (202, "cancelled")
        assert store.pulls.live(UUID(connector)) is None

    def test_a_connectors_next_pull_is_free(
        self, api: TestClient, connector: str, dagster: FakeDagster, store: Store
    ) -> None:
        queued, _ = store.pulls.queue(UUID(connector))
        api.post(f"{API}/pulls/{queued.id}/cancel")

        assert pull(api, connector).status_code == 200
        assert len(dagster.launches) == 1


class TestUnknownParameters:
    @pytest.mark.parametrize(
        ("method", "path", "takes"),
        [
            ("GET", "/entities", "limit, cursor, vertical, entity_type, collection, record_type"),
            ("GET", "/auth/keys", "none"),
            ("POST", "/connectors", "test"),
            ("POST", "/connectors/{connector}/pull", "wait"),
            ("PATCH", "/connectors/{connector}", "none"),
            ("DELETE", "/connectors/{connector}", "none"),
        ],
    )
    def test_a_parameter_that_is_not_taken_is_named_and_what_is_taken(
        self, api: TestClient, connector: str, method: str, path: str, takes: str
    ) -> None:
        response = api.request(method, f"{API}{path.format(connector=connector)}?verticl=x", json=None)

        assert response.status_code == 422
        assert response.json()["detail"] == [
            {
                "loc": ["query", "verticl"],
                "msg": f"is no query parameter of this operation; it takes {takes}",
                "type": "extra_forbidden",
            }
        ]
        assert api.get(f"{API}/connectors/{connector}").status_code == 200

    @pytest.mark.parametrize(
        ("method", "path", "name"),
        [
            ("GET", "/entities?vertical=x&vertical=x", "vertical"),
            ("GET", "/connectors/{connector}/pulls?limit=1&status=failed&limit=2", "limit"),
            ("POST", "/connectors/{connector}/pull?wait=false&wait=true", "wait"),
        ],
    )
    def test_a_parameter_that_is_given_twice_is_named(
        self, api: TestClient, connector: str, dagster: FakeDagster, method: str, path: str, name: str
    ) -> None:
        response = api.request(method, f"{API}{path.format(connector=connector)}")

        assert response.status_code == 422
        assert response.json()["detail"] == [
            {"loc": ["query", name], "msg": "must be given once only", "type": "repeated"}
        ]
        assert dagster.launches == []

    def test_no_operation_takes_what_it_does_not_know(self, api: TestClient) -> None:
        named = {f"{thing}_id": uuid4() for thing in ("connector", "dry_run", "entity", "pull", "record")}
        operations = [
            (method, path.format(**named, key_id="00000000", key="mine"))
            for path, methods in api.get("/openapi.json").json()["paths"].items()
            for method in methods
        ]

        api.headers["Authorization"] = f"Bearer {_everything(api)}"
        answers = {(method, path): api.request(method, f"{path}?no_such=1") for method, path in operations}

        assert {key for key, answer in answers.items() if answer.status_code != 422} == set()
        assert len(answers) >= 16

    def test_nothing_is_echoed_that_is_no_name(self, api: TestClient) -> None:
        response = api.get(f"{API}/entities?pass%20word:hunter2")

        assert (response.status_code, "hunter2" in response.text) == (422, False)

    def test_nothing_is_begun(self, api: TestClient, connector: str, dagster: FakeDagster, store: Store) -> None:
        assert pull(api, connector, "?full_refresh=true").status_code == 422
        assert (dagster.launches, store.pulls.live(UUID(connector))) == ([], None)


def _everything(api: TestClient) -> str:
    keys: KeyStore = api.app.state.services.keys  # type: ignore[attr-defined]
    return keys.create("all", frozenset(Scope)).text


def _pages(api: TestClient, connector: str, query: str) -> Iterator[list[dict[str, Any]]]:
    cursor = ""
    while True:
        page = api.get(f"{API}/connectors/{connector}/pulls?{query}{cursor}").json()
        yield page["items"]
        assert page["has_more"] == (page["cursor"] is not None)
        if not page["has_more"]:
            return
        cursor = f"&cursor={page['cursor']}"


def _end_as(store: Store, pull_id: str, status: str) -> None:
    with store.engine.begin() as transaction:
        transaction.execute(tables.pull.update().where(tables.pull.c.id == UUID(pull_id)).values(status=status))
