"""API keys in the store, and the proofs that the environment's secrets belong to this store."""

import hashlib
import hmac
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import NotFound, SettingsError
from qanatix_pipelines.keys import USUAL_SCOPES, ApiKey, KeyRecord, Scope, new_key, parse_key
from qanatix_pipelines.settings import ENCRYPTION_KEY, PEPPER
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.engine import insert
from qanatix_pipelines.store.tenants import OfTenant
from qanatix_pipelines.tenants import DEFAULT, Tenant

_PROVEN_TEXT = "qanatix"
_LAST_USE_GRAIN = timedelta(minutes=1)


class KeyStore(OfTenant):
    """One tenant's keys. Those of other tenants are as if they did not exist, but `find` knows every tenant's."""

    def __init__(self, engine: sa.Engine, pepper: bytes, tenant: Tenant = DEFAULT) -> None:
        super().__init__(tenant)
        self._engine = engine
        self._reader = engine.execution_options(reads=True)
        self._pepper = pepper

    def tenants(self) -> list[Tenant]:
        """All tenants that have a key, by name."""
        query = sa.select(tables.api_key.c.tenant).distinct().order_by(tables.api_key.c.tenant)
        with self._reader.connect() as connection:
            return [Tenant(name) for name in connection.execute(query).scalars()]

    def create(
        self,
        name: str,
        scopes: Collection[Scope] = USUAL_SCOPES,
        expires_in: timedelta | None = None,
        *,
        expires_at: datetime | None = None,
    ) -> ApiKey:
        """A new key, with at most one of the two expiries. Only the returned value has its text; the store its hash."""
        key, at = new_key(), now()
        values = {
            "id": key.id,
            "tenant": self.tenant,
            "name": name,
            "digest": key.digest(self._pepper),
            "scopes": " ".join(sorted(scopes)),
            "created_at": at,
            "expires_at": expires_at if expires_in is None else at + expires_in,
        }
        with self._engine.begin() as transaction:
            transaction.execute(tables.api_key.insert().values(**values))
        return key

    def find(self, text: str) -> KeyRecord | None:
        """The record of the valid key with this text, of any tenant; None if there is none."""
        key = parse_key(text)
        if key is None:
            return None
        with self._reader.connect() as connection:
            row = connection.execute(sa.select(tables.api_key).where(tables.api_key.c.id == key.id)).one_or_none()
        # The comparisons are the same whether or not the id exists, so that the time does not tell.
        digest, at = key.digest(self._pepper), now()
        nothing = bytes(hashlib.sha256().digest_size)
        current = hmac.compare_digest(nothing if row is None else row.digest, digest)
        previous = hmac.compare_digest((None if row is None else row.previous_digest) or nothing, digest)
        if row is None or not (current or (previous and at < row.previous_until)):
            return None
        record = _record(row)
        return record if record.is_valid(at) else None

    def keyed(self, *parts: bytes) -> bytes:
        """HMAC-SHA256 of these parts under the pepper: what a request says, for a store that may be read."""
        text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self._pepper, text, hashlib.sha256)

    def get(self, key_id: str) -> KeyRecord:
        """Raises NotFound."""
        with self._reader.connect() as connection:
            row = connection.execute(sa.select(tables.api_key).where(self._is(key_id))).one_or_none()
        if row is None:
            raise NotFound("key")
        return _record(row)

    def list(self) -> list[KeyRecord]:
        """All keys, oldest first, with those that are revoked or expired."""
        table = tables.api_key
        query = sa.select(table).where(table.c.tenant == self.tenant).order_by(table.c.created_at)
        with self._reader.connect() as connection:
            return [_record(row) for row in connection.execute(query)]

    def rotate(self, key_id: str, grace: timedelta = timedelta(0)) -> ApiKey:
        """The key with a new secret. The old secret stays valid for `grace`.

        Raises NotFound if no valid key has this id.
        """
        table = tables.api_key
        key, at = new_key(key_id), now()
        ours = sa.and_(
            self._is(key_id),
            table.c.revoked_at.is_(None),
            sa.or_(table.c.expires_at.is_(None), table.c.expires_at > at),
        )
        values = {
            "previous_digest": table.c.digest,
            "previous_until": at + grace,
            "digest": key.digest(self._pepper),
        }
        with self._engine.begin() as transaction:
            if transaction.execute(table.update().where(ours).values(**values)).rowcount == 0:
                raise NotFound("key")
        return key

    def revoke(self, key_id: str) -> bool:
        """Refuse a key from now on; its record stays. True if the key existed and was not revoked yet."""
        table = tables.api_key
        ours = sa.and_(self._is(key_id), table.c.revoked_at.is_(None))
        with self._engine.begin() as transaction:
            return transaction.execute(table.update().where(ours).values(revoked_at=now())).rowcount == 1

    def note_use(self, key_id: str) -> None:
        """Note that a key is used now, unless a use within the last minute is noted already."""
        table, at = tables.api_key, now()
        due = sa.or_(table.c.last_used_at.is_(None), table.c.last_used_at <= at - _LAST_USE_GRAIN)
        with self._engine.begin() as transaction:
            transaction.execute(table.update().where(table.c.id == key_id, due).values(last_used_at=at))

    def _is(self, key_id: str) -> sa.ColumnElement[bool]:
        return (tables.api_key.c.id == key_id) & (tables.api_key.c.tenant == self.tenant)


