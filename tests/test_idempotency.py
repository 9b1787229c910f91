"""A repeated post is answered as the first one was, and is not done again."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import SecretStr

from qanatix_pipelines.conflicts import AnswerLost, RepeatDiffers, RepeatInProgress
from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.naming import PULL_TAG
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.answers import ALIKE_FOR, KEPT_FOR, Answers, Begun, Sent
from qanatix_pipelines.store.history import REPEATED_FOR
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store, open_store
from qanatix_pipelines.tenants import DEFAULT, Tenant
from tests.campaigns.proxy import Fault, Network
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.fakes import FakeDagster, completing
from tests.served import Served, served

API = "/api/v1"
CONNECTORS, KEYS = f"{API}/connectors", f"{API}/auth/keys"
BODY: dict[str, Any] = {
    "name": "Products",
    "connector_type": "postgresql",
    "vertical": "manufacturing",
    "entity_type": "product",
    "connection_config": {"dsn": "postgresql://reader:secret@db.internal:5432/shop"},
    "query": "SELECT * FROM products",
}
FIRST = {"Idempotency-Key": '"first"'}
NOON = datetime(2026, 3, 7, 12, tzinfo=UTC)
SENT = Sent("00000000", bytes(32), b"request")
LONGEST = timedelta(seconds=60)

Found = TypeVar("Found")


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def api(client: Callable[..., TestClient]) -> TestClient:
    return client(*Scope)


@pytest.fixture
def connector(api: TestClient) -> str:
    made: str = api.post(CONNECTORS, json=BODY | {"name": "Made before"}).json()["id"]
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Set the clock by which answers are kept."""

    def set_clock(time: datetime) -> None:
        monkeypatch.setattr("qanatix_pipelines.store.answers.now", lambda: time)

    return set_clock


def bearer(store: Store, tenant: Tenant = DEFAULT) -> dict[str, str]:
    """The header of a new key."""
    key = KeyStore(store.engine, PEPPER.encode()).of(tenant).create("another", frozenset(Scope))
    return {"Authorization": f"Bearer {key.text}"}


