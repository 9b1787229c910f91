"""API keys as they are kept, and the proofs that the environment's secrets are those of this store."""

import hashlib
import hmac
from collections.abc import Callable

import sqlalchemy as sa

from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import SettingsError
from qanatix_pipelines.keys import ApiKey, KeyRecord, new_key, parse_key
from qanatix_pipelines.settings import ENCRYPTION_KEY, PEPPER
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now

_PROVEN_TEXT = "qanatix"


class KeyStore:
    def __init__(self, engine: sa.Engine, pepper: bytes) -> None:
        self._engine = engine
        self._reader = engine.execution_options(reads=True)
        self._pepper = pepper

    def create(self, name: str) -> ApiKey:
        """A new key. Its text is in the answer and nowhere else."""
        key = new_key()
        with self._engine.begin() as transaction:
            transaction.execute(
                tables.api_key.insert().values(id=key.id, name=name, digest=key.digest(self._pepper), created_at=now())
            )
        return key

    def find(self, text: str) -> KeyRecord | None:
        """The record of the key that `text` spells, None if there is none."""
        key = parse_key(text)
        if key is None:
            return None
        with self._reader.connect() as connection:
            row = connection.execute(sa.select(tables.api_key).where(tables.api_key.c.id == key.id)).one_or_none()
        # Always one comparison, so that the time tells nothing of which ids there are.
        digest = bytes(hashlib.sha256().digest_size) if row is None else row.digest
        if not hmac.compare_digest(digest, key.digest(self._pepper)) or row is None:
            return None
        return KeyRecord(id=row.id, name=row.name, created_at=row.created_at)

    def list(self) -> list[KeyRecord]:
        query = sa.select(tables.api_key).order_by(tables.api_key.c.created_at)
        with self._reader.connect() as connection:
            return [KeyRecord(row.id, row.name, row.created_at) for row in connection.execute(query)]

    def revoke(self, key_id: str) -> bool:
        """Whether there was such a key."""
        with self._engine.begin() as transaction:
            gone = transaction.execute(tables.api_key.delete().where(tables.api_key.c.id == key_id))
            return gone.rowcount == 1


def check_cipher(engine: sa.Engine, cipher: CredentialCipher) -> None:
    """Raise SettingsError if no key of CONNECTOR_ENCRYPTION_KEY is one with which this store was written."""
    _check(engine, ENCRYPTION_KEY, cipher.seal(_PROVEN_TEXT), cipher.resealed)


def check_pepper(engine: sa.Engine, pepper: bytes) -> None:
    """Raise SettingsError if the pepper is not the one under which this store's API keys are hashed."""
    proof = hmac.new(pepper, _PROVEN_TEXT.encode(), hashlib.sha256).hexdigest()
    _check(engine, PEPPER, proof, lambda kept: kept if hmac.compare_digest(kept, proof) else None)


def _check(engine: sa.Engine, variable: str, proof: str, confirm: Callable[[str], str | None]) -> None:
    """Keep `proof` where none is kept yet, else what `confirm` makes of the kept one: None if it is not ours.

    Every entrance asks; written, and so locked, is only what changes.
    """
    table = tables.secret_check
    ours = table.c.variable == variable
    with engine.execution_options(reads=True).connect() as connection:
        kept = connection.execute(sa.select(table.c.proof).where(ours)).scalar_one_or_none()
    if kept is None:
        with engine.begin() as transaction:
            kept = transaction.execute(sa.select(table.c.proof).where(ours)).scalar_one_or_none()
            if kept is None:  # no other process was first
                transaction.execute(table.insert().values(variable=variable, proof=proof))
                return
    confirmed = confirm(kept)
    if confirmed is None:
        raise SettingsError(variable, "is not the one with which this store was written: nothing in it could be read.")
    if confirmed != kept:
        with engine.begin() as transaction:
            transaction.execute(table.update().where(ours).values(proof=confirmed))
