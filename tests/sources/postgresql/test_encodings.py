"""Texts of databases that are not in UTF-8: one that cannot be converted is its row's fault, and no other's."""

import asyncio
from uuid import uuid4

import psycopg
import pytest

from qanatix_pipelines.batches import Batch
from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.rejections import Fault, Reason
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.postgresql.encodings import CODECS
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.types_table import entity_data


def database_in(server: Server, encoding: str) -> str:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server.address, autocommit=True) as connection:
        form = f"TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        connection.execute(f"CREATE DATABASE {name} {form}".encode())
    return server.address.rpartition("/")[0] + f"/{name}"


def filled(dsn: str, *statements: str) -> str:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    return dsn


def read(dsn: str, query: str) -> Batch:
    async def first() -> Batch:
        async with open_source("postgresql", {"dsn": dsn}).read(query, window=Window(), batch_size=1000) as reading:
            return await anext(aiter(reading.batches))

    return asyncio.run(first())


@pytest.mark.parametrize("encoding", [name for name in CODECS if name != "SQL_ASCII"])
def test_each_byte_is_what_postgresql_says_or_its_rows_fault(postgresql_server: Server, encoding: str) -> None:
    dsn = database_in(postgresql_server, encoding)
    multibyte = encoding == "EUC_CN"
    pairs = [(lead, trail) for lead in range(0xA1, 0xFF, 7) for trail in range(0xA1, 0xFF, 5)]
    texts = [bytes(pair) for pair in pairs] if multibyte else [bytes([byte]) for byte in range(1, 256)]
    said: dict[int, str] = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE texts (id int, v text)")
        for place, text in enumerate(texts):
            connection.execute("INSERT INTO texts VALUES (%s, convert_from(%s, 'SQL_ASCII'))", (place, text))
        for place in range(len(texts)):
            try:
                row = connection.execute("SELECT convert_to(v, 'UTF8') FROM texts WHERE id = %s", (place,)).fetchone()
            except (psycopg.errors.UntranslatableCharacter, psycopg.errors.CharacterNotInRepertoire):
                continue
            assert row
            said[place] = row[0].decode()

    batch = read(dsn, "SELECT id, v FROM texts ORDER BY id")

    assert {place: text for place, text in batch.frame.rows() if text is not None} == said
    assert set(batch.faults) == set(range(len(texts))) - said.keys()


@pytest.fixture
def ascii_database(postgresql_server: Server) -> str:
    return filled(
        database_in(postgresql_server, "SQL_ASCII"),
        "CREATE TABLE texts (id int, name text, code char(4), doc json, tags text[])",
        """INSERT INTO texts VALUES (1, 'Café', 'ab', '{"é": 1}', '{é}'), (2, E'caf\\351', 'ab', '{}', '{}'),
        (3, 'x', E'\\351', '{}', '{}'), (4, 'x', 'ab', E'{"\\351": 1}', '{}'), (5, 'x', 'ab', '{}', E'{\\351}'),
        (6, NULL, NULL, NULL, NULL)""",
    )


def test_of_no_encoding_what_is_utf_8_is_read_and_what_is_not_is_its_rows_fault(ascii_database: str) -> None:
    batch = read(ascii_database, "SELECT * FROM texts ORDER BY id")

    assert dict(batch.faults) == {
        1: Fault(Reason.NOT_UTF8, "name"),
        2: Fault(Reason.NOT_UTF8, "code"),
        3: Fault(Reason.NOT_UTF8, "doc"),
        4: Fault(Reason.NOT_UTF8, "tags"),
    }


def test_what_is_utf_8_becomes_what_it_does_elsewhere(ascii_database: str) -> None:
    assert entity_data("postgresql", {"dsn": ascii_database}, "SELECT * FROM texts ORDER BY id") == [
        '{"code":"ab  ","doc":{"é": 1},"id":1,"tags":["é"]}',
        '{"code":null,"doc":null,"id":6,"tags":null}',
    ]


def test_a_columns_name_that_is_no_utf_8_is_told(ascii_database: str) -> None:
    filled(ascii_database, r"""DO $$ BEGIN EXECUTE E'CREATE VIEW odd AS SELECT 1 AS "caf\351"'; END $$""")

    with pytest.raises(QueryRejected, match=r"cannot be converted .* name the column with AS"):
        read(ascii_database, "SELECT * FROM odd")


def test_a_query_that_names_what_no_latin_has_is_told(postgresql_server: Server) -> None:
    with pytest.raises(QueryRejected, match="cannot be converted"):
        read(database_in(postgresql_server, "LATIN1"), "SELECT 1 AS n WHERE 'Ω' = 'Ω'")


def test_a_text_of_another_encoding_that_cannot_be_converted_is_told(postgresql_server: Server) -> None:
    database = database_in(postgresql_server, "EUC_JP")
    query = "SELECT convert_from('\\xaba1', 'SQL_ASCII') AS text"

    assert read(database, "SELECT convert_from('\\xb4c1', 'SQL_ASCII') AS text").frame.rows() == [("漢",)]
    with pytest.raises(QueryRejected, match="a text, or a column's name, cannot be converted"):
        read(database, query)
