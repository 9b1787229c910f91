"""Which entity sets there are, and how many entities they have, in SQLite and in PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic import command

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import migrations, tables
from qanatix_pipelines.store.engine import connect
from qanatix_pipelines.store.entity_sets import EntitySet, entity_sets
from qanatix_pipelines.store.opening import Store, open_store
from qanatix_pipelines.tenants import DEFAULT, Tenant
from tests.test_store import NEW, READ_AT, batch, ingest, ingestion


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


def rows(store: Store) -> int:
    with store.engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(tables.entity)).scalar_one()


def test_only_new_entities_are_counted(store: Store, connector: Connector) -> None:
    ingest(store, connector, batch((1, "a"), (2, "b")))
    ingest(store, connector, batch((2, "changed"), (3, "c"), (3, "again")))
    ingest(store, connector, batch((1, "a")))

    assert store.entities.counted("manufacturing", "product").entities == 3 == rows(store)


def test_a_set_that_nobody_has_filled_has_none(store: Store) -> None:
    assert store.entities.counted("manufacturing", "product").entities == 0


def test_tenants_are_counted_apart(store: Store, connector: Connector) -> None:
    theirs = store.of(Tenant("acme")).connectors.add(NEW)
    ingest(store, connector, batch((1, "a"), (2, "b")))
    ingest(store.of(Tenant("acme")), theirs, batch((1, "a")))

    assert store.entities.counted("manufacturing", "product").entities == 2
    assert store.of(Tenant("acme")).entities.counted("manufacturing", "product").entities == 1


def test_a_pull_that_fails_counts_nothing(store: Store, connector: Connector) -> None:
    pull = ingestion(store, connector)
    pull.stage(batch((1, "a")), 1)
    store.connectors.remove(connector.id)

    with pytest.raises(Exception, match="changed or deleted"):
        pull.commit(None, READ_AT, 0)

    assert store.entities.counted("manufacturing", "product").entities == 0


def test_connectors_that_fill_one_set_at_once_count_each_entity_once(store: Store) -> None:
    connectors = [store.connectors.add(NEW) for _ in range(4)]

    def fill(number: int) -> None:
        for pull in range(5):
            first = 100 * number + 10 * pull
            ingest(store, connectors[number], batch(*((first + row, "a") for row in range(10))))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(fill, range(4)))

    assert store.entities.counted("manufacturing", "product").entities == 200 == rows(store)


def test_a_set_is_there_with_its_first_connector_and_stays_with_its_entities(
    store: Store, connector: Connector
) -> None:
    store.connectors.add(NEW.model_copy(update={"connector_type": "mysql"}))
    before = entity_sets(store.engine)
    ingest(store, connector, batch((1, "a")))
    for one in store.connectors.list():
        store.connectors.remove(one.id)

    assert before == [EntitySet(DEFAULT, "manufacturing", "product", ("mysql", "postgresql"))]
    assert entity_sets(store.engine) == [EntitySet(DEFAULT, "manufacturing", "product", ())]


def test_what_was_there_before_the_count_is_counted_when_the_store_is_migrated(settings: Settings) -> None:
    engine = connect(settings.store_address())
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.schema.CreateSchema(tables.SCHEMA))
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        for number in range(3):
            entity = {"tenant": "acme", "id": uuid4(), "vertical": "retail", "entity_type": "shop", "digest": b"d"}
            about = {"data": {"n": number}, "connector_id": uuid4(), "pull_id": uuid4()}
            connection.execute(_before.insert().values(**entity, **about, created_at=READ_AT, updated_at=READ_AT))
    engine.dispose()

    store = open_store(settings)

    assert store.of(Tenant("acme")).entities.counted("retail", "shop").entities == 3
    store.engine.dispose()


# The entities as they were in one table, until 0016.
_before = sa.Table(
    "entity",
    sa.MetaData(schema=tables.SCHEMA),
    sa.Column("id", sa.Uuid),
    sa.Column("data", sa.JSON),
    *(sa.Column(name, sa.Text) for name in ("tenant", "vertical", "entity_type")),
    *(
        sa.Column(name, of.type)
        for name, of in tables.entity.c.items()
        if name not in ("id", "data", "row", "set_number")
    ),
)
