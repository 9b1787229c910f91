"""The API as other people's clients use it: the vendor's SDK, and one that is generated from the document."""

import asyncio
import importlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import httpx2
import openapi_python_client as generator
import pytest
from openapi_python_client.config import Config, ConfigFile, MetaType

from qanatix_pipelines.keys import Scope
from qanatix_pipelines.naming import PULL_TAG
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.opening import Store, open_store
from qanatix_pipelines.store.pulls import PullStore
from tests import vendor_client as vendor
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.fakes import FakeDagster, completing
from tests.served import Served, served
from tests.system import until

SAID: dict[str, Any] = {
    "name": "Production products",
    "connector_type": "postgresql",
    "collection": "manufacturing",
    "record_type": "product",
    "connection_config": {"dsn": "postgresql://reader:hunter2@db.internal:5432/shop"},
    "query": "SELECT id, name FROM products",
}
# Make a call: `ask(call, waits=..., timeout=...)`.
Ask = Callable[..., Any]


class Waits(list[float]):
    """What a client waits before its tries. Before the second, `meanwhile` is done."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    def append(self, seconds: float) -> None:
        if seconds:
            self._meanwhile()
        super().append(seconds)


@pytest.fixture(scope="module")
def api(template_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The API over a socket, and a Dagster whose runs complete at once unless a test says otherwise."""
    folder = tmp_path_factory.mktemp("api")
    (folder / template_store.name).write_bytes(template_store.read_bytes())
    settings = Settings(data_dir=folder, encryption_key=ENCRYPTION_KEY, pepper=PEPPER, pull_wait_seconds=20)
    store = open_store(settings)
    dagster = FakeDagster(completing(store))
    with served(settings.model_copy(update={"dagster_url": dagster.url})) as running:
        running.app.state.dagster = dagster
        yield running
    dagster.stop()
    store.engine.dispose()


@pytest.fixture
def store(api: Served) -> Store:
    found: Store = api.app.state.services.store
    return found


@pytest.fixture
def dagster(api: Served, store: Store) -> Iterator[FakeDagster]:
    fake: FakeDagster = api.app.state.dagster
    yield fake
    fake.on_launch = completing(store)


@pytest.fixture
def key(api: Served) -> str:
    text: str = api.app.state.services.keys.create("everything", frozenset(Scope)).text
    return text


