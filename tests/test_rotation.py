"""Credentials under a new first key, while others use the store."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import NotFound
from qanatix_pipelines.settings import new_fernet_key
from qanatix_pipelines.store import rotation, tables
from qanatix_pipelines.store.connectors import ConnectorStore
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.rotation import Left, Rotated, rotate
from qanatix_pipelines.tenants import DEFAULT, Tenant
from tests.conftest import ENCRYPTION_KEY
from tests.test_store import NEW

NEW_KEY = new_fernet_key()
BOTH = CredentialCipher([NEW_KEY, ENCRYPTION_KEY])
CHANGED = {"dsn": "postgresql://reader:changed@db/shop"}


@pytest.fixture
def kept(store: Store) -> list[Connector]:
    """Three connectors under the old key."""
    return [store.connectors.add(NEW) for _ in range(3)]


def with_keys(store: Store, *keys: str) -> ConnectorStore:
    return ConnectorStore(store.engine, CredentialCipher(keys), DEFAULT)


@pytest.mark.usefixtures("kept")
def test_each_connector_is_told_as_it_is_done(store: Store) -> None:
    told: list[tuple[int, int]] = []

    rotated = rotate(store.engine, BOTH, lambda done, of: told.append((done, of)))

    assert (told, rotated) == ([(1, 3), (2, 3), (3, 3)], Rotated(3, (), ()))


@pytest.mark.usefixtures("kept")
def test_every_tenants_connectors_are_rotated(store: Store) -> None:
    other = store.connectors.of(Tenant("other")).add(NEW)

    assert rotate(store.engine, BOTH) == Rotated(4, (), ())

    assert with_keys(store, NEW_KEY).of(Tenant("other")).connection_config(other) == NEW.connection_config


@pytest.mark.usefixtures("kept")
def test_what_is_under_the_first_key_stays_as_it_is(store: Store) -> None:
    rotate(store.engine, BOTH)
    before = tokens(store)
    told: list[tuple[int, int]] = []

    assert rotate(store.engine, BOTH, lambda done, of: told.append((done, of))) == Rotated(3, (), ())

    assert (told, tokens(store)) == ([], before)


@pytest.mark.usefixtures("kept")
def test_one_that_was_stopped_goes_on_where_it_was(store: Store) -> None:
    class Stopped(Exception):
        pass

    def stop(_done: int, _of: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        rotate(store.engine, BOTH, stop)
    told: list[tuple[int, int]] = []
    rotate(store.engine, BOTH, lambda done, of: told.append((done, of)))

    assert told == [(2, 3), (3, 3)]


def test_a_change_that_is_made_meanwhile_stays(store: Store, kept: list[Connector]) -> None:
    """By a process that has the same keys, after the rotation has read the old credentials."""
    changes = iter([lambda: with_keys(store, NEW_KEY, ENCRYPTION_KEY).change(kept[2].id, {}, CHANGED, None)])

    rotated = rotate(store.engine, BOTH, lambda _done, _of: next(changes, lambda: None)())

    assert rotated == Rotated(3, (), ())
    later = with_keys(store, NEW_KEY)
    assert later.connection_config(later.get(kept[2].id)) == CHANGED
    assert later.connection_config(later.get(kept[1].id)) == NEW.connection_config


def test_a_connector_that_is_removed_meanwhile_stays_removed(store: Store, kept: list[Connector]) -> None:
    removals = iter([lambda: store.connectors.remove(kept[2].id)])

    assert rotate(store.engine, BOTH, lambda _done, _of: next(removals, lambda: None)()) == Rotated(2, (), ())

    with pytest.raises(NotFound):
        store.connectors.get(kept[2].id)


@pytest.mark.usefixtures("kept")
def test_one_that_is_made_under_the_old_key_meanwhile_is_rotated_too(store: Store) -> None:
    made = iter([lambda: store.connectors.add(NEW)])

    assert rotate(store.engine, BOTH, lambda _done, _of: next(made, lambda: None)()) == Rotated(4, (), ())


def test_it_ends_and_says_who_is_behind_where_somebody_goes_on_under_the_old_key(
    store: Store, kept: list[Connector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "ROUNDS", 2)
    old: Callable[[], object] = lambda: store.connectors.change(kept[0].id, {}, CHANGED, None)  # noqa: E731

    rotated = rotate(store.engine, BOTH, lambda done, _of: old() if done == 3 else None)

    assert rotated == Rotated(3, (Left(kept[0].id, "Products"),), ())


def test_what_no_key_decrypts_is_told_and_holds_up_nothing(store: Store, kept: list[Connector]) -> None:
    damaged = tables.connector.c.id == kept[1].id
    with store.engine.begin() as transaction:
        credentials = "x" + tables.connector.c.credentials
        transaction.execute(tables.connector.update().where(damaged).values(credentials=credentials))

    rotated = rotate(store.engine, BOTH)

    assert rotated == Rotated(3, (), (Left(kept[1].id, "Products"),))
    later = with_keys(store, NEW_KEY)
    assert later.connection_config(kept[2]) == NEW.connection_config


def test_a_live_pull_does_not_notice(store: Store, kept: list[Connector]) -> None:
    pull = store.pulls.begin(kept[0], "run")

    rotate(store.engine, BOTH)

    store.pulls.renew(pull)
    assert store.connectors.get(kept[0].id) == kept[0]


def tokens(store: Store) -> list[str]:
    with store.engine.connect() as connection:
        return list(connection.execute(sa.select(tables.connector.c.credentials)).scalars())