class TestByKey:
    @pytest.mark.parametrize(
        ("path", "body", "made"),
        [
            (CONNECTORS, BODY, "connector"),
            (f"{CONNECTORS}/{{connector}}/pull", None, "pull"),
            (f"{CONNECTORS}/{{connector}}/pull?wait=false", {"full_refresh": True}, "pull"),
            (f"{CONNECTORS}/{{connector}}/pause", None, None),
            (KEYS, {"name": "made"}, "api_key"),
        ],
    )
    def test_a_repeat_gets_the_first_answer(
        self, api: TestClient, connector: str, store: Store, path: str, body: dict[str, Any] | None, made: str | None
    ) -> None:
        path = path.format(connector=connector)
        first = api.post(path, json=body, headers=FIRST)
        before = None if made is None else _count(store, made)

        repeats = [api.post(path, json=body, headers=FIRST) for _ in range(2)]

        assert first.is_success
        for repeat in repeats:
            assert (repeat.status_code, repeat.content) == (first.status_code, first.content)
            assert repeat.headers["Idempotent-Replayed"] == "true"
            for name in ("Content-Type", "ETag", "Location", "Retry-After"):
                assert repeat.headers.get(name) == first.headers.get(name)
        assert "Idempotent-Replayed" not in first.headers
        assert before is None or _count(store, made or "") == before

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            (CONNECTORS, BODY | {"name": "Other"}),
            (f"{CONNECTORS}?unknown=1", BODY),
            (KEYS, BODY),
            (CONNECTORS, None),
        ],
    )
    def test_another_request_with_the_same_key_is_refused(
        self, api: TestClient, store: Store, path: str, body: dict[str, Any] | None
    ) -> None:
        api.post(CONNECTORS, json=BODY, headers=FIRST)

        refused = api.post(path, json=body, headers=FIRST)

        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
        assert _count(store, "connector") == 1

    @pytest.mark.parametrize("tenant", [DEFAULT, Tenant("acme")])
    def test_the_same_key_of_another_caller_is_another(self, api: TestClient, store: Store, tenant: Tenant) -> None:
        first = api.post(CONNECTORS, json=BODY, headers=FIRST)

        others = api.post(CONNECTORS, json=BODY | {"name": "Other"}, headers=FIRST | bearer(store, tenant))

        assert others.status_code == 201
        assert others.json()["id"] != first.json()["id"]

    def test_a_repeat_of_what_is_in_progress_is_told_so(
        self, api: TestClient, connector: str, dagster: FakeDagster, store: Store
    ) -> None:
        complete, done = dagster.on_launch, threading.Event()

        def later(tags: dict[str, str]) -> str:
            done.wait(60)
            return complete(tags)

        dagster.on_launch = later
        path = f"{CONNECTORS}/{connector}/pull"
        with ThreadPoolExecutor() as caller:
            first = caller.submit(api.post, path, headers=FIRST)
            while store.pulls.live(UUID(connector)) is None:
                pass

            refused = api.post(path, headers=FIRST)
            done.set()

        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_in_progress")
        assert api.post(path, headers=FIRST).json() == first.result().json()
        assert first.result().json()["records_ingested"] == 1

    def test_a_failure_is_not_kept(self, api: TestClient, connector: str, dagster: FakeDagster) -> None:
        path = f"{CONNECTORS}/{connector}/pull"
        dagster.raw = b"<html>log in</html>"
        failed = api.post(path, headers=FIRST)
        dagster.raw = None

        repeat = api.post(path, headers=FIRST)

        assert (failed.status_code, repeat.status_code) == (503, 200)
        assert "Idempotent-Replayed" not in repeat.headers

    def test_a_fault_of_the_apis_own_is_not_kept(
        self, api: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        api._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
        with monkeypatch.context() as broken:
            broken.setattr("qanatix_api.checking.check_watch", lambda *_: 1 / 0)
            failed = api.post(CONNECTORS, json=BODY, headers=FIRST)

        assert (failed.status_code, _count(store, "idempotency")) == (500, 0)
        assert api.post(CONNECTORS, json=BODY, headers=FIRST).status_code == 201

    def test_a_request_that_was_refused_may_be_corrected(self, api: TestClient) -> None:
        refused = api.post(CONNECTORS, json=BODY | {"query": ""}, headers=FIRST)

        assert (refused.status_code, api.post(CONNECTORS, json=BODY, headers=FIRST).status_code) == (422, 201)

    @pytest.mark.parametrize(
        "headers", [[""], ["a b"], ["x" * 256], ["\N{LATIN SMALL LETTER E WITH ACUTE}"], ["a", "b"]]
    )
    def test_a_wrong_key_is_refused(self, api: TestClient, store: Store, headers: list[str]) -> None:
        given = [(b"Idempotency-Key", text.encode("latin-1")) for text in headers]

        refused = api.post(CONNECTORS, json=BODY, headers=given)

        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["header", "idempotency_key"]
        assert _count(store, "connector") == 0

    def test_other_methods_do_not_take_it(self, api: TestClient, connector: str, store: Store) -> None:
        names = [
            api.patch(f"{CONNECTORS}/{connector}", json={"name": name}, headers=FIRST).json()["name"]
            for name in ("One", "Two")
        ]

        assert (names, _count(store, "idempotency")) == (["One", "Two"], 1)  # that of the connector itself

    def test_a_new_api_keys_secret_is_kept_encrypted(self, api: TestClient, store: Store, tmp_path: Path) -> None:
        made = api.post(KEYS, json={"name": "made"}, headers=FIRST).json()["key"]

        stored = b"".join(file.read_bytes() for file in tmp_path.glob("qanatix.db*"))
        assert made.encode() not in stored
        assert FIRST["Idempotency-Key"].encode() not in stored
        assert _count(store, "idempotency") == 1

    def test_after_a_day_it_is_another_request(
        self, api: TestClient, store: Store, clock: Callable[[datetime], None]
    ) -> None:
        clock(NOON)
        first = api.post(CONNECTORS, json=BODY, headers=FIRST).json()["id"]
        clock(NOON + KEPT_FOR - timedelta(seconds=1))
        assert api.post(CONNECTORS, json=BODY, headers=FIRST).json()["id"] == first

        clock(NOON + KEPT_FOR)
        later = api.post(CONNECTORS, json=BODY, headers=FIRST).json()["id"]

        assert later != first
        assert _count(store, "connector") == 2


class TestKept:
    """On both kinds of store."""

    @pytest.fixture(params=["sqlite", "postgresql"])
    def store_kind(self, request: pytest.FixtureRequest) -> str:
        kind: str = request.param
        return kind

    @pytest.fixture
    def answers(self, store: Store, clock: Callable[[datetime], None]) -> Answers:
        clock(NOON)
        return store.answers

    def test_of_several_at_once_one_is_the_first(self, answers: Answers) -> None:
        def begin(_: int) -> object:
            try:
                return answers.begin(SENT, LONGEST)
            except RepeatInProgress:
                return None

        with ThreadPoolExecutor(8) as callers:
            begun = [one for one in callers.map(begin, range(8)) if one is not None]

        assert begun == [Begun(SENT, NOON)]

    def test_of_several_equal_connectors_at_once_one_is_registered(self, store: Store) -> None:
        new = NewConnector.model_validate(BODY)

        with ThreadPoolExecutor(4) as callers:
            made = list(
                callers.map(lambda _: store.connectors.add_once(new, None, SENT, connection=None, tls=None), range(4))
            )

        assert sorted(created for _, created in made) == [False, False, False, True]
        assert {connector.id for connector, _ in made} == {one.id for one in store.connectors.list()}

    def test_a_request_whose_process_died_may_be_done_again(
        self, answers: Answers, clock: Callable[[datetime], None]
    ) -> None:
        dead = answers.begin(SENT, LONGEST)
        assert isinstance(dead, Begun)
        clock(NOON + LONGEST - timedelta(seconds=1))
        with pytest.raises(RepeatInProgress):
            answers.begin(SENT, LONGEST)

        clock(NOON + LONGEST)
        again = answers.begin(SENT, LONGEST)
        assert isinstance(again, Begun)
        answers.keep(dead, {"answer": "of the dead"})
        answers.drop(dead)
        with pytest.raises(RepeatInProgress):
            answers.begin(SENT, LONGEST)
        answers.keep(again, {"answer": "of the living"})

        assert answers.begin(SENT, LONGEST) == {"answer": "of the living"}

    def test_what_is_too_old_is_swept_whosever_it_is(
        self, answers: Answers, store: Store, clock: Callable[[datetime], None]
    ) -> None:
        acme = answers.of(Tenant("acme"))
        for one in (answers, acme):
            begun = one.begin(SENT, LONGEST)
            assert isinstance(begun, Begun)
            one.keep(begun, {})
        clock(NOON + KEPT_FOR - timedelta(seconds=1))
        acme.sweep()
        assert _count(store, "idempotency") == 2

        clock(NOON + KEPT_FOR)
        acme.sweep()

        assert _count(store, "idempotency") == 0

    def test_another_request_with_its_key_is_refused_while_it_is_in_progress(self, answers: Answers) -> None:
        answers.begin(SENT, LONGEST)

        with pytest.raises(RepeatDiffers):
            answers.begin(Sent(SENT.api_key_id, SENT.key, b"another"), LONGEST)

    def test_an_answer_moves_with_a_rotation_to_the_first_key(self, store: Store, settings: Settings) -> None:
        begun = store.answers.begin(SENT, LONGEST)
        assert isinstance(begun, Begun)
        store.answers.keep(begun, {"secret": "kept"})
        fresh = new_fernet_key()

        both = open_store(settings.model_copy(update={"encryption_key": SecretStr(f"{fresh},{ENCRYPTION_KEY}")}))
        both.connectors.rotate()
        both.engine.dispose()

        alone = Answers(store.engine, CredentialCipher([fresh]), DEFAULT)
        assert alone.begin(SENT, LONGEST) == {"secret": "kept"}
        with pytest.raises(AnswerLost):
            store.answers.begin(SENT, LONGEST)


class TestAlike:
    """Two equal requests to register a connector, without an Idempotency-Key."""

    def test_the_second_is_answered_with_the_first_ones_connector(
        self, api: TestClient, store: Store, dagster: FakeDagster
    ) -> None:
        first = api.post(CONNECTORS, json=BODY)

        second = api.post(CONNECTORS, json=dict(reversed(BODY.items())))

        assert (second.status_code, second.json()) == (first.status_code, first.json())
        assert second.headers["Location"] == first.headers["Location"]
        assert second.headers["Idempotent-Replayed"] == "true"
        assert (_count(store, "connector"), len(dagster.partitions)) == (1, 1)

    @pytest.mark.parametrize(
        "meanwhile",
        ["changed", "paused", "deleted", "a minute later", "another name", "another caller", "an Idempotency-Key"],
    )
    def test_a_second_is_registered(
        self, api: TestClient, store: Store, clock: Callable[[datetime], None], meanwhile: str
    ) -> None:
        clock(NOON)
        first = api.post(CONNECTORS, json=BODY).json()["id"]
        body, headers = dict(BODY), {}
        match meanwhile:
            case "changed":
                api.patch(f"{CONNECTORS}/{first}", json={"batch_size": 7})
            case "paused":
                api.post(f"{CONNECTORS}/{first}/pause")
            case "deleted":
                api.delete(f"{CONNECTORS}/{first}")
            case "a minute later":
                clock(NOON + ALIKE_FOR)
            case "another name":
                body["name"] = "Other"
            case "another caller":
                headers = bearer(store)
            case _:
                headers = FIRST

        second = api.post(CONNECTORS, json=body, headers=headers)

        assert second.status_code == 201
        assert second.json()["id"] != first
        assert "Idempotent-Replayed" not in second.headers


class TestThroughAProxy:
    """The API on a socket, and a proxy before it that cuts connections."""

    @pytest.fixture
    def dagster(self) -> Iterator[FakeDagster]:
        """Runs start, and complete their pulls when a test lets them."""
        fake = FakeDagster(lambda _tags: "begun")
        fake.statuses["begun"] = "STARTED"
        yield fake
        fake.stop()

    @pytest.fixture
    def running(self, settings: Settings, data_dir: Path, dagster: FakeDagster) -> Iterator[Served]:  # noqa: ARG002
        with served(settings.model_copy(update={"dagster_url": dagster.url, "pull_wait_seconds": 20})) as api:
            yield api

    @pytest.fixture
    def network(self) -> Iterator[Network]:
        with Network() as network:
            yield network

    @pytest.fixture
    def asked(self, running: Served) -> Iterator[httpx2.Client]:
        """The API, asked directly."""
        with httpx2.Client(base_url=running.url + API, headers=running.headers, timeout=30) as client:
            yield client

    def test_a_connector_whose_first_answer_was_cut_off_is_made_once(
        self, running: Served, network: Network, asked: httpx2.Client
    ) -> None:
        proxy = network.proxy("127.0.0.1", running.port, Fault("reset", 0))
        url = f"http://127.0.0.1:{proxy.port}{CONNECTORS}"
        with pytest.raises(httpx2.TransportError):
            httpx2.post(url, json=BODY, headers=running.headers)
        proxy.mend()

        second = httpx2.post(url, json=BODY, headers=running.headers)

        assert [one["id"] for one in asked.get("/connectors").json()] == [second.json()["id"]]

    @pytest.fixture
    def unheard(self, running: Served, network: Network, asked: httpx2.Client, store: Store) -> Receipt:
        """A running pull whose waiting caller was cut off."""
        connector = asked.post("/connectors", json=BODY).json()["id"]
        proxy = network.proxy("127.0.0.1", running.port)
        with ThreadPoolExecutor() as caller:
            waiting = caller.submit(
                httpx2.post, f"http://127.0.0.1:{proxy.port}{CONNECTORS}/{connector}/pull", headers=running.headers
            )
            _until(lambda: store.pulls.live(UUID(connector)))
            proxy.cut("reset")
            assert isinstance(waiting.exception(), httpx2.TransportError)
        return _until(
            lambda: next((one for one in [store.pulls.live(UUID(connector))] if one and one.unheard_at), None)
        )

    @pytest.fixture
    def ended(self, unheard: Receipt, store: Store) -> Receipt:
        """The same, once it has completed."""
        _complete(store, unheard)
        return store.pulls.get(unheard.id)

    def test_a_repeat_of_a_pull_gets_its_receipt_and_the_next_one_a_new_pull(
        self, ended: Receipt, asked: httpx2.Client, store: Store, dagster: FakeDagster
    ) -> None:
        path = f"/connectors/{ended.connector_id}/pull"

        repeat = asked.post(path)

        assert (repeat.json()["pull_id"], repeat.json()["records_ingested"]) == (str(ended.id), 1)
        assert repeat.headers["Idempotent-Replayed"] == "true"
        dagster.on_launch = completing(store)
        assert asked.post(path).json()["pull_id"] != str(ended.id)

    def test_a_repeat_that_comes_before_the_end_waits_for_it(
        self, unheard: Receipt, asked: httpx2.Client, store: Store, dagster: FakeDagster
    ) -> None:
        path = f"/connectors/{unheard.connector_id}/pull"
        with ThreadPoolExecutor() as caller:
            repeat = caller.submit(asked.post, path)
            _complete(store, unheard)

        assert repeat.result().json()["pull_id"] == str(unheard.id)
        dagster.on_launch = completing(store)
        assert asked.post(path).json()["pull_id"] != str(unheard.id)

    @pytest.mark.parametrize("difference", ["a minute later", "full_refresh", "an Idempotency-Key"])
    def test_what_is_no_repeat_is_a_new_pull(
        self, ended: Receipt, asked: httpx2.Client, store: Store, dagster: FakeDagster, difference: str
    ) -> None:
        if difference == "a minute later":
            with store.engine.begin() as transaction:
                transaction.execute(tables.pull.update().values(finished_at=datetime.now(UTC) - REPEATED_FOR))
        dagster.on_launch = completing(store)

        answer = asked.post(
            f"/connectors/{ended.connector_id}/pull",
            json={"full_refresh": difference == "full_refresh"},
            headers=FIRST if difference == "an Idempotency-Key" else {},
        )

        assert (answer.status_code, answer.json()["pull_id"] == str(ended.id)) == (200, False)

    def test_a_pull_with_an_idempotency_key_is_answered_by_that(
        self, running: Served, network: Network, asked: httpx2.Client, store: Store
    ) -> None:
        connector = asked.post("/connectors", json=BODY).json()["id"]
        proxy = network.proxy("127.0.0.1", running.port)
        path, headers = f"/connectors/{connector}/pull", running.headers | FIRST
        with ThreadPoolExecutor() as caller:
            waiting = caller.submit(httpx2.post, f"http://127.0.0.1:{proxy.port}{API}{path}", headers=headers)
            live = _until(lambda: store.pulls.live(UUID(connector)))
            proxy.cut("reset")
            assert isinstance(waiting.exception(), httpx2.TransportError)
        _complete(store, live)

        repeat = _until(lambda: _answered(asked.post(path, headers=FIRST)))

        assert (repeat.json()["pull_id"], repeat.headers["Idempotent-Replayed"]) == (str(live.id), "true")
        assert store.pulls.get(live.id).unheard_at is None


def _answered(response: httpx2.Response) -> httpx2.Response | None:
    return None if response.status_code == 409 else response


def _complete(store: Store, receipt: Receipt) -> None:
    connector = store.connectors.get(receipt.connector_id)
    completing(store)({"dagster/partition": connector.partition_key, PULL_TAG: str(receipt.id)})


def _until(look: Callable[[], Found | None]) -> Found:
    """What is there, once it is there."""
    pause = threading.Event()
    while (found := look()) is None:
        pause.wait(0.01)
    return found


def _count(store: Store, table: str) -> int:
    with store.engine.execution_options(reads=True).connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(getattr(tables, table))).scalar_one()
