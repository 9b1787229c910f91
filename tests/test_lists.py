"""Lists that are filtered and paged: connectors, and pulls of all connectors."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from qanatix_api.app import create_app
from qanatix_pipelines.errors import SourceUnreachable
from qanatix_pipelines.naming import PULL_TAG
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store, open_store
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.fakes import FakeDagster, completing

API = "/api/v1"
CONNECTORS = f"{API}/connectors"
BODY: dict[str, Any] = {
    "connector_type": "postgresql",
    "vertical": "manufacturing",
    "entity_type": "part",
    "connection_config": {"dsn": "postgresql://reader:secret@db.internal:5432/shop"},
    "query": "SELECT * FROM parts",
}
MYSQL = {
    "connector_type": "mysql",
    "connection_config": {"host": "db.internal", "user": "reader", "password": "secret", "database": "shop"},
}


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture(scope="module")
def template_store(template_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of connectors: `pulled` once and whole, `broken` in its pull, the others never pulled."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copy(template_store, folder)
    settings = Settings(data_dir=folder, encryption_key=ENCRYPTION_KEY, pepper=PEPPER)
    store = open_store(settings)
    dagster = FakeDagster(completing(store))
    key = KeyStore(store.engine, PEPPER.encode()).create("test").text
    app = create_app(settings.model_copy(update={"dagster_url": dagster.url, "pull_wait_seconds": 20}))
    with TestClient(app, headers={"Authorization": f"Bearer {key}"}) as api:
        _fill(api, dagster, store)
    dagster.stop()
    store.engine.dispose()
    return folder / template_store.name


def _fill(api: TestClient, dagster: FakeDagster, store: Store) -> None:
    given: dict[str, dict[str, Any]] = {
        "pulled": {"key": "one"},
        "broken": {"vertical": "retail"},
        "paused": {"entity_type": "order"},
        "mysql": MYSQL,
    }
    made = {
        name: api.post(CONNECTORS, json=BODY | {"name": name} | fields).json()["id"] for name, fields in given.items()
    }
    api.post(f"{CONNECTORS}/{made['pulled']}/pull")

    def fail(tags: dict[str, str]) -> str:
        store.pulls.end(store.pulls.get(UUID(tags[PULL_TAG])), SourceUnreachable("The source could not be reached."))
        return "run"

    dagster.on_launch = fail
    api.post(f"{CONNECTORS}/{made['broken']}/pull")
    api.post(f"{CONNECTORS}/{made['paused']}/pause")


@pytest.fixture
def named(store: Store) -> dict[str, str]:
    """Ids of connectors by name."""
    return {connector.name: str(connector.id) for connector in store.connectors.list()}


class TestConnectors:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", ["pulled", "broken", "paused", "mysql"]),
            ("connector_type=mysql", ["mysql"]),
            ("connector_type=mongodb", []),
            ("vertical=manufacturing", ["pulled", "paused", "mysql"]),
            ("collection=retail", ["broken"]),
            ("vertical=retail&collection=retail", ["broken"]),
            ("entity_type=order", ["paused"]),
            ("record_type=part&vertical=manufacturing", ["pulled", "mysql"]),
            ("status=completed", ["pulled"]),
            ("status=failed", ["broken"]),
            ("status=running", []),
            ("paused=true", ["paused"]),
            ("paused=false&connector_type=postgresql", ["pulled", "broken"]),
            ("name=broken", ["broken"]),
            ("name=roken", []),
            ("key=one", ["pulled"]),
            ("key=two", []),
        ],
    )
    def test_those_that_have_all_values_are_listed(
        self, api: TestClient, named: dict[str, str], query: str, expected: list[str]
    ) -> None:
        listed = api.get(f"{CONNECTORS}?{query}").json()

        assert [one["id"] for one in listed] == [named[name] for name in expected]
        assert listed == [api.get(f"{CONNECTORS}/{one['id']}").json() for one in listed]

    @pytest.mark.parametrize("limit", [1, 3, 4, 100])
    def test_pages_follow_each_other_by_their_links(self, api: TestClient, named: dict[str, str], limit: int) -> None:
        pages = list(_linked(api, f"{CONNECTORS}?limit={limit}"))

        assert [one["name"] for page in pages for one in page] == list(named)
        assert all(len(page) == limit for page in pages[:-1])
        assert 0 < len(pages[-1]) <= limit

    def test_a_link_keeps_the_filters(self, api: TestClient, named: dict[str, str]) -> None:
        pages = list(_linked(api, f"{CONNECTORS}?vertical=manufacturing&limit=1&paused=false"))

        assert [[one["id"] for one in page] for page in pages] == [[named["pulled"]], [named["mysql"]]]

    def test_one_that_is_registered_meanwhile_is_on_the_last_page(self, api: TestClient, named: dict[str, str]) -> None:
        pages = _linked(api, f"{CONNECTORS}?limit=2")
        first = next(pages)
        api.post(CONNECTORS, json=BODY | {"name": "newer"})

        assert [one["name"] for page in (first, *pages) for one in page] == [*named, "newer"]

    @pytest.mark.parametrize(
        ("query", "where"),
        [
            ("connector_type=oracle", "connector_type"),
            ("vertical=a&collection=b", "collection"),
            ("entity_type=a&record_type=b", "record_type"),
            ("status=done", "status"),
            ("paused=yes", "paused"),
            ("name=%E2%80%8B", "name"),
            ("key=a/b", "key"),
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=1&cursor=nonsense", "cursor"),
            ("cursor=MjAyNi0wMS0wMVQwMDowMDowMCAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA==", "cursor"),
        ],
    )
    def test_a_wrong_parameter_is_named(self, api: TestClient, query: str, where: str) -> None:
        refused = api.get(f"{CONNECTORS}?{query}")

        assert refused.status_code == 422
        assert [problem["loc"] for problem in refused.json()["detail"]] == [["query", where]]

    def test_a_row_that_cannot_be_read_is_no_fault_of_the_callers(
        self, api: TestClient, named: dict[str, str], store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api._transport, "raise_server_exceptions", False)
        with store.engine.begin() as transaction:
            broken = tables.connector.update().where(tables.connector.c.id == UUID(named["mysql"]))
            transaction.execute(broken.values(batch_size=-1))

        assert api.get(f"{CONNECTORS}?limit=4").status_code == 500


class TestPulls:
    @pytest.fixture
    def pulls(self, api: TestClient, named: dict[str, str], store: Store) -> list[str]:
        """Ids of pulls, newest first: of `pulled`, an hour ago and by a schedule; and of `broken`."""
        shown = {name: api.get(f"{CONNECTORS}/{named[name]}").json()["last_pull_id"] for name in ("pulled", "broken")}
        with store.engine.begin() as transaction:
            transaction.execute(
                tables.pull.update()
                .where(tables.pull.c.id == UUID(shown["pulled"]))
                .values(created_at=datetime.now(UTC) - timedelta(hours=1), trigger="schedule")
            )
        return [shown["broken"], shown["pulled"]]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", [0, 1]),
            ("status=failed", [0]),
            ("status=queued", []),
            ("trigger=schedule", [1]),
            ("trigger=api", [0]),
            ("trigger=re-execution", []),
            ("connector_id={pulled}", [1]),
            ("connector_id=00000000-0000-0000-0000-000000000001", []),
            ("since={recently}", [0]),
            ("since={recently}&status=completed", []),
            ("since=2020-01-01T00:00:00%2B02:00", [0, 1]),
        ],
    )
    def test_those_that_have_all_values_are_listed_newest_first(
        self, api: TestClient, named: dict[str, str], pulls: list[str], query: str, expected: list[int]
    ) -> None:
        recently = quote((datetime.now(UTC) - timedelta(minutes=30)).isoformat())

        page = api.get(f"{API}/pulls?{query.format(**named, recently=recently)}").json()

        assert [one["pull_id"] for one in page["items"]] == [pulls[place] for place in expected]
        assert page["items"] == [api.get(f"{API}/pulls/{one['pull_id']}").json() for one in page["items"]]

    def test_pages_hold_each_pull_once(self, api: TestClient, pulls: list[str]) -> None:
        first = api.get(f"{API}/pulls?limit=1").json()
        second = api.get(f"{API}/pulls?limit=1&cursor={first['cursor']}").json()

        assert [one["pull_id"] for page in (first, second) for one in page["items"]] == pulls
        assert (first["has_more"], second["has_more"], second["cursor"]) == (True, False, None)

    def test_those_of_a_deleted_connector_are_listed(
        self, api: TestClient, named: dict[str, str], pulls: list[str]
    ) -> None:
        api.delete(f"{CONNECTORS}/{named['pulled']}")

        assert [one["pull_id"] for one in api.get(f"{API}/pulls").json()["items"]] == pulls

    @pytest.mark.parametrize(
        ("query", "where"),
        [
            ("status=done", "status"),
            ("trigger=me", "trigger"),
            ("since=yesterday", "since"),
            ("since=2026-01-01T00:00:00", "since"),
            ("since=1767225600", "since"),
            ("connector_id=x", "connector_id"),
            ("limit=101", "limit"),
            ("cursor=nonsense", "cursor"),
        ],
    )
    def test_a_wrong_parameter_is_named(self, api: TestClient, query: str, where: str) -> None:
        refused = api.get(f"{API}/pulls?{query}")

        assert refused.status_code == 422
        assert [problem["loc"] for problem in refused.json()["detail"]] == [["query", where]]


def _linked(api: TestClient, path: str) -> Iterator[list[dict[str, Any]]]:
    """The pages, each by the link of the one before."""
    while True:
        answer = api.get(path)
        yield answer.json()
        if "next" not in answer.links:
            return
        path = answer.links["next"]["url"]
