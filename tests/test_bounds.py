"""What a server may make a driver hold or work, by drivers and servers that do so."""

import asyncio
import struct
from typing import Any
from unittest import mock

import pytest

from qanatix_pipelines.bounds.postgresql import BoundedProtocol
from qanatix_pipelines.errors import LoginRefused, SourceFailed
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Window
from tests.campaigns.hostile_answers import MONGODB_GREETINGS, MYSQL_GREETINGS, NEO4J_GREETINGS, POSTGRESQL_GREETINGS
from tests.servers.hostile import HostileServers, Script

QUERIES = {"postgresql": "SELECT 1 AS id", "mysql": "SELECT 1 AS id", "mongodb": "{}", "neo4j": "RETURN 1 AS id"}


def read_from(connector_type: str, script: Script) -> None:
    async def read(config: dict[str, Any]) -> None:
        async with open_source(connector_type, config).read(QUERIES[connector_type], window=Window(), batch_size=10):
            pass

    with HostileServers() as hostile:
        port = hostile.serve(script)
        place = f"reader:secret@127.0.0.1:{port}"
        configs: dict[str, dict[str, Any]] = {
            "postgresql": {"dsn": f"postgresql://{place}/shop"},
            "mysql": {
                "host": "127.0.0.1",
                "port": port,
                "user": "reader",
                "password": "secret",
                "database": "shop",
                "tls": "disabled",
            },
            "mongodb": {"uri": f"mongodb://{place}/", "database": "shop", "collection": "orders"},
            "neo4j": {
                "uri": f"bolt://{place.partition('@')[2]}",
                "user": "reader",
                "password": "secret",
                "database": "neo4j",
            },
        }
        asyncio.run(read(configs[connector_type]))


@pytest.mark.parametrize(
    ("connector_type", "greetings"), [("postgresql", POSTGRESQL_GREETINGS), ("mongodb", MONGODB_GREETINGS)]
)
def test_a_login_that_would_hash_for_an_hour_is_refused(connector_type: str, greetings: dict[str, Script]) -> None:
    with pytest.raises(LoginRefused, match="more hashing of the password"):
        read_from(connector_type, greetings["too much hashing"])


@pytest.mark.parametrize("name", ["a message of 1 GiB", "an error of 1 GiB", "endless parameters"])
def test_what_postgresql_says_before_the_first_row_has_an_end(name: str) -> None:
    with pytest.raises(SourceFailed, match="more than there is to say before the first row"):
        read_from("postgresql", POSTGRESQL_GREETINGS[name])


@pytest.mark.parametrize("name", ["endless rows for any question", "large columns for any question"])
def test_what_mysql_says_before_the_first_row_has_an_end(name: str) -> None:
    with pytest.raises(SourceFailed, match="more than there is to say before the first row"):
        read_from("mysql", MYSQL_GREETINGS[name])


def test_the_columns_of_mysqls_answer_have_an_end() -> None:
    with pytest.raises(SourceFailed, match="more columns than any"):
        read_from("mysql", MYSQL_GREETINGS["endless columns for any question"])


def test_a_message_of_neo4j_has_an_end() -> None:
    with pytest.raises(SourceFailed, match="of more than 64 MiB"):
        read_from("neo4j", NEO4J_GREETINGS["endless chunks"])


def test_the_values_of_a_neo4j_message_have_an_end() -> None:
    with pytest.raises(SourceFailed, match="of more than 1,000,000 values"):
        read_from("neo4j", NEO4J_GREETINGS["6,000,000 empty lists"])


def test_what_neo4j_says_beside_its_rows_has_an_end() -> None:
    with pytest.raises(SourceFailed, match="more than there is to say beside its rows"):
        read_from("neo4j", NEO4J_GREETINGS["17 MiB before any row"])


class Driver:
    """What is let in, and what is told to who waits."""

    def __init__(self) -> None:
        self.let_in, self.told = b"", None

    def connection_made(self, transport: Any) -> None: ...

    def data_received(self, data: bytes) -> None:
        self.let_in += data

    def connection_lost(self, reason: BaseException | None) -> None:
        self.told = reason


class Bounded(BoundedProtocol, Driver):
    """PostgreSQL's protocol without a driver."""


TEXT, RECORD = 25, 2249
ROW = b"D" + (4 + 2 + 4).to_bytes(4, "big") + b"\x00\x01" + b"\xff" * 4


def description(*types: int) -> bytes:
    columns = b"".join(b"name\x00" + struct.pack("!IHIHIH", 0, 0, kind, 0, 0, 1) for kind in types)
    return b"T" + (4 + 2 + len(columns)).to_bytes(4, "big") + len(types).to_bytes(2, "big") + columns


def hear(said: bytes, size: int) -> Bounded:
    heard = Bounded()
    heard.connection_made(mock.Mock())
    for start in range(0, len(said), size):
        heard.data_received(said[start : start + size])
    return heard


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_rows_of_types_that_postgresql_is_asked_for_are_let_in(size: int) -> None:
    said = description(RECORD, TEXT) + description(TEXT) + 3 * ROW

    assert (hear(said, size).let_in, hear(said, size).told) == (said, None)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_row_of_another_type_is_not_let_in_for_its_length_is_what_the_server_says(size: int) -> None:
    heard = hear(description(TEXT) + ROW + description(TEXT, RECORD) + ROW, size)

    assert isinstance(heard.told, SourceFailed)
    assert heard.let_in.count(ROW) <= 1


def test_no_rows_are_expected_of_another_type() -> None:
    with pytest.raises(SourceFailed, match="other types"):
        hear(description(RECORD), 1000).expect_rows()
