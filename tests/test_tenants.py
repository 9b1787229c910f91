"""Tenants in the store, on the command line and in Dagster: what is one's is not there for another."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import polars as pl
import pytest
import sqlalchemy as sa
from alembic import command
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.errors import CredentialsUnreadable, NotFound
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.naming import entity_set_key
from qanatix_pipelines.receipts import PullStatus, Receipt
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import migrations, tables
from qanatix_pipelines.store.engine import connect
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.migrations.json_text import JsonText
from qanatix_pipelines.store.opening import Store, open_store
from qanatix_pipelines.tenants import DEFAULT, Tenant, tenant
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.kept import entities
from tests.test_store import NEW, batch

ACME = Tenant("acme")
# Credentials as they were sealed before there were tenants.
SEALED = (
    Fernet(ENCRYPTION_KEY)
    .encrypt(json.dumps({"v": 1, "connector_id": str(UUID(int=5)), "config": NEW.connection_config}).encode())
    .decode()
)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def acme(store: Store) -> Store:
    return store.of(ACME)


@pytest.fixture
def connector(acme: Store) -> Connector:
    """A connector of acme's."""
    return acme.connectors.add(NEW)


def ingest(store: Store, connector: Connector, *rows: tuple[int, str]) -> Receipt:
    ingestion = Ingestion(store.engine, connector, store.pulls.begin(connector, f"run-{uuid4()}"))
    ingestion.stage(batch(*rows), len(rows))
    return ingestion.commit(None, NOON, time.monotonic())


@pytest.mark.parametrize("name", ["", "Acme", "a_b", "-acme", "a" * 64, "acme\n", "ä"])
def test_a_name_that_is_none_of_a_tenant_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 63 of a-z"):
        tenant(name)


@pytest.mark.parametrize("name", ["default", "a", "0", "a-1-", "a" * 63])
def test_a_name_of_a_tenant_is_taken(name: str) -> None:
    assert tenant(name) == name


def test_only_another_tenants_entity_sets_are_named_after_it() -> None:
    assert entity_set_key(DEFAULT, "manufacturing", "product") == ["manufacturing", "product"]
    assert entity_set_key(ACME, "manufacturing", "product") == ["acme", "manufacturing", "product"]


class TestConnectors:
    def test_anothers_is_not_found(self, store: Store, connector: Connector) -> None:
        for ask in (
            lambda: store.connectors.get(connector.id),
            lambda: store.connectors.by_partition(connector.partition_key),
            lambda: store.connectors.change(connector.id, {"name": "mine"}),
            lambda: store.connectors.remove(connector.id),
            lambda: store.pulls.queue(connector.id),
        ):
            with pytest.raises(NotFound, match="no such connector"):
                ask()

    def test_anothers_is_not_listed(self, store: Store, acme: Store, connector: Connector) -> None:
        mine = store.connectors.add(NEW)

        assert (store.connectors.list(), acme.connectors.list()) == ([mine], [connector])

    def test_anothers_pulls_are_not_told(self, store: Store, acme: Store, connector: Connector) -> None:
        acme.pulls.begin(connector, "run")

        assert (store.connectors.last_pulls(), list(acme.connectors.last_pulls())) == ({}, [connector.id])

    def test_a_row_that_was_given_to_another_tenant_does_not_decrypt(self, store: Store, connector: Connector) -> None:
        with store.engine.begin() as transaction:
            transaction.execute(tables.connector.update().values(tenant=DEFAULT))

        with pytest.raises(CredentialsUnreadable):
            store.connectors.connection_config(store.connectors.get(connector.id))


class TestPulls:
    def test_anothers_are_not_found(self, store: Store, acme: Store, connector: Connector) -> None:
        running = acme.pulls.begin(connector, "run")

        with pytest.raises(NotFound, match="no such pull"):
            store.pulls.get(running.id)
        assert (store.pulls.several([running.id]), acme.pulls.several([running.id])) == ({}, {running.id: running})
        assert store.pulls.live(connector.id) is None
        assert store.pulls.of_run("run") is None
        assert acme.pulls.live(connector.id) == acme.pulls.of_run("run") == running

    def test_anothers_that_lapsed_are_not_told(self, store: Store, acme: Store, connector: Connector) -> None:
        acme.pulls.begin(connector, "run")
        _expire(store)

        assert (len(store.pulls.lapsed()), len(acme.pulls.lapsed())) == (0, 1)


class TestEntities:
    def test_the_same_key_in_a_set_of_the_same_name_is_each_tenants_own(
        self, store: Store, acme: Store, connector: Connector
    ) -> None:
        theirs = ingest(acme, connector, (1, "a"), (2, "b"))
        ours = ingest(store, store.connectors.add(NEW), (1, "changed"))

        assert (theirs.records_ingested, ours.records_ingested) == (2, 1)
        assert (store.entities.get(UUID(int=1)).name, acme.entities.get(UUID(int=1)).name) == ("changed", "a")

    def test_anothers_are_not_there(self, store: Store, acme: Store, connector: Connector) -> None:
        ingest(acme, connector, (1, "a"))

        with pytest.raises(NotFound, match="no such entity"):
            store.entities.get(UUID(int=1))
        assert store.entities.page(vertical=None, entity_type=None, limit=1, cursor=None) == ([], None)
        assert store.entities.counted(connector.vertical, connector.entity_type).entities == 0
        assert acme.entities.counted(connector.vertical, connector.entity_type).entities == 1


