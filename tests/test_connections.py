"""Of a connector's credentials it is shown where they lead and as whom, and nothing else of them."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from qanatix_pipelines.errors import InvalidConnector
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import check_config
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.served import served

SECRET = "s3cr3t"
DSN = {"dsn": f"postgresql://reader:{SECRET}@db.internal/shop"}


@pytest.mark.parametrize(
    ("connector_type", "config", "expected"),
    [
        ("postgresql", DSN, {"host": "db.internal", "port": 5432, "database": "shop", "user": "reader"}),
        (
            "postgresql",
            {"dsn": f"postgresql://read%40er:{SECRET}%40%2F@[2001:db8::1]:6432/my%20shop?sslmode=require"},
            {"host": "2001:db8::1", "port": 6432, "database": "my shop", "user": "read@er"},
        ),
        (
            "mysql",
            {"host": "db.internal", "user": "reader", "password": SECRET, "database": "shop"},
            {"host": "db.internal", "port": 3306, "database": "shop", "user": "reader"},
        ),
        (
            "mongodb",
            {"uri": f"mongodb://reader:{SECRET}@db.internal/?authSource=people", "database": "shop", "collection": "o"},
            {
                "host": "db.internal",
                "port": 27017,
                "database": "shop",
                "collection": "o",
                "user": "reader",
                "auth_source": "people",
            },
        ),
        (
            "neo4j",
            {"uri": "neo4j+s://[2001:db8::1]", "user": "reader", "password": SECRET, "database": "neo4j"},
            {"host": "2001:db8::1", "port": 7687, "database": "neo4j", "user": "reader"},
        ),
        ("sqlite", {"path": "/srv/shop/orders.db"}, {"path": "/srv/shop/orders.db"}),
    ],
)
def test_it_has_the_parts_that_are_no_secret(
    connector_type: str, config: dict[str, Any], expected: dict[str, object]
) -> None:
    connection = check_config(connector_type, config).connection

    assert connection == expected
    assert SECRET not in json.dumps(connection)


@pytest.mark.parametrize(
    ("connector_type", "config"),
    [
        ("postgresql", {"dsn": f"postgresql://reader:my@{SECRET}/{SECRET}@db.internal"}),
        ("mongodb", {"uri": f"mongodb://reader:my@{SECRET}/{SECRET}@db.internal", "database": "d", "collection": "c"}),
        (
            "mysql",
            {"host": f"mysql://r:{SECRET}@db.internal", "user": "reader", "password": SECRET, "database": "shop"},
        ),
        (
            "mysql",
            {"host": f"reader:{SECRET}@db.internal", "user": "reader", "password": SECRET, "database": "shop"},
        ),
    ],
)
def test_a_password_that_would_be_taken_for_another_part_is_refused(
    connector_type: str, config: dict[str, Any]
) -> None:
    with pytest.raises(InvalidConnector) as refused:
        check_config(connector_type, config)

    assert SECRET not in str(refused.value)


def test_it_is_answered_wherever_a_connector_is_and_follows_its_changes(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER)
    body = {
        "name": "Shop",
        "connector_type": "postgresql",
        "vertical": "retail",
        "entity_type": "order",
        "connection_config": DSN,
        "query": "SELECT 1 AS id",
    }
    moved = {"dsn": f"postgresql://other:{SECRET}@db.internal:6432/shop"}
    with served(settings) as running, httpx2.Client(base_url=f"{running.url}/api/v1", headers=running.headers) as api:
        registered = api.post("/connectors", json=body).json()
        address = f"/connectors/{registered['id']}"
        renamed = api.patch(address, json={"name": "Renamed", "connection_config": "***REDACTED***"}).json()
        changed = api.patch(address, json={"connection_config": moved}).json()
        shown, (listed,) = api.get(address).json(), api.get("/connectors").json()

    first = {"host": "db.internal", "port": 5432, "database": "shop", "user": "reader"}
    then = first | {"port": 6432, "user": "other"}
    assert [answer["connection"] for answer in (registered, renamed, changed, shown, listed)] == [
        *(first, first),
        *(then, then, then),
    ]
    assert {answer["connection_config"] for answer in (registered, changed, shown, listed)} == {"***REDACTED***"}
