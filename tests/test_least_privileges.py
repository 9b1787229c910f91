"""The accounts that docs/security.md asks for, made by its own statements: they read what they must, and no more."""

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import neo4j
import psycopg
import pytest
import sqlalchemy as sa
from asyncmy.errors import MySQLError
from psycopg import errors

from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.errors import SourceError
from qanatix_pipelines.pull import PullOutcome, run_pull
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store import heaps, migrations
from qanatix_pipelines.store.engine import connect
from qanatix_pipelines.store.heaps import Heap
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store, open_store
from qanatix_pipelines.store.rotation import Rotated
from qanatix_pipelines.store.tables import SCHEMA
from tests.conftest import ENCRYPTION_KEY, PEPPER, new_database
from tests.kept import staged_in
from tests.servers import Server, new_password
from tests.sources.mongodb.harness import MongoDBHarness
from tests.sources.mysql.server import execute, parts
from tests.sources.neo4j.server import driver
from tests.sources.postgresql.harness import PostgreSQLHarness

DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "security.md").read_text()
STORE_KINDS = pytest.mark.parametrize("store_kind", ["sqlite"])
Pulled = Callable[..., PullOutcome]


class Account:
    """Names of this test's own in the place of the document's."""

    def __init__(self) -> None:
        self.user = f"reader_{uuid4().hex[:8]}"
        self.password = new_password()
        self.database = f"shop_{uuid4().hex[:8]}"

    def statements(self, section: str) -> list[str]:
        """The statements of the document's section, in order, without their comments."""
        (text,) = re.findall(rf"^### {section}\n.*?```\w+\n(.*?)```", DOCUMENT, re.DOTALL | re.MULTILINE)
        for name, ours in ((r"\breader\b", self.user), (r"\bshop\b", self.database), (r"\.\.\.", self.password)):
            text = re.sub(name, ours, text)
        return [statement.strip() for statement in re.sub(r" (--|//) .*", "", text).split(";") if statement.strip()]


@pytest.fixture
def account() -> Account:
    return Account()


def connector(store: Store, connector_type: str, config: dict[str, Any], query: str) -> Any:
    new = NewConnector(
        name="Products",
        connector_type=connector_type,
        vertical="testing",
        entity_type="product",
        connection_config=config,
        query=query,
    )
    return store.connectors.add(new)