def is_use_due(record: KeyRecord) -> bool:
    """Whether `note_use` would write anything."""
    return record.last_used_at is None or record.last_used_at <= now() - _LAST_USE_GRAIN


def _record(row: sa.Row[Any]) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        scopes=frozenset(map(Scope, row.scopes.split())),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )


def check_cipher(engine: sa.Engine, cipher: CredentialCipher, *, keep: bool = True) -> None:
    """Raise SettingsError unless a key of CONNECTOR_ENCRYPTION_KEY is one with which this store was written.

    A store without a proof takes one from this cipher, unless `keep` is false.
    """
    _check(engine, ENCRYPTION_KEY, cipher.seal(_PROVEN_TEXT), lambda kept: cipher.resealed(kept) is not None, keep=keep)


def move_proof(engine: sa.Engine, cipher: CredentialCipher) -> None:
    """Encrypt the proof under the first key, so that the other keys are no longer needed.

    Only a rotation calls this. If every process did, one with the keys in another order would undo it.
    """
    with engine.begin() as transaction:
        transaction.execute(
            tables.secret_check.update()
            .where(tables.secret_check.c.variable == ENCRYPTION_KEY)
            .values(proof=cipher.seal(_PROVEN_TEXT))
        )


def check_pepper(engine: sa.Engine, pepper: bytes, *, keep: bool = True) -> None:
    """As `check_cipher`, for the pepper under which this store's API keys are hashed."""
    proof = hmac.new(pepper, _PROVEN_TEXT.encode(), hashlib.sha256).hexdigest()
    _check(engine, PEPPER, proof, lambda kept: hmac.compare_digest(kept, proof), keep=keep)


def _check(engine: sa.Engine, variable: str, proof: str, is_ours: Callable[[str], bool], *, keep: bool) -> None:
    """Compare with the stored proof. If there is none, store `proof` when `keep` is true.

    Every process that opens the store checks, but only the first one writes and needs a lock.
    """
    table = tables.secret_check
    ours = table.c.variable == variable
    with engine.execution_options(reads=True).connect() as connection:
        kept = connection.execute(sa.select(table.c.proof).where(ours)).scalar_one_or_none()
    if kept is None and not keep:
        return
    if kept is None:
        first = insert(engine, table).values(variable=variable, proof=proof).on_conflict_do_nothing()
        with engine.begin() as transaction:  # of several processes at once, the first one's proof is kept
            transaction.execute(first)
            kept = transaction.execute(sa.select(table.c.proof).where(ours)).scalar_one()
    if not is_ours(kept):
        raise SettingsError(variable, "is not the one with which this store was written: nothing in it could be read.")
