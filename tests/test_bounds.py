"""What a server may make a driver hold or work, by drivers and servers that do so."""

import asyncio
from typing import Any

import pytest

from qanatix_pipelines.errors import LoginRefused, SourceFailed
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Window
from tests.campaigns.hostile_answers import MONGODB_GREETINGS, MYSQL_GREETINGS, NEO4J_GREETINGS, POSTGRESQL_GREETINGS
from tests.servers.hostile import HostileServers, Line, Script
from tests.sources.postgresql.hostile import (
    COMPLETE,
    OF_A_USER,
    RECORD,
    TEXT,
    TEXTS,
    Execute,
    HostilePostgreSQL,
    array,
    description,
    message,
    nested_record,
    record,
    row,
)

QUERIES = {"postgresql": "SELECT 1 AS id", "mysql": "SELECT 1 AS id", "mongodb": "{}", "neo4j": "RETURN 1 AS id"}


def rows_of(hostile: HostilePostgreSQL, batch_size: int = 10) -> int:
    async def read(dsn: str) -> int:
        source = open_source("postgresql", {"dsn": dsn})
        async with (
            asyncio.timeout(60),
            source.read("SELECT 1 AS id", window=Window(), batch_size=batch_size) as reading,
        ):
            return sum([batch.frame.height async for batch in reading.batches])

    with HostileServers() as servers:
        return asyncio.run(read(f"postgresql://reader:secret@127.0.0.1:{servers.serve(hostile)}/shop"))


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


def test_a_hostile_postgresql_that_does_nothing_is_read() -> None:
    assert rows_of(HostilePostgreSQL()) == 1


async def _record(line: Line, _rows: int, _time: int) -> None:
    await line.say(row(record(MANY)) + COMPLETE)


MANY = 150_000_000
CLAIMS = {
    "many elements": HostilePostgreSQL(rights=record(MANY), rights_type=RECORD),
    "many levels": HostilePostgreSQL(rights=nested_record(50_000), rights_type=RECORD),
    "an array where there is none": HostilePostgreSQL(rights=array(MANY), rights_type=TEXTS),
    "a row's records": HostilePostgreSQL(row_types=(RECORD,), execute=_record),
    "a row's arrays": HostilePostgreSQL(row_types=(TEXTS,), execute=_record),
    "a type of the user's": HostilePostgreSQL(rights_type=OF_A_USER),
    "types told of by records": HostilePostgreSQL(
        user_types=(OF_A_USER,), asked_types=(RECORD,), asked_values=(record(MANY),)
    ),
    "types told of by arrays": HostilePostgreSQL(
        user_types=(OF_A_USER,), asked_types=(TEXT, TEXTS), asked_values=(b"x", array(MANY))
    ),
    "types told of by arrays, which are called text too late": HostilePostgreSQL(
        user_types=(OF_A_USER,),
        asked_types=(TEXTS,),
        before_asked=description(TEXT),
        asked_values=(array(MANY),),
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_what_postgresql_says_a_value_is_makes_the_driver_hold_no_more_than_came(name: str) -> None:
    with pytest.raises(SourceFailed, match="types that were not asked for"):
        rows_of(CLAIMS[name])


async def _many_rows(line: Line, _rows: int, _time: int) -> None:
    for _ in range(100):
        await line.say(row(None) * 8000)
    await line.say(COMPLETE)


async def _endless_notice(line: Line, _rows: int, _time: int) -> None:
    await line.say(b"N" + (2**31 - 1).to_bytes(4, "big"))
    await line.repeat(b"x" * 1024)


async def _endless_settings(line: Line, _rows: int, _time: int) -> None:
    await line.repeat(message(b"S", b"name\0" + b"x" * 1000 + b"\0"))


async def _endless_end(line: Line, _rows: int, _time: int) -> None:
    for _ in range(45):  # more than a batch has room for
        await line.say(row(b"x" * 2**20))
    await line.say(b"E" + (2**31 - 1).to_bytes(4, "big"))
    await line.repeat(b"x" * 1024)


@pytest.mark.parametrize(
    ("execute", "reason"),
    [
        (_many_rows, "more rows than it was asked for"),
        (_endless_notice, "too much that is not a row"),
        (_endless_settings, "too much that is not a row"),
        (_endless_end, "too much that is not a row"),
    ],
)
def test_what_postgresql_says_among_its_rows_has_an_end(execute: Execute, reason: str) -> None:
    with pytest.raises(SourceFailed, match=reason):
        rows_of(HostilePostgreSQL(execute=execute), batch_size=100)


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


@pytest.mark.slow
def test_the_values_of_a_neo4j_message_have_an_end() -> None:
    with pytest.raises(SourceFailed, match="of more than 1,000,000 values"):
        read_from("neo4j", NEO4J_GREETINGS["6,000,000 empty lists"])


def test_what_neo4j_says_beside_its_rows_has_an_end() -> None:
    with pytest.raises(SourceFailed, match="more than there is to say beside its rows"):
        read_from("neo4j", NEO4J_GREETINGS["17 MiB before any row"])