@pytest.fixture(scope="module")
def generated(api: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A client that is generated from the document as it is served."""
    folder = tmp_path_factory.mktemp("generated")
    document = folder / "openapi.json"
    document.write_bytes(httpx2.get(f"{api.url}/openapi.json").content)
    config = Config.from_sources(
        ConfigFile(post_hooks=[]),
        MetaType.NONE,
        document_source=document,
        file_encoding="utf-8",
        overwrite=False,
        output_path=folder / "generated_client",
    )
    told = generator.generate(config=config)
    assert [f"{error.header} {error.detail}" for error in told] == []
    sys.path.insert(0, str(folder))
    yield importlib.import_module("generated_client")
    sys.path.remove(str(folder))


class TestTheVendorsClient:
    @pytest.fixture(params=["sync", "async"])
    def ask(self, request: pytest.FixtureRequest, api: Served, key: str) -> Ask:
        def ask(call: vendor.Call, *, waits: Waits | None = None, **how: Any) -> Any:
            waited = Waits() if waits is None else waits
            if request.param == "sync":
                return vendor.Client(api.url, key, sleep=waited.append, **how)(call)

            async def sleep(seconds: float) -> None:
                waited.append(seconds)

            return asyncio.run(vendor.AsyncClient(api.url, key, sleep=sleep, **how)(call))

        return ask

    def test_makes_lists_pulls_and_deletes_a_connector(self, ask: Ask) -> None:
        made = ask(vendor.create_connector(schedule="*/15 * * * *", **SAID))
        listed = ask(vendor.list_connectors())
        pulled = ask(vendor.pull_connector(made["id"]))
        deleted = ask(vendor.delete_connector(made["id"]))

        shown = {name: made[name] for name in ("name", "connector_type", "collection", "record_type")}
        assert shown == {name: SAID[name] for name in shown}
        assert (made["name_column"], made["batch_size"]) == ("name", 1000)
        assert made["schedule"] == {"cron": "*/15 * * * *", "timezone": "UTC"}
        assert made["id"] in [connector["id"] for connector in listed]
        assert (pulled["status"], pulled["records_pulled"], deleted) == ("completed", 3, None)
        assert made["id"] not in [connector["id"] for connector in ask(vendor.list_connectors())]

    def test_makes_lists_rotates_and_revokes_a_key(self, ask: Ask) -> None:
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
        made = ask(vendor.create_key("loader", ["upload"], expires_at=tomorrow.isoformat()))
        rotated = ask(vendor.rotate_key(made["id"]))
        revoked = ask(vendor.revoke_key(made["id"]))

        assert made["scopes"] == ["connectors:read", "connectors:write", "pulls:run"]
        assert (made["name"], rotated["id"]) == ("loader", made["id"])
        assert datetime.fromisoformat(made["expires_at"]) == tomorrow
        assert {made["key"][:8], rotated["key"][:8]} == {"sk_live_"}
        assert made["key"] != rotated["key"]
        assert revoked is None
        assert made["id"] in [one["id"] for one in ask(vendor.list_keys())]

    @pytest.mark.parametrize(
        ("call", "status", "detail"),
        [
            (vendor.delete_connector(str(UUID(int=1))), 404, str),
            (vendor.create_connector(**SAID | {"query": ""}), 422, list),
            (vendor.create_key("loader", ["connectors:fly"]), 422, list),
            (vendor.revoke_key("00000000"), 404, str),
        ],
    )
    def test_understands_an_error_and_does_not_repeat_the_call(
        self, ask: Ask, call: vendor.Call, status: int, detail: type
    ) -> None:
        waits = Waits()
        with pytest.raises(vendor.Refused) as refused:
            ask(call, waits=waits)

        assert (refused.value.status_code, type(refused.value.detail), waits) == (status, detail, [0])

    def test_repeats_a_pull_that_could_not_start_when_it_is_told_to(self, ask: Ask, dagster: FakeDagster) -> None:
        made = ask(vendor.create_connector(**SAID))
        dagster.raw = b"<html>no Dagster</html>"
        waits = Waits(lambda: setattr(dagster, "raw", None))

        pulled = ask(vendor.pull_connector(made["id"]), waits=waits)

        assert (pulled["status"], waits) == ("completed", [0, 5])

    def test_that_gives_up_waiting_joins_the_pull_and_gets_its_result(
        self, ask: Ask, dagster: FakeDagster, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made, waits = ask(vendor.create_connector(**SAID)), Waits()
        launched: list[dict[str, str]] = []
        begun = threading.Event()
        queue = PullStore.queue

        def begin(tags: dict[str, str]) -> str:
            launched.append(tags)
            dagster.statuses["slow"] = "STARTED"
            begun.set()
            return "slow"

        def queued(*asked: Any, **how: Any) -> tuple[Receipt, bool]:
            receipt, created = queue(*asked, **how)
            if not created:  # the second try has joined
                assert begun.wait(60)
                completing(store, "slow")(launched[0])
            return receipt, created

        dagster.on_launch = begin
        monkeypatch.setattr(PullStore, "queue", queued)

        pulled = ask(vendor.pull_connector(made["id"]), waits=waits, timeout=2)

        assert (pulled["status"], pulled["records_pulled"], waits) == ("completed", 3, [0, 1])
        assert (len(launched), pulled["pull_id"]) == (1, launched[0][PULL_TAG])

    def test_that_was_cut_off_gets_the_result_of_the_pull_that_ended_meanwhile(
        self, ask: Ask, dagster: FakeDagster, store: Store
    ) -> None:
        made = ask(vendor.create_connector(**SAID))
        launched: list[dict[str, str]] = []

        def begin(tags: dict[str, str]) -> str:
            launched.append(tags)
            dagster.statuses["slow"] = "STARTED"
            return "slow"

        def end_once_nobody_listens() -> None:
            until(lambda: launched and store.pulls.get(UUID(launched[0][PULL_TAG])).unheard_at is not None)
            completing(store, "slow")(launched[0])

        dagster.on_launch = begin
        waits = Waits(end_once_nobody_listens)

        pulled = ask(vendor.pull_connector(made["id"]), waits=waits, timeout=2)

        assert (pulled["status"], pulled["records_pulled"], waits) == ("completed", 3, [0, 1])
        assert (len(launched), pulled["pull_id"]) == (1, launched[0][PULL_TAG])


@pytest.mark.slow
class TestAGeneratedClient:
    @pytest.fixture
    def client(self, generated: ModuleType, api: Served, key: str) -> Iterator[Any]:
        with generated.AuthenticatedClient(base_url=api.url, token=key, raise_on_unexpected_status=True) as opened:
            yield opened

    def test_has_every_operation(self, generated: ModuleType, api: Served) -> None:
        paths = httpx2.get(f"{api.url}/openapi.json").json()["paths"]
        operations = {
            (operation["tags"][0], operation["operationId"]) for path in paths.values() for operation in path.values()
        }
        files = Path(generated.__file__ or "").parent.glob("api/*/*.py")

        assert {(file.parent.name, file.stem) for file in files if file.stem != "__init__"} == operations

    def test_registers_lists_pulls_and_shows(self, generated: ModuleType, client: Any) -> None:
        models = importlib.import_module(f"{generated.__name__}.models")
        registered = _call(generated, "connectors.create_connector", client, body=_postgresql(models))
        listed = _call(generated, "connectors.list_connectors", client)
        pulled = _call(generated, "pulls.pull_connector", client, registered.id, wait=False)
        shown = _call(generated, "connectors.get_connector", client, registered.id)

        assert registered.id in [connector.id for connector in listed]
        assert isinstance(pulled, models.PullReceipt)
        assert shown.last_pull_id == pulled.pull_id
        assert shown.last_pull_status == models.PullStatus.COMPLETED

    def test_understands_an_error(self, generated: ModuleType, client: Any) -> None:
        models = importlib.import_module(f"{generated.__name__}.models")

        refused = _call(generated, "connectors.get_connector", client, uuid4())

        assert isinstance(refused, models.Problem)
        assert (refused.status, refused.title) == (404, "Not Found")

    def test_changes_a_field_and_takes_one_back(self, generated: ModuleType, client: Any) -> None:
        models = importlib.import_module(f"{generated.__name__}.models")
        registered = _call(generated, "connectors.create_connector", client, body=_postgresql(models))
        changes = models.ConnectorChanges(name="Parts", name_column=None)

        changed = _call(generated, "connectors.change_connector", client, registered.id, body=changes)

        assert (changed.name, changed.name_column, changed.query) == ("Parts", None, registered.query)


def _postgresql(models: ModuleType) -> Any:
    return models.PostgresqlConnectorRequest(
        name=SAID["name"],
        connector_type="postgresql",
        vertical="manufacturing",
        entity_type="product",
        connection_config=models.PostgresqlConfig(**SAID["connection_config"]),
        query=SAID["query"],
        name_column="name",
    )


def _call(generated: ModuleType, operation: str, client: Any, *places: Any, **arguments: Any) -> Any:
    """What an operation answers, parsed."""
    module = importlib.import_module(f"{generated.__name__}.api.{operation}")
    answer = module.sync_detailed(*places, client=client, **arguments)
    assert answer.parsed is not None, json.loads(answer.content)
    return answer.parsed
