"""Encrypts all credentials again under the first key, while pulls run and connectors are added, changed and deleted."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import CredentialsUnreadable
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.keys import move_proof
from qanatix_pipelines.tenants import Tenant

# Another process may still write under an old key. So all credentials are checked again until none is left, at most
# this many times.
ROUNDS = 5


@dataclass(frozen=True)
class Left:
    """A connector whose credentials are not under the first key."""

    id: UUID
    name: str


@dataclass(frozen=True)
class Rotated:
    """The result of a rotation: how many connectors exist, which still need another key, and which no key decrypts."""

    connectors: int
    behind: tuple[Left, ...]
    unreadable: tuple[Left, ...]


@dataclass(frozen=True)
class _Stale:
    """Credentials under another key, `token`, and the same under the first, `fresh`: None if no key decrypts them."""

    connector: Left
    token: str
    fresh: str | None


def rotate(
    engine: sa.Engine, cipher: CredentialCipher, on_progress: Callable[[int, int], None] = lambda _done, _of: None
) -> Rotated:
    """Encrypt the credentials of every tenant's connectors under the first key.

    Each connector is one transaction, which writes only if the credentials are still the ones that were read. So a
    concurrent change or deletion wins, and a rotation that was killed continues where it stopped. `on_progress` is
    called with the number of connectors that are done and of all. Raises StoreUnavailable.
    """
    for rounds_left in reversed(range(ROUNDS)):
        connectors, stale = _look(engine, cipher)
        behind = [one for one in stale if one.fresh is not None]
        if not behind or not rounds_left:
            _reseal_answers(engine, cipher)
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


def _reseal_answers(engine: sa.Engine, cipher: CredentialCipher) -> None:
    """The answers that are kept for repeated requests live for a day, which an old key need not."""
    table = tables.idempotency
    with engine.begin() as transaction:
        kept = sa.select(table.c.answer).where(table.c.answer.is_not(None))
        for token in transaction.execute(kept).scalars().all():
            fresh = cipher.resealed(token)
            if fresh not in {None, token}:
                transaction.execute(table.update().where(table.c.answer == token).values(answer=fresh))


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
