"""API keys as the store keeps them, in SQLite and in PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic import command

from qanatix_pipelines.errors import NotFound
from qanatix_pipelines.keys import USUAL_SCOPES, Scope
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import migrations, tables
from qanatix_pipelines.store.engine import connect
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store
from tests.conftest import PEPPER

NOON = datetime(2026, 3, 7, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def keys(store: Store) -> KeyStore:
    return KeyStore(store.engine, PEPPER.encode())


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Set the store's clock."""

    def set_clock(time: datetime) -> None:
        monkeypatch.setattr("qanatix_pipelines.store.keys.now", lambda: time)

    set_clock(NOON)
    return set_clock


def test_a_key_of_which_nothing_is_said_allows_all_but_keys_and_has_no_end(keys: KeyStore) -> None:
    record = keys.get(keys.create("mine").id)

    assert record.scopes == USUAL_SCOPES == frozenset(Scope) - {Scope.ADMIN}
    assert (record.expires_at, record.last_used_at, record.revoked_at) == (None, None, None)


def test_a_key_allows_what_was_said(keys: KeyStore) -> None:
    found = keys.find(keys.create("mine", {Scope.PULLS_RUN, Scope.ADMIN}).text)

    assert found is not None
    assert found.scopes == {Scope.PULLS_RUN, Scope.ADMIN}


def test_a_key_is_found_until_its_end(keys: KeyStore, at: Callable[[datetime], None]) -> None:
    key = keys.create("mine", expires_in=HOUR)

    at(NOON + HOUR - timedelta(microseconds=1))
    assert keys.find(key.text) is not None
    at(NOON + HOUR)
    assert keys.find(key.text) is None


def test_a_revoked_keys_record_stays(keys: KeyStore, at: Callable[[datetime], None]) -> None:
    key = keys.create("mine")
    at(NOON + HOUR)

    keys.revoke(key.id)

    assert [(record.id, record.revoked_at) for record in keys.list()] == [(key.id, NOON + HOUR)]


class TestRotation:
    def test_the_new_secret_is_the_same_key(self, keys: KeyStore) -> None:
        old = keys.create("mine", {Scope.PULLS_RUN}, HOUR)
        before = keys.get(old.id)

        new = keys.rotate(old.id)

        assert new.text != old.text
        assert keys.find(new.text) == before

    def test_without_a_grace_the_old_secret_ends_at_once(self, keys: KeyStore) -> None:
        old = keys.create("mine")

        keys.rotate(old.id)

        assert keys.find(old.text) is None

    def test_the_old_secret_is_good_until_the_grace_ends(self, keys: KeyStore, at: Callable[[datetime], None]) -> None:
        old = keys.create("mine")
        new = keys.rotate(old.id, HOUR)

        at(NOON + HOUR - timedelta(microseconds=1))
        assert keys.find(old.text) == keys.find(new.text) is not None
        at(NOON + HOUR)
        assert keys.find(old.text) is None

    def test_the_secret_before_the_last_is_good_no_more(self, keys: KeyStore) -> None:
        first = keys.create("mine")
        second = keys.rotate(first.id, HOUR)
        keys.rotate(first.id, HOUR)

        assert keys.find(first.text) is None
        assert keys.find(second.text) is not None

    def test_revocation_ends_both_secrets(self, keys: KeyStore) -> None:
        old = keys.create("mine")
        new = keys.rotate(old.id, HOUR)

        keys.revoke(old.id)

        assert (keys.find(old.text), keys.find(new.text)) == (None, None)

    def test_a_key_that_is_not_valid_gets_no_secret(self, keys: KeyStore, at: Callable[[datetime], None]) -> None:
        revoked, ended = keys.create("revoked"), keys.create("ended", expires_in=HOUR)
        keys.revoke(revoked.id)
        at(NOON + HOUR)

        for key_id in (revoked.id, ended.id, "00000000"):
            with pytest.raises(NotFound):
                keys.rotate(key_id)


class TestUse:
    def test_the_last_use_is_kept(self, keys: KeyStore, at: Callable[[datetime], None]) -> None:
        key = keys.create("mine")
        at(NOON + HOUR)

        keys.note_use(key.id)

        assert keys.get(key.id).last_used_at == NOON + HOUR

    def test_it_is_kept_once_a_minute(self, keys: KeyStore, at: Callable[[datetime], None]) -> None:
        key = keys.create("mine")
        kept = []
        for second in (0, 30, 59, 60, 119, 121):
            at(NOON + timedelta(seconds=second))
            keys.note_use(key.id)
            kept.append((keys.get(key.id).last_used_at or NOON) - NOON)

        assert [last.seconds for last in kept] == [0, 0, 0, 60, 60, 121]


def test_a_key_that_is_older_than_scopes_keeps_everything(settings: Settings) -> None:
    engine = connect(settings.store_address())
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.schema.CreateSchema(tables.SCHEMA))
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        old = {"id": "0" * 8, "name": "old", "digest": bytes(32), "created_at": NOON}
        connection.execute(tables.api_key.insert().inline().values(old))

    migrations.upgrade(engine)

    (record,) = KeyStore(engine, PEPPER.encode()).list()
    engine.dispose()
    assert (record.name, record.scopes, record.is_valid(NOON)) == ("old", frozenset(Scope), True)
