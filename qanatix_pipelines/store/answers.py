"""Answers that are kept for a while, so that a repeated request is not done twice."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.conflicts import AnswerLost, RepeatDiffers, RepeatInProgress
from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import CredentialsUnreadable
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.engine import insert
from qanatix_pipelines.store.tenants import OfTenant
from qanatix_pipelines.tenants import Tenant

KEPT_FOR = timedelta(hours=24)
# How long a request without an Idempotency-Key counts as a repeat of an equal one.
ALIKE_FOR = timedelta(seconds=60)

_table = tables.idempotency


@dataclass(frozen=True)
class Sent:
    """A request, as its repeat is recognized: the id of the API key that sent it, and two keyed digests.

    `key` is the digest of its Idempotency-Key, or of what an equal request has in common. `request` is the digest of
    the whole request.
    """

    api_key_id: str
    key: bytes
    request: bytes


@dataclass(frozen=True)
class Begun:
    """A request that is in progress. `at` tells it from a later one with the same key."""

    sent: Sent
    at: datetime


class Answers(OfTenant):
    """The answers to one tenant's requests. Each is encrypted, and can be read only for its tenant and API key."""

    def __init__(self, engine: sa.Engine, cipher: CredentialCipher, tenant: Tenant) -> None:
        super().__init__(tenant)
        self._engine = engine
        self._reader = engine.execution_options(reads=True)
        self._cipher = cipher

    def begin(self, sent: Sent, longest: timedelta) -> Begun | dict[str, Any]:
        """The answer to the first request with this key. If this is the first one, note that it is in progress.

        If it is neither answered nor given up after `longest`, its process counts as dead, and a repeat is the first.
        Raises RepeatDiffers, RepeatInProgress and AnswerLost.
        """
        while True:
            kept = self._kept(sent)
            if kept is not None:
                return kept
            at = now()
            given = _table.c
            row = _row(self.tenant, sent, None, at, at + longest)
            with self._engine.begin() as transaction:
                transaction.execute(_table.delete().where(self._is(sent), given.expires_at <= at))
                first = _noted(transaction, row)
            if first:
                return Begun(sent, at)

    def keep(self, begun: Begun, answer: dict[str, Any]) -> None:
        """Keep the answer for a day from when the request began."""
        token = self._cipher.encrypt(self.tenant, _bound_to(begun.sent), answer)
        with self._engine.begin() as transaction:
            transaction.execute(
                _table.update().where(self._is_of(begun)).values(answer=token, expires_at=begun.at + KEPT_FOR)
            )

    def drop(self, begun: Begun) -> None:
        """Forget a request, so that a repeat of it is the first."""
        with self._engine.begin() as transaction:
            transaction.execute(_table.delete().where(self._is_of(begun)))

    def sweep(self) -> None:
        """Delete the answers of all tenants that are too old."""
        with self._engine.begin() as transaction:
            transaction.execute(_table.delete().where(_table.c.expires_at <= now()))

    def _kept(self, sent: Sent) -> dict[str, Any] | None:
        query = sa.select(_table.c.request, _table.c.answer).where(self._is(sent), _table.c.expires_at > now())
        with self._reader.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        if row.request != sent.request:
            raise RepeatDiffers
        if row.answer is None:
            raise RepeatInProgress
        try:
            return self._cipher.decrypt(self.tenant, _bound_to(sent), row.answer)
        except CredentialsUnreadable:
            raise AnswerLost from None

    def _is(self, sent: Sent) -> sa.ColumnElement[bool]:
        return _is(self.tenant, sent)

    def _is_of(self, begun: Begun) -> sa.ColumnElement[bool]:
        return self._is(begun.sent) & (_table.c.created_at == begun.at)


def first_alike(
    transaction: sa.Connection, cipher: CredentialCipher, tenant: Tenant, sent: Sent, connector_id: UUID
) -> UUID:
    """The connector that an equal request registered within ALIKE_FOR, if it is still as it was registered.

    Otherwise `connector_id`, which is noted as what this request registers. Of several such transactions at once, each
    waits for the one before.
    """
    at = now()
    mine = cipher.encrypt(tenant, _bound_to(sent), {"connector_id": str(connector_id)})
    row = _row(tenant, sent, mine, at, at + ALIKE_FOR)
    while True:
        if _noted(transaction, row):
            return connector_id
        kept = transaction.execute(
            sa.select(_table.c.answer, _table.c.expires_at).where(_is(tenant, sent)).with_for_update()
        ).one_or_none()
        if kept is not None:
            break
    if kept.expires_at > at:
        with suppress(CredentialsUnreadable):
            first = UUID(cipher.decrypt(tenant, _bound_to(sent), kept.answer)["connector_id"])
            connector = tables.connector.c
            unchanged = (connector.id == first) & (connector.tenant == tenant) & (connector.version == 1)
            if transaction.execute(sa.select(connector.id).where(unchanged)).first() is not None:
                return first
    transaction.execute(_table.update().where(_is(tenant, sent)).values(row))
    return connector_id


def _noted(transaction: sa.Connection, row: dict[str, Any]) -> bool:
    """Whether this row is the first with its key. Waits for other transactions that write one."""
    added = insert(transaction, _table).values(row).on_conflict_do_nothing().returning(_table.c.key)
    return transaction.execute(added).first() is not None  # no driver counts what it did not insert alike


def _row(tenant: Tenant, sent: Sent, answer: str | None, at: datetime, until: datetime) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "api_key_id": sent.api_key_id,
        "key": sent.key.hex(),
        "request": sent.request,
        "answer": answer,
        "created_at": at,
        "expires_at": until,
    }


def _is(tenant: Tenant, sent: Sent) -> sa.ColumnElement[bool]:
    return sa.and_(_table.c.tenant == tenant, _table.c.api_key_id == sent.api_key_id, _table.c.key == sent.key.hex())


def _bound_to(sent: Sent) -> UUID:
    """What an answer is encrypted together with, as a connector's credentials are with its id."""
    return UUID(bytes=sent.key[:16])
