"""Only reading a database loads its driver. What the API and Dagster do with connectors, they do without one.

The worker has loaded them all before it forks, so that no run has to.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import connector_types
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import open_store
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.stack import ROOT

DRIVERS = ("asyncmy", "asyncpg", "bson", "neo4j", "pymongo")
_SERVER = {"host": "db.internal", "user": "reader", "password": "secret", "database": "shop"}
# A connector of each type: its connection_config, and a query that asks for all that a check reads.
CONNECTORS: dict[str, tuple[dict[str, Any], str]] = {
    "postgresql": (
        {"dsn": "postgresql://reader:secret@db.internal/shop"},
        "SELECT id FROM items WHERE updated_at > :last_pull",
    ),
    "mysql": (_SERVER, "SELECT id FROM items WHERE updated_at > :last_pull"),
    "mongodb": (
        {"uri": "mongodb://reader:secret@db.internal/", "database": "shop", "collection": "items"},
        '{"filter": {"updated_at": {"$gt": ":last_pull"}, "owner": {"$oid": "64b7f1c2a3d4e5f601234567"}}}',
    ),
    "neo4j": (
        {"uri": "neo4j+s://db.internal", "user": "reader", "password": "secret", "database": "neo4j"},
        "MATCH (n:Item) WHERE n.updated_at > $last_pull RETURN n",
    ),
    "sqlite": ({"path": "/srv/shop.db"}, "SELECT id FROM items WHERE updated_at > :last_pull"),
}

_CHECKED = """
from qanatix_pipelines.sources import check_connector

for connector_type, (config, query) in given.items():
    check_connector(connector_type, config, query)
"""
_REGISTERED = """
import os
from fastapi.testclient import TestClient
from qanatix_api.app import create_app
from qanatix_pipelines.settings import read_settings

with TestClient(create_app(read_settings()), headers={"Authorization": f"Bearer {os.environ['KEY']}"}) as api:
    for connector_type, (config, query) in given.items():
        answer = api.post("/api/v1/connectors", json={
            "name": "Items", "connector_type": connector_type, "vertical": "testing", "entity_type": "item",
            "connection_config": config, "query": query,
        })
        assert answer.status_code == 201, answer.text
"""
_DEFINED = """
import qanatix_pipelines.definitions
"""
_PRELOADED = """
from qanatix_pipelines.launcher import preload

preload.definitions()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(_CHECKED, id="checking a connector"),
        pytest.param(_REGISTERED, id="registering a connector"),
        pytest.param(_DEFINED, id="loading our definitions"),
    ],
)
def test_no_driver_but_bson_is_loaded_by(program: str, data_dir: Path) -> None:
    """MongoDB's queries are written in Extended JSON, which bson reads."""
    assert _loaded_by(program, data_dir) == ["bson"]


@pytest.mark.slow
def test_the_worker_loads_every_driver_before_it_forks(data_dir: Path) -> None:
    assert _loaded_by(_PRELOADED, data_dir) == list(DRIVERS)


def test_each_type_has_a_connector_that_is_checked_so() -> None:
    assert set(CONNECTORS) == set(connector_types())


def _loaded_by(program: str, data_dir: Path) -> list[str]:
    """The drivers that a process has loaded after it ran `program`."""
    settings = Settings(data_dir=data_dir, encryption_key=ENCRYPTION_KEY, pepper=PEPPER)
    store = open_store(settings)
    key = KeyStore(store.engine, PEPPER.encode()).create("test").text
    store.engine.dispose()
    given = f"import json\nimport sys\n\ngiven = json.loads({json.dumps(CONNECTORS)!r})\n"
    told = f"\nprint(*[name for name in {DRIVERS} if name in sys.modules])\n"

    found = subprocess.run(
        [sys.executable, "-c", given + program + told],
        cwd=ROOT,
        env={
            "QANATIX_DATA_DIR": str(data_dir),
            "CONNECTOR_ENCRYPTION_KEY": ENCRYPTION_KEY,
            "QANATIX_API_KEY_PEPPER": PEPPER,
            "DAGSTER_HOME": str(data_dir),
            "KEY": key,
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 0, found.stderr
    return found.stdout.split()
