"""What a new user gets wrong in a connection_config is told by its field, what is allowed, and what to do next."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from qanatix_pipelines.errors import InvalidConnector, LoginRefused, SourceError
from qanatix_pipelines.sources import check_config, open_source
from qanatix_pipelines.watermarks import Window
from tests.conftest import server
from tests.sources.databases import DATABASES
from tests.sources.harness import Harness

MYSQL = {"host": "db", "user": "u", "password": "p", "database": "d"}
MONGODB = {"uri": "mongodb://u:p@db/", "database": "d", "collection": "c"}
NEO4J = {"uri": "bolt+s://db", "user": "u", "password": "p", "database": "d"}


@pytest.mark.parametrize(
    ("connector_type", "config", "field", "expected"),
    [
        ("postgresql", {}, "dsn", "must be given"),
        ("postgresql", {"host": "db", "user": "u"}, "host", "is not an option of postgresql; its options are: dsn"),
        ("postgresql", {"dsn": None}, "dsn", "must be a text, in quotes"),
        ("postgresql", {"dsn": ""}, "dsn", "as in postgresql://user:password@host:5432/database"),
        (
            "postgresql",
            {"dsn": "host=db user=u password=p"},
            "dsn",
            "as in postgresql://user:password@host:5432/database",
        ),
        ("postgresql", {"dsn": "jdbc:postgresql://db/d"}, "dsn", "must begin with postgresql://"),
        ("postgresql", {"dsn": "postgresql://u@db/d"}, "dsn", "must hold both a user and a password"),
        ("postgresql", {"dsn": "postgresql://u:p@db:port/d"}, "dsn", "a port is a number up to 65535"),
        ("postgresql", {"dsn": "postgresql://u:p@::1:5432/d"}, "dsn", "an IPv6 address stands in brackets"),
        ("postgresql", {"dsn": "postgresql://u:p/w@db/d"}, "dsn", "such as %2F for /"),
        ("postgresql", {"dsn": "postgresql://u:p#w@db/d"}, "dsn", "and %23 for #"),
        ("postgresql", {"dsn": "postgresql://u:p@a,b/d"}, "dsn", "must name one host, not a list"),
        ("postgresql", {"dsn": "postgresql://u:p@db/d?sslmode=prefer"}, "dsn", "one of disable, require, verify-ca"),
        ("mysql", {"dsn": "mysql://u:p@db/d"}, "dsn", "its options are: host, port, user, password, database, tls"),
        ("mysql", MYSQL | {"port": "3306"}, "port", "must be a whole number, without quotes"),
        ("mysql", MYSQL | {"port": 99_999}, "port", "must be less than or equal to 65535"),
        ("mysql", MYSQL | {"tls": True}, "tls", "must be 'disabled', 'required' or 'verify'"),
        ("mysql", MYSQL | {"password": ""}, "password", "must not be empty"),
        ("mysql", MYSQL | {"database": ""}, "database", "must not be empty"),
        ("mysql", MYSQL | {"host": "db:3306"}, "host", "nothing more: the port and the user have options"),
        ("mysql", MYSQL | {"host": "mysql://db"}, "host", "must be a host's name or an address"),
        ("mongodb", {"uri": "mongodb://u:p@db/"}, "database", "must be given"),
        ("mongodb", MONGODB | {"uri": "mongodb+srv://u:p@db/"}, "uri", "must begin with mongodb://"),
        ("mongodb", MONGODB | {"uri": "mongodb://db/"}, "uri", "must hold both a user and a password"),
        ("mongodb", MONGODB | {"uri": "mongodb://u:p@a:1,b:2/"}, "uri", "it has one host"),
        (
            "mongodb",
            MONGODB | {"uri": "mongodb://u:p@db/?ssl=true"},
            "uri",
            "must not hold ssl; allowed are authSource",
        ),
        ("neo4j", NEO4J | {"uri": "http://db"}, "uri", "must begin with bolt+s://"),
        ("neo4j", NEO4J | {"uri": "bolt://u:p@db"}, "uri", "they are options of their own"),
        ("neo4j", NEO4J | {"tls": "disabled"}, "tls", "but the uri's scheme asks for TLS"),
        ("neo4j", NEO4J | {"password": ""}, "password", "must not be empty"),
        ("neo4j", NEO4J | {"username": "u"}, "username", "is not an option of neo4j"),
        ("sqlite", {}, "path", "must be given"),
        ("sqlite", {"path": "shop.db"}, "path", "must be an absolute path, such as /srv/shop/orders.db"),
        ("sqlite", {"path": "file:/srv/shop.db"}, "path", "leave out file:"),
        ("sqlite", {"database": "/srv/shop.db"}, "database", "is not an option of sqlite; its options are: path"),
    ],
)
def test_a_config_is_refused_by_its_field_with_what_is_allowed(
    connector_type: str, config: dict[str, Any], field: str, expected: str
) -> None:
    with pytest.raises(InvalidConnector) as refused:
        check_config(connector_type, config)

    assert refused.value.field == ("connection_config", field)
    assert expected in str(refused.value)


def told(connector_type: str, config: dict[str, Any], query: str) -> SourceError:
    async def read() -> None:
        async with open_source(connector_type, config).read(query, window=Window(), batch_size=10):
            pass

    with pytest.raises(SourceError) as caught:
        asyncio.run(read())
    return caught.value


@pytest.fixture
def every_server() -> Callable[[str], Harness]:
    return lambda name: DATABASES[name].harness(server(name))


@pytest.mark.parametrize(
    ("name", "other", "expected"),
    [
        ("postgresql", "mysql", "PostgreSQL"),
        ("postgresql", "mysql97", "PostgreSQL"),
        ("postgresql", "neo4j", "PostgreSQL"),
        ("neo4j", "postgresql", "no Neo4j"),
        ("neo4j", "mysql", "no Neo4j"),
        ("mysql", "postgresql", "that a server of this type listens there"),
        ("mysql", "neo4j", "that a server of this type listens there"),
        ("mongodb", "postgresql", "that a server of this type listens there"),
        ("mongodb", "mysql", "that a server of this type listens there"),
    ],
)
def test_another_databases_port_is_told_as_such(
    every_server: Callable[[str], Harness], monkeypatch: pytest.MonkeyPatch, name: str, other: str, expected: str
) -> None:
    harness, there = every_server(name), every_server(other)
    port = check_config(there.connector_type, there.config).connection["port"]
    monkeypatch.setattr(f"qanatix_pipelines.sources.{harness.connector_type}.reading.CONNECT_SECONDS", 1)

    assert expected in str(told(harness.connector_type, harness.changed(port=int(port)), harness.everything))


@pytest.mark.parametrize(
    ("name", "option"),
    [("postgresql", "check the name in the dsn"), ("mysql", "check `database`"), ("neo4j", "`database`")],
)
def test_a_database_that_is_not_there_is_told_with_the_option(
    every_server: Callable[[str], Harness], name: str, option: str
) -> None:
    harness = every_server(name)
    config = harness.config
    if name == "postgresql":
        config["dsn"] = config["dsn"].rpartition("/")[0] + "/nowhere?sslmode=disable"
    else:
        config["database"] = "nowhere"

    error = told(harness.connector_type, config, harness.everything)

    assert isinstance(error, LoginRefused)
    assert option in str(error)
