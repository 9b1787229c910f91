"""A connector type is one file in `sources`: a fifth one is accepted, shown and pulled with nothing else touched."""

import importlib
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from fastapi.testclient import TestClient

from qanatix_api.app import create_app
from qanatix_pipelines import sources
from qanatix_pipelines.defs import resources
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store, open_store
from tests.conftest import ENCRYPTION_KEY, PEPPER

FILE = '''
"""SQLite files, by the standard library's driver."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import polars as pl

from qanatix_pipelines.batches import Batch, Column, Reading
from qanatix_pipelines.sources import Source, SourceConfig
from qanatix_pipelines.watermarks import Window


class Config(SourceConfig):
    path: str


class SQLite(Source):
    config_type = Config
    title = "SQLite"
    kind = "sqlite"

    def __init__(self, config: Config) -> None:
        self._path = config.path

    @classmethod
    def check_query(cls, query: str) -> bool:
        return False

    @asynccontextmanager
    async def read(self, query: str, *, window: Window, batch_size: int) -> AsyncIterator[Reading]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as connection:
            cursor = connection.execute(query)
            columns = tuple(Column(name, "any", pl.String) for name, *_ in cursor.description)

            async def batches() -> AsyncIterator[Batch]:
                while rows := cursor.fetchmany(batch_size):
                    texts = [[None if value is None else str(value) for value in row] for row in rows]
                    yield Batch(pl.DataFrame(texts, schema=[c.name for c in columns], orient="row"), columns)

            yield Reading(columns, None, batches())


source = SQLite
'''


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The file is put into the package for one test, and the environment names a store of the test's own."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "sqlite.py").write_text(FILE)
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path / "more")])
    monkeypatch.setenv("QANATIX_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", ENCRYPTION_KEY)
    monkeypatch.delitem(sys.modules, "qanatix_pipelines.definitions", raising=False)  # they are to be made anew
    resources._opened.cache_clear()
    opened = open_store(Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER))
    yield opened
    opened.engine.dispose()
    resources._opened().engine.dispose()
    resources._opened.cache_clear()


def test_it_is_accepted_by_the_api_shown_as_an_asset_and_pulled(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute("CREATE TABLE products (id, name)")
        shop.executemany("INSERT INTO products VALUES (?, ?)", [(1, "Bolt"), (2, "Nut"), (1, "Bolt")])
        shop.commit()

    key = KeyStore(store.engine, PEPPER.encode()).create("test").text
    app = create_app(Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER))
    with TestClient(app, headers={"Authorization": f"Bearer {key}"}) as api:
        body = {
            "name": "Shop",
            "connector_type": "sqlite",
            "vertical": "retail",
            "entity_type": "product",
            "connection_config": {"path": str(tmp_path / "shop.db")},
            "query": "SELECT id, name FROM products",
        }
        registered = api.post("/api/v1/connectors", json=body)
    (connector,) = store.connectors.list()
    definitions: dg.Definitions = importlib.import_module("qanatix_pipelines.definitions").defs
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("connectors_sqlite", [connector.partition_key])
        result = definitions.resolve_job_def("pull_sqlite").execute_in_process(
            partition_key=connector.partition_key, instance=instance
        )

    assert registered.status_code == 201
    assert dg.AssetKey(["connectors", "sqlite"]) in definitions.get_repository_def().asset_graph.get_all_asset_keys()
    assert result.success
    names = sorted(
        entity.name or ""
        for entity in store.entities.page(vertical="retail", entity_type="product", limit=10, cursor=None)[0]
    )
    assert names == ["Bolt", "Nut"]