class TestKeys:
    @pytest.fixture
    def keys(self, store: Store) -> KeyStore:
        return KeyStore(store.engine, PEPPER.encode())

    def test_a_key_says_whose_it_is(self, keys: KeyStore) -> None:
        found = keys.find(keys.of(ACME).create("theirs").text)

        assert found is not None
        assert found.tenant == ACME

    def test_anothers_is_not_found(self, keys: KeyStore) -> None:
        theirs = keys.of(ACME).create("theirs")

        for ask in (keys.get, keys.rotate):
            with pytest.raises(NotFound, match="no such key"):
                ask(theirs.id)
        assert not keys.revoke(theirs.id)
        assert keys.find(theirs.text) is not None

    def test_anothers_are_not_listed(self, keys: KeyStore) -> None:
        mine, theirs = keys.create("mine"), keys.of(ACME).create("theirs")

        assert [key.id for key in keys.list()] == [mine.id]
        assert [key.id for key in keys.of(ACME).list()] == [theirs.id]
        assert keys.tenants() == [ACME, DEFAULT]


class TestTenants:
    def test_those_are_known_that_have_a_connector_or_a_live_pull(
        self, store: Store, acme: Store, connector: Connector
    ) -> None:
        gone = Tenant("gone")
        store.of(gone).pulls.begin(store.of(gone).connectors.add(NEW), "run")
        with store.engine.begin() as transaction:
            transaction.execute(tables.connector.delete().where(tables.connector.c.tenant == gone))

        assert set(store.tenants.all()) == {connector.tenant, gone}
        acme.connectors.remove(connector.id)
        assert store.tenants.all() == [gone]

    def test_a_partition_and_a_run_are_found_to_be_their_tenants(
        self, store: Store, acme: Store, connector: Connector
    ) -> None:
        acme.pulls.begin(connector, "run")

        assert store.tenants.of_partition(connector.partition_key) == ACME
        assert store.tenants.of_run("run") == ACME
        assert store.tenants.of_run("another") is None
        with pytest.raises(NotFound):
            store.tenants.of_partition("no-such-partition")

    def test_the_credentials_of_all_are_rotated_and_each_stays_its_tenants(
        self, store: Store, acme: Store, connector: Connector
    ) -> None:
        mine = store.connectors.add(NEW)

        assert store.connectors.rotate().connectors == 2
        assert store.connectors.connection_config(mine) == NEW.connection_config
        assert acme.connectors.connection_config(connector) == NEW.connection_config


class TestApi:
    @pytest.fixture
    def store_kind(self) -> str:
        return "sqlite"

    @pytest.fixture
    def api(self, keyless: TestClient) -> TestClient:
        return keyless

    @pytest.fixture
    def as_tenant(self, api: TestClient) -> Callable[[Tenant], dict[str, str]]:
        """The headers of a new key of a tenant's, with every scope."""
        keys: KeyStore = api.app.state.services.keys  # type: ignore[attr-defined]

        def headers(tenant: Tenant) -> dict[str, str]:
            return {"Authorization": f"Bearer {keys.of(tenant).create('test', frozenset(Scope)).text}"}

        return headers

    def test_a_key_makes_what_is_its_tenants(
        self, api: TestClient, as_tenant: Callable[[Tenant], dict[str, str]]
    ) -> None:
        mine, theirs = as_tenant(DEFAULT), as_tenant(ACME)

        made = api.post("/api/v1/connectors", json=NEW.model_dump(exclude_none=True), headers=theirs).json()["id"]

        statuses = [api.get(f"/api/v1/connectors/{made}", headers=headers).status_code for headers in (mine, theirs)]
        assert statuses == [404, 200]

    def test_a_key_that_a_key_makes_is_of_the_same_tenant(
        self, api: TestClient, as_tenant: Callable[[Tenant], dict[str, str]]
    ) -> None:
        theirs = as_tenant(ACME)

        made = api.post("/api/v1/auth/keys", json={"name": "made"}, headers=theirs).json()

        found = api.app.state.services.keys.find(made["key"])  # type: ignore[attr-defined]
        assert found.tenant == ACME
        assert made["id"] not in api.get("/api/v1/auth/keys", headers=as_tenant(DEFAULT)).text


