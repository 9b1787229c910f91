"""Credentials encrypted again under the first key, while pulls run and connectors come, change and go."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import CredentialsUnreadable
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.keys import move_proof
from qanatix_pipelines.tenants import Tenant

# Another process may still write under an old key, so all are looked at again until none is left: at most so often.
ROUNDS = 5


@dataclass(frozen=True)
class Left:
    """A connector whose credentials are not under the first key."""

    id: UUID
    name: str


@dataclass(frozen=True)
class Rotated:
    """How a rotation ended: of so many connectors, which need one of the other keys yet, and which no key decrypts."""

    connectors: int
    behind: tuple[Left, ...]
    unreadable: tuple[Left, ...]


@dataclass(frozen=True)
class _Stale:
    """Credentials under another key than the first, and the same under that; None if no key decrypts them."""

    connector: Left
    token: str
    fresh: str | None


def rotate(
    engine: sa.Engine, cipher: CredentialCipher, on_progress: Callable[[int, int], None] = lambda _done, _of: None
) -> Rotated:
    """Bring the credentials of all connectors, of every tenant, under the first key.

    Each is a transaction of its own that replaces only what it has read, so whoever changes or removes a connector
    meanwhile wins, and a rotation that was killed goes on where it was. `on_progress` hears how many of how many
    connectors are done. Raises StoreUnavailable.
    """
    for rounds_left in reversed(range(ROUNDS)):
        connectors, stale = _look(engine, cipher)
        behind = [one for one in stale if one.fresh is not None]
        if not behind or not rounds_left:
            if not behind:
                move_proof(engine, cipher)
            unreadable = tuple(one.connector for one in stale if one.fresh is None)
            return Rotated(connectors, tuple(one.connector for one in behind), unreadable)
        for done, one in enumerate(behind, start=connectors - len(stale) + 1):
            _replace(engine, one)
            on_progress(done, connectors)
    raise AssertionError("the last round returns")


def _look(engine: sa.Engine, cipher: CredentialCipher) -> tuple[int, list[_Stale]]:
    """How many connectors there are, and which are not under the first key."""
    table = tables.connector.c
    query = sa.select(table.tenant, table.id, table.name, table.credentials).order_by(table.created_at, table.id)
    with engine.execution_options(reads=True).connect() as connection:
        rows = connection.execute(query).all()
    looked = [
        _Stale(Left(row.id, row.name), row.credentials, _fresh(cipher, Tenant(row.tenant), row.id, row.credentials))
        for row in rows
    ]
    return len(rows), [one for one in looked if one.fresh != one.token]


def _fresh(cipher: CredentialCipher, tenant: Tenant, connector_id: UUID, token: str) -> str | None:
    try:
        cipher.decrypt(tenant, connector_id, token)
    except CredentialsUnreadable:
        return None
    return cipher.resealed(token)


def _replace(engine: sa.Engine, stale: _Stale) -> None:
    table = tables.connector
    same = sa.and_(table.c.id == stale.connector.id, table.c.credentials == stale.token)
    with engine.begin() as transaction:
        transaction.execute(table.update().where(same).values(credentials=stale.fresh))
