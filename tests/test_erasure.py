"""Ciphertext that was deleted or replaced is in none of SQLite's files: read byte by byte, while they are in use."""

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.store import erasure, tables
from qanatix_pipelines.store.opening import Store, open_store
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.test_store import NEW

pytestmark = pytest.mark.slow

CONNECTORS = 50
# Longer than a page holds, so that some of a token is in pages of its own.
LONG = NEW.model_copy(update={"connection_config": {"dsn": "postgresql://reader:" + "hunter2" * 2000 + "@db/shop"}})


@pytest.fixture
def settings(data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir, encryption_key=SecretStr(ENCRYPTION_KEY), pepper=SecretStr(PEPPER))


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """A store with connectors in it."""
    opened = open_store(settings)
    for number in range(CONNECTORS):
        opened.connectors.add(LONG if number % 10 == 0 else NEW)
    yield opened
    opened.engine.dispose()


def test_of_deleted_connectors(store: Store, tmp_path: Path) -> None:
    old = tokens(store)
    assert found(old, tmp_path) == CONNECTORS

    for connector in store.connectors.list():
        store.connectors.remove(connector.id)

    assert found(old, tmp_path) == 0


def test_of_changed_connectors(store: Store, tmp_path: Path) -> None:
    old = tokens(store)

    for connector in store.connectors.list():
        store.connectors.change(connector.id, {}, {"dsn": "postgresql://reader:new@db/shop"}, None)

    assert found(old, tmp_path) == 0
    assert found(tokens(store), tmp_path) == CONNECTORS


def test_of_rotated_connectors(store: Store, settings: Settings, tmp_path: Path) -> None:
    old = tokens(store)
    keys = SecretStr(f"{new_fernet_key()},{ENCRYPTION_KEY}")

    rotating = open_store(settings.model_copy(update={"encryption_key": keys}))

    rotating.connectors.rotate()
    left = found(old, tmp_path)
    rotating.engine.dispose()

    assert left == 0
    assert found(tokens(store), tmp_path) == CONNECTORS


def test_a_reader_holds_up_no_deletion_and_it_is_done_once_the_reader_ends(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, erasure.__name__)
    old = tokens(store)
    with closing(sqlite3.connect(tmp_path / "qanatix.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM connector").fetchone()
        started = time.monotonic()
        for connector in store.connectors.list():
            store.connectors.remove(connector.id)
        seconds = time.monotonic() - started

        assert seconds < 300  # thirty for each, if they waited for the reader
        assert store.connectors.list() == []
        assert found(old, tmp_path) == CONNECTORS
        assert not store.connectors.erasure.wait(0)

    assert store.connectors.erasure.wait(60)
    assert found(old, tmp_path) == 0
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "What was deleted stands in SQLite's log until nobody uses the store",
        "What was deleted is gone from SQLite's log.",
    ]


def test_a_writer_holds_up_no_erasure_for_good(store: Store, tmp_path: Path) -> None:
    old = tokens(store)
    first = store.connectors.list()[0]
    store.connectors.remove(first.id)
    with closing(sqlite3.connect(tmp_path / "qanatix.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        store.connectors.erasure.begin()
        assert not store.connectors.erasure.wait(0)
        writer.execute("ROLLBACK")

    assert store.connectors.erasure.wait(60)
    assert found(old, tmp_path) == CONNECTORS - 1


def test_a_store_that_is_closed_is_tried_no_more(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "qanatix.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM connector").fetchone()
        store.connectors.remove(store.connectors.list()[0].id)

        store.engine.dispose()

        assert store.connectors.erasure.wait(60)


def tokens(store: Store) -> list[str]:
    with store.engine.execution_options(reads=True).connect() as connection:
        return list(connection.execute(sa.select(tables.connector.c.credentials)).scalars())


def found(old: list[str], folder: Path) -> int:
    """How many of these tokens have a part in one of the store's files. All of them are open, and its log is there."""
    content = b"".join(file.read_bytes() for file in folder.glob("qanatix.db*"))
    return sum(any(part in content for part in _parts(token.encode())) for token in old)


def _parts(token: bytes) -> Iterator[bytes]:
    """But for the beginning, which tells the time only and is alike in all."""
    return (token[at : at + 40] for at in range(20, len(token) - 40, 40))