class TestMigration:
    @pytest.fixture
    def migrated(self, settings: Settings) -> Iterator[Store]:
        """A store that had a row in each table before there were tenants."""
        engine = connect(settings.store_address())
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.schema.CreateSchema(tables.SCHEMA))
            config = migrations._config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0003")
            for table, row in _rows().items():
                connection.execute(_before(connection, table, row).insert().values(row))
        migrations.upgrade(engine)
        engine.dispose()
        store = open_store(settings)
        yield store
        store.engine.dispose()

    def test_what_was_there_before_is_the_default_tenants_and_else_as_it_was(self, migrated: Store) -> None:
        with migrated.engine.connect() as connection:
            kept = {table: dict(connection.execute(_all(table)).mappings().one()) for table in _rows()}

        assert kept == {
            table: dict.fromkeys(table.c.keys()) | _SINCE.get(table, {}) | row | {"tenant": DEFAULT}
            for table, row in _rows().items()
        }

    def test_credentials_and_keys_are_good_as_they_were(self, migrated: Store) -> None:
        (connector,) = migrated.connectors.list()
        (key,) = KeyStore(migrated.engine, PEPPER.encode()).list()

        assert migrated.connectors.connection_config(connector) == NEW.connection_config
        assert key.scopes == {Scope.ADMIN}

    def test_an_entity_is_the_same_as_before(self, migrated: Store) -> None:
        (connector,) = migrated.connectors.list()
        kept = _rows()[tables.entity]
        frame = batch((7, "a")).frame.with_columns(digest=pl.lit(kept["digest"]))

        ingestion = Ingestion(migrated.engine, connector, migrated.pulls.begin(connector, "another run"))
        ingestion.stage(EntityBatch(frame, [], 0), 1)

        assert ingestion.commit(None, NOON, time.monotonic()).duplicates_skipped == 1

    def test_nobodys_row_is_not_taken_on_postgresql(self, store: Store) -> None:
        if store.engine.dialect.name == "sqlite":
            pytest.skip("SQLite keeps the default that a column was added with")

        row = _rows()[tables.api_key]
        with pytest.raises(sa.exc.IntegrityError, match="tenant"), store.engine.begin() as transaction:
            transaction.execute(_before(transaction, tables.api_key, row).insert().values(row))


def _all(table: sa.Table) -> sa.Select[Any]:
    return entities() if table is tables.entity else sa.select(table)


def _before(connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> sa.TableClause:
    """A table as it was before there were tenants, with the columns of a row."""
    old = {"id": sa.Uuid(), "vertical": sa.Text(), "entity_type": sa.Text(), "data": JsonText()}
    types = old if table is tables.entity else {}
    columns = [sa.column(name, types.get(name) or table.c[name].type) for name in row]
    return sa.table(table.name, *columns, schema=None if connection.dialect.name == "sqlite" else table.schema)


# What later releases give such a row, but for null.
_SINCE = {
    tables.connector: {"paused": False, "watch_changes": 0, "watch_failures": 0, "version": 1},
    tables.pull: {
        "records_read": 1,
        "bytes_read": 0,
        "rejected_by_reason": {},
        "keys_repeated": 0,
        "warnings": [],
        "set_number": 1,
        "change_number": 1,
    },  # it has read what it pulled
    tables.entity: {"row": 1, "set_number": 1},
}


def _rows() -> dict[sa.Table, dict[str, Any]]:
    """A row of each table that has a tenant."""
    connector_id = UUID(int=5)
    return {
        tables.connector: NEW.model_dump(exclude={"connection_config", "key", "schedule", "watch"})
        | {
            "id": connector_id,
            "credentials": SEALED,
            "partition_key": "products-00000000",
            "generation": 3,
            "watermark": NOON,
            "watermark_at": NOON + timedelta(seconds=1),
            "created_at": NOON,
        },
        tables.pull: {
            "id": UUID(int=6),
            "connector_id": connector_id,
            "run_id": "run",
            "status": PullStatus.COMPLETED.value,
            "attempt": 2,
            "full_refresh": False,
            "lease_until": NOON,
            "records_pulled": 1,
            "records_ingested": 1,
            "duplicates_skipped": 0,
            "records_rejected": 0,
            "duration_seconds": 0.5,
            "watermark": 2**70,
            "created_at": NOON,
            "finished_at": NOON,
        },
        tables.entity: {
            "id": UUID(int=7),
            "vertical": NEW.vertical,
            "entity_type": NEW.entity_type,
            "source_id": "7",
            "digest": bytes(range(32)),
            "name": "Schraube \N{GREEK SMALL LETTER MU}",
            "data": '{"price":12.50,"big":123456789012345678901234567890.5,"nul":"\\u0000"}',
            "connector_id": connector_id,
            "pull_id": UUID(int=6),
            "created_at": NOON,
            "updated_at": NOON + timedelta(microseconds=1),
        },
        tables.api_key: {
            "id": "0" * 8,
            "name": "old",
            "digest": bytes(32),
            "scopes": "admin",
            "created_at": NOON,
            "last_used_at": NOON,
        },
    }


def _expire(store: Store) -> None:
    with store.engine.begin() as transaction:
        transaction.execute(tables.pull.update().values(lease_until=NOON - timedelta(days=9000)))
