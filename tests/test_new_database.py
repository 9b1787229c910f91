"""A connector type is one folder: that of docs/sources.md, "Add a database", is put there and nothing else touched."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from fastapi.testclient import TestClient

from qanatix_api.app import create_app
from qanatix_pipelines import sources
from qanatix_pipelines.defs import resources
from qanatix_pipelines.naming import LIMIT_TAG
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store, open_store
from tests.conftest import ENCRYPTION_KEY, PEPPER

PAGE = Path(__file__).resolve().parents[1] / "docs" / "sources.md"
# A module's path at the start of a paragraph, and the code below that paragraph.
MODULE = re.compile(r"^`(?P<path>csv_text/\w+\.py)`.*?```python\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
TYPE = "csv_text"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The page's modules are put into the package for one test; the environment names a store of the test's own."""
    modules = {found["path"]: found["code"] for found in MODULE.finditer(PAGE.read_text())}
    assert modules.keys() == {f"{TYPE}/config.py", f"{TYPE}/__init__.py", f"{TYPE}/reading.py"}
    (tmp_path / "more" / TYPE).mkdir(parents=True)
    for path, code in modules.items():
        (tmp_path / "more" / path).write_text(code)
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path / "more")])
    monkeypatch.setenv("QANATIX_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", ENCRYPTION_KEY)
    monkeypatch.delitem(sys.modules, "qanatix_pipelines.definitions", raising=False)  # they are to be made anew
    opened = open_store(Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER))
    yield opened
    opened.engine.dispose()
    resources.close_stores()
    for name in [name for name in sys.modules if name.startswith(f"qanatix_pipelines.sources.{TYPE}")]:
        del sys.modules[name]


@pytest.fixture
def api(store: Store, tmp_path: Path) -> Iterator[TestClient]:
    key = KeyStore(store.engine, PEPPER.encode()).create("test").text
    app = create_app(Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER))
    with TestClient(app, headers={"Authorization": f"Bearer {key}"}) as asking:
        yield asking


def body(**changes: object) -> dict[str, object]:
    return {
        "name": "Shop",
        "connector_type": TYPE,
        "vertical": "retail",
        "entity_type": "product",
        "connection_config": {"text": "id,name\n1,Bolt\n2,Nut\n1,Bolt\n"},
        "query": "id, name",
    } | changes


@pytest.mark.parametrize(("tags", "expected"), [({}, ["Bolt", "Nut"]), ({LIMIT_TAG: "1"}, ["Bolt"])])
def test_it_is_accepted_by_the_api_shown_as_an_asset_and_pulled(
    store: Store, api: TestClient, tags: dict[str, str], expected: list[str]
) -> None:
    registered = api.post("/api/v1/connectors", json=body())
    (connector,) = store.connectors.list()
    definitions: dg.Definitions = importlib.import_module("qanatix_pipelines.definitions").defs
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(f"connectors_{TYPE}", [connector.partition_key])
        result = definitions.resolve_job_def(f"pull_{TYPE}").execute_in_process(
            partition_key=connector.partition_key, instance=instance, tags=tags
        )

    assert registered.status_code == 201
    assert dg.AssetKey(["connectors", TYPE]) in definitions.get_repository_def().asset_graph.get_all_asset_keys()
    assert result.success
    names = sorted(
        entity.name or ""
        for entity in store.entities.page(vertical="retail", entity_type="product", limit=10, cursor=None)[0]
    )
    assert names == expected


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"query": "id, , name"}, ["body", "query"]),
        ({"connection_config": {"txt": "id"}}, ["body", "connection_config", "txt"]),
    ],
)
def test_what_its_checks_refuse_the_api_refuses(api: TestClient, changes: dict[str, object], field: list[str]) -> None:
    refused = api.post("/api/v1/connectors", json=body(**changes))

    assert refused.status_code == 422
    assert [problem["loc"] for problem in refused.json()["detail"]] == [field]
