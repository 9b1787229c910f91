"""Whether pulls are protected on their way is told for each connector, as its own configuration demands it."""

from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa
from alembic import command

from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import check_config
from qanatix_pipelines.store import migrations, tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.connectors import ConnectorStore
from qanatix_pipelines.store.engine import connect
from qanatix_pipelines.tenants import DEFAULT
from qanatix_pipelines.tls import Tls
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.served import served

FAR, NEAR = "db.internal", "127.0.0.1"


def postgresql(host: str, option: str = "") -> tuple[str, dict[str, Any]]:
    return "postgresql", {"dsn": f"postgresql://reader:secret@{host}/shop{option}"}


def mysql(host: str, **tls: str) -> tuple[str, dict[str, Any]]:
    return "mysql", {"host": host, "user": "reader", "password": "secret", "database": "shop", **tls}


def mongodb(host: str, option: str = "") -> tuple[str, dict[str, Any]]:
    return "mongodb", {"uri": f"mongodb://reader:secret@{host}/{option}", "database": "shop", "collection": "orders"}


def neo4j(uri: str, **tls: str) -> tuple[str, dict[str, Any]]:
    return "neo4j", {"uri": uri, "user": "reader", "password": "secret", "database": "neo4j", **tls}


SPELLINGS: list[tuple[tuple[str, dict[str, Any]], Tls]] = [
    (postgresql(FAR, "?sslmode=verify-full"), "verified"),
    (postgresql(FAR, "?sslmode=verify-ca"), "encrypted"),
    (postgresql(FAR, "?sslmode=require"), "encrypted"),
    (postgresql(FAR, "?sslmode=disable"), "none"),
    (postgresql(FAR), "encrypted"),
    (postgresql(NEAR), "none"),
    (postgresql("[::1]"), "none"),
    (postgresql("localhost", "?sslmode=verify-full"), "verified"),
    (mysql(FAR, tls="verify"), "verified"),
    (mysql(FAR, tls="required"), "encrypted"),
    (mysql(FAR, tls="disabled"), "none"),
    (mysql(FAR), "encrypted"),
    (mysql(NEAR), "none"),
    (mysql(NEAR, tls="required"), "encrypted"),
    (mongodb(FAR), "verified"),
    (mongodb(FAR, "?tls=true"), "verified"),
    (mongodb(FAR, "?TLS=false"), "none"),
    (mongodb(NEAR), "none"),
    (mongodb(NEAR, "?tls=true"), "verified"),
    (neo4j(f"bolt+s://{FAR}"), "verified"),
    (neo4j(f"neo4j+s://{FAR}", tls="verify"), "verified"),
    (neo4j(f"neo4j://{FAR}", tls="verify"), "verified"),
    (neo4j(f"bolt://{FAR}", tls="disabled"), "none"),
    (neo4j(f"bolt://{NEAR}"), "none"),
    (neo4j(f"bolt+s://{NEAR}"), "verified"),
]


@pytest.mark.parametrize(("connector", "expected"), SPELLINGS)
def test_it_is_what_the_configuration_demands(connector: tuple[str, dict[str, Any]], expected: Tls) -> None:
    assert check_config(*connector).tls == expected


def test_it_is_answered_wherever_a_connector_is_and_follows_its_changes(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER)
    connector_type, config = postgresql(FAR, "?sslmode=verify-full")
    body = {
        "name": "Shop",
        "connector_type": connector_type,
        "vertical": "retail",
        "entity_type": "order",
        "connection_config": config,
        "query": "SELECT 1 AS id",
    }
    with served(settings) as running, httpx2.Client(base_url=f"{running.url}/api/v1", headers=running.headers) as api:
        registered = api.post("/connectors", json=body).json()
        address = f"/connectors/{registered['id']}"
        renamed = api.patch(address, json={"name": "Renamed"}).json()
        weaker = api.patch(address, json={"connection_config": postgresql(FAR, "?sslmode=disable")[1]}).json()
        shown, (listed,) = api.get(address).json(), api.get("/connectors").json()

    told = [answer["tls"] for answer in (registered, renamed, weaker, shown, listed)]
    assert told == ["verified", "verified", "none", "none", "none"]


def test_of_a_connector_that_is_older_it_is_not_known(settings: Settings) -> None:
    engine = connect(settings.store_address())
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.schema.CreateSchema(tables.SCHEMA))
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        texts = ("name", "connector_type", "vertical", "entity_type", "query", "credentials", "partition_key")
        old = dict.fromkeys(texts, "old") | {"id": UUID(int=1), "batch_size": 1, "created_at": now(), "tenant": DEFAULT}
        connection.execute(tables.connector.insert().inline().values(old))

    migrations.upgrade(engine)

    (connector,) = ConnectorStore(engine, CredentialCipher([ENCRYPTION_KEY]), DEFAULT).list()
    engine.dispose()
    assert (connector.name, connector.connection, connector.tls) == ("old", None, None)