@STORE_KINDS
def test_on_postgresql(store: Store, pulled: Pulled, postgresql_server: Server, account: Account) -> None:
    parts = urlsplit(postgresql_server.address)
    with psycopg.connect(postgresql_server.address, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {account.database}".encode())
    with psycopg.connect(parts._replace(path=f"/{account.database}").geturl(), autocommit=True) as admin:
        admin.execute("CREATE TABLE products (id int, name text, updated_at timestamptz DEFAULT now())")
        admin.execute("CREATE TABLE salaries (id int)")
        admin.execute("INSERT INTO products VALUES (1, 'One'), (2, 'Two')")
        for statement in account.statements("PostgreSQL"):
            admin.execute(statement.encode())
    dsn = f"postgresql://{account.user}:{account.password}@127.0.0.1:{parts.port}/{account.database}"

    made = connector(store, "postgresql", {"dsn": dsn}, "SELECT * FROM products WHERE updated_at > :last_pull")
    assert pulled(made).receipt.records_ingested == 2

    refused = [
        "INSERT INTO products VALUES (3, 'Three')",
        "SELECT * FROM salaries",
        "CREATE TABLE mine (id int)",
        "COPY products TO PROGRAM 'cat'",
        "SELECT pg_read_file('postgresql.conf')",
        "CREATE ROLE other",
    ]
    with psycopg.connect(dsn, autocommit=True) as reader:
        for statement in refused:
            with pytest.raises(errors.InsufficientPrivilege):
                reader.execute(statement.encode())
        with psycopg.connect(postgresql_server.address.rpartition("/")[0] + f"/{account.database}") as other:
            other.execute("SELECT 1")
            seen = reader.execute("SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL").fetchone()
    assert seen is not None
    assert seen[0] >= 2
    with psycopg.connect(postgresql_server.address, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {account.database} WITH (FORCE)".encode())
        admin.execute(f"DROP ROLE {account.user}".encode())


@STORE_KINDS
def test_on_mysql_and_mariadb(store: Store, pulled: Pulled, mysql_server: Server, account: Account) -> None:
    execute(
        mysql_server.address,
        f"CREATE DATABASE {account.database}",
        f"CREATE TABLE {account.database}.products (id int, name text, updated_at timestamp DEFAULT now())",
        f"CREATE TABLE {account.database}.salaries (id int)",
        f"INSERT INTO {account.database}.products (id, name) VALUES (1, 'One'), (2, 'Two')",
        *account.statements("MySQL and MariaDB"),
    )
    login = {"user": account.user, "password": account.password, "database": account.database}
    config = parts(mysql_server.address) | login

    query = "SELECT * FROM products WHERE updated_at > :last_pull"
    assert pulled(connector(store, "mysql", config, query)).receipt.records_ingested == 2

    for query in ("SELECT * FROM salaries", "SELECT * FROM mysql.user"):
        with pytest.raises(SourceError):
            pulled(connector(store, "mysql", config, query))
    address = mysql_server.address.replace(
        f"{parts(mysql_server.address)['user']}:{parts(mysql_server.address)['password']}",
        f"{account.user}:{account.password}",
    ).rpartition("/")[0]
    for statement in ("INSERT INTO products (id) VALUES (3)", "SELECT 1 INTO OUTFILE '/tmp/qanatix_no_such_file'"):
        with pytest.raises(MySQLError, match="denied"):
            execute(f"{address}/{account.database}", statement)
    execute(mysql_server.address, f"DROP USER {account.user}@'%'", f"DROP DATABASE {account.database}")


@pytest.mark.skipif(
    not os.environ.get("QANATIX_TEST_MONGODB_URI"), reason="DocumentDB has no roles of one's own, as the document says"
)
@STORE_KINDS
def test_on_mongodb(store: Store, pulled: Pulled, mongodb_harness: MongoDBHarness, account: Account) -> None:
    (text,) = account.statements("MongoDB")
    with mongodb_harness.client() as client:
        shop = client[account.database]
        shop.products.insert_many([{"_id": 1, "name": "One"}, {"_id": 2, "name": "Two"}])
        shop.salaries.insert_one({"_id": 1, "name": "One"})
        for command, argument in re.findall(r"\.(create\w+)\((\{.*?\})\)\s*(?=db|$)", text, re.DOTALL):
            told = json.loads(re.sub(r"([{,]\s*)(\w+):", r'\1"\2":', argument))
            key = "role" if command == "createRole" else "user"
            shop.command({command: told.pop(key)} | told)
    config = mongodb_harness.changed(password=account.password) | {"database": account.database}
    config["uri"] = re.sub(r"//[^:]+:", f"//{account.user}:", config["uri"]) + f"&authSource={account.database}"

    products = connector(store, "mongodb", config | {"collection": "products"}, "{}")
    assert pulled(products).receipt.records_ingested == 2
    with pytest.raises(SourceError):
        pulled(connector(store, "mongodb", config | {"collection": "salaries"}, "{}"))


def test_on_neo4j_each_statement_is_well_formed_and_the_community_edition_has_no_roles(
    neo4j_server: Server, account: Account
) -> None:
    with driver(neo4j_server.address) as connection:
        for statement in account.statements("Neo4j"):
            if statement.startswith("CREATE USER"):
                connection.execute_query(statement, database_="system")
            else:
                with pytest.raises(neo4j.exceptions.Neo4jError) as refused:
                    connection.execute_query(statement, database_="system")
                assert refused.value.code == "Neo.ClientError.Statement.UnsupportedAdministrationCommand"
        connection.execute_query(f"DROP USER {account.user}", database_="system")


@pytest.fixture
def least(
    request: pytest.FixtureRequest, postgresql_server: Server, tmp_path: Path, account: Account
) -> Iterator[Settings]:
    """A store in production whose account may do no more than the document says.

    They were granted at the revision that the test names, the newest if it names none.
    """
    address = new_database(postgresql_server)
    engine = connect(address)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(SCHEMA))
        migrations._to(connection, getattr(request, "param", "head"))
    with psycopg.connect(address, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {account.user} LOGIN PASSWORD '{account.password}'".encode())
        for statement in account.statements("The store's own account"):
            admin.execute(re.sub(r"\bapp\b", account.user, statement).encode())
    migrations.upgrade(engine)
    engine.dispose()
    yield Settings(
        environment="production",
        data_dir=tmp_path,
        store_url=re.sub(r"//.*@", f"//{account.user}:{account.password}@", address),
        encryption_key=ENCRYPTION_KEY,
        pepper=PEPPER,
    )
    with psycopg.connect(address, autocommit=True) as admin:
        admin.execute(
            f"GRANT {account.user} TO CURRENT_USER; DROP OWNED BY {account.user}; DROP ROLE {account.user}".encode()
        )


@pytest.fixture
def least_store(least: Settings) -> Iterator[Store]:
    opened = open_store(least)
    yield opened
    opened.engine.dispose()


def test_of_the_store(least_store: Store, postgresql_server: Server) -> None:
    """From a connector's registration to its deletion, with a rotation between."""
    harness = PostgreSQLHarness(postgresql_server)
    harness.fill(3)
    made = connector(least_store, "postgresql", harness.config, harness.everything)

    assert ingested(least_store, made) == 3
    assert KeyStore(least_store.engine, PEPPER.encode()).create("one").id
    assert least_store.connectors.rotate() == Rotated(1, (), ())
    assert least_store.connectors.remove(made.id).id == made.id


@pytest.mark.parametrize("least", ["0016"], indirect=True)
def test_of_a_store_that_was_migrated_since(least_store: Store, postgresql_server: Server) -> None:
    harness = PostgreSQLHarness(postgresql_server)
    harness.fill(3)

    assert ingested(least_store, connector(least_store, "postgresql", harness.config, harness.everything)) == 3


@pytest.mark.usefixtures("in_heaps")
def test_of_the_store_when_pulls_are_staged_in_tables(least_store: Store, postgresql_server: Server) -> None:
    """The first becomes the set's own table, the second is dropped, the third is swept."""
    harness = PostgreSQLHarness(postgresql_server)
    harness.fill(3)
    made = connector(least_store, "postgresql", harness.config, harness.everything)

    assert ingested(least_store, made) == 3
    harness.fill(5)
    assert ingested(least_store, made) == 5
    assert staged_in(least_store) == set()
    lost = least_store.pulls.begin(made, "run")
    heap = Heap(lost.id, lost.attempt - 1, leaf=False)
    with least_store.engine.begin() as transaction:
        heaps.make(transaction, heap)
    assert staged_in(least_store) == {lost.id}
    heaps.sweep(least_store.engine)
    assert staged_in(least_store) == set()


@pytest.mark.parametrize(
    "call",
    [
        "make_heap(gen_random_uuid(), 1, false)",
        "drop_heap(gen_random_uuid(), 1)",
        "make_leaf(7)",
        "attach_leaf(7)",
        "become_leaf(gen_random_uuid(), 1, 7, gen_random_uuid(), now(), now())",
    ],
)
def test_a_reader_of_the_store_can_have_no_table_made_or_dropped(
    least: Settings, account: Account, postgresql_server: Server, call: str
) -> None:
    assert least.store_url is not None
    owners = (
        urlsplit(postgresql_server.address)._replace(path=urlsplit(least.store_url.get_secret_value()).path).geturl()
    )
    with psycopg.connect(owners, autocommit=True) as owner:
        owner.execute(f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA qanatix FROM {account.user}".encode())
    with (
        psycopg.connect(least.store_url.get_secret_value()) as reader,
        pytest.raises(errors.InsufficientPrivilege, match=f"function {call.partition('(')[0]}"),
    ):
        reader.execute(f"SELECT qanatix.{call}".encode())


def ingested(store: Store, made: Connector) -> int:
    receipt = store.pulls.begin(made, "run")
    return run_pull(store, made, receipt, partial(open_source, "postgresql")).receipt.records_ingested
