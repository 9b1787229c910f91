"""Drafts: connectors that are looked at before they pull. A draft carries what is asked to a run, and the answer back.

What is asked may have the credentials of a connector that is registered nowhere, and the answer has rows. Both are
encrypted, and are deleted once whoever waits has the answer, or ten minutes after the draft was made. That of a dry run
may live longer, until ten minutes after it is answered: it names a registered connector, and has no credentials.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from qanatix_pipelines.conflicts import DryRunInProgress
from qanatix_pipelines.credentials import CredentialCipher, Purpose
from qanatix_pipelines.errors import NotFound
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.erasure import Erasure
from qanatix_pipelines.store.tenants import OfTenant
from qanatix_pipelines.tenants import Tenant

LIFETIME = timedelta(minutes=10)
# What of a draft is encrypted, as the cipher tells it from a connector's credentials.
_ASKED: Purpose = "draft_asked"
_ANSWER: Purpose = "draft_answer"

Kind = Literal["test", "dry_run"]


@dataclass(frozen=True)
class Draft:
    """What a run is asked to look at. `connector_id` is None for a connector that is not registered."""

    id: UUID
    tenant: Tenant
    kind: Kind
    connector_id: UUID | None
    asked: dict[str, Any]

    def __repr__(self) -> str:
        return f"Draft({self.id}, {self.kind})"  # what is asked may hold credentials


class DraftStore(OfTenant):
    """One tenant's drafts. Each method raises StoreUnavailable."""

    def __init__(self, engine: sa.Engine, cipher: CredentialCipher, erasure: Erasure, tenant: Tenant) -> None:
        super().__init__(tenant)
        self._engine = engine
        self._reader = engine.execution_options(reads=True)
        self._cipher = cipher
        self._erasure = erasure

    def add(
        self, kind: Kind, asked: dict[str, Any], connector_id: UUID | None = None, lifetime: timedelta = LIFETIME
    ) -> UUID:
        """Keep what is asked, and return the draft's id, which alone is passed on. `asked` is for JSON.

        Raises DryRunInProgress if the connector has a dry run that is not answered yet.
        """
        self.sweep()
        draft_id, at = uuid4(), now()
        row = {
            "id": draft_id,
            "tenant": self.tenant,
            "kind": kind,
            "connector_id": connector_id,
            "asked": self._cipher.encrypt(self.tenant, draft_id, asked, _ASKED),
            "created_at": at,
            "expires_at": at + lifetime,
        }
        while True:
            try:
                with self._engine.begin() as transaction:
                    transaction.execute(tables.draft.insert().values(row))
            except IntegrityError:
                live = self._live(connector_id)
                if live is not None:
                    raise DryRunInProgress(live.connector_id, live.id) from None
                self.sweep()  # it was answered meanwhile, or its time is over
            else:
                return draft_id

    def take(self, draft_id: UUID) -> Draft:
        """The draft, for the run that answers it. Raises NotFound if it is over, and CredentialsUnreadable."""
        columns = tables.draft.c
        row = self._row(draft_id, columns.kind, columns.connector_id, columns.asked)
        if row is None:
            raise NotFound("draft")
        asked = self._cipher.decrypt(self.tenant, draft_id, row.asked, _ASKED)
        return Draft(draft_id, self.tenant, row.kind, row.connector_id, asked)

    def answer(self, draft_id: UUID, answer: dict[str, Any]) -> None:
        """Keep the answer, for LIFETIME at most. Raises NotFound if nobody waits for it, or it is answered already."""
        sealed = self._cipher.encrypt(self.tenant, draft_id, answer, _ANSWER)
        expiry, latest = tables.draft.c.expires_at, now() + LIFETIME
        sooner = sa.case((expiry > latest, sa.literal(latest, Instant)), else_=expiry)
        answered = (
            tables.draft.update()
            .where(self._current(draft_id), tables.draft.c.answer.is_(None))
            .values(answer=sealed, expires_at=sooner)
        )
        with self._engine.begin() as transaction:
            told = transaction.execute(answered)
            if told.rowcount == 0:
                raise NotFound("draft")

    def answered(self, draft_id: UUID) -> dict[str, Any] | None:
        """The answer; None if there is none yet. Needs no lock. Raises NotFound if the draft is over."""
        row = self._row(draft_id, tables.draft.c.answer)
        if row is None:
            raise NotFound("draft")
        return None if row.answer is None else self._cipher.decrypt(self.tenant, draft_id, row.answer, _ANSWER)

    def drop(self, draft_id: UUID) -> None:
        """Delete a draft, answered or not. Does nothing if it is gone."""
        self._delete(self._is(draft_id))

    def sweep(self) -> None:
        """Delete the drafts of all tenants whose time is over: nobody collected their answer."""
        over = tables.draft.c.expires_at <= now()
        with self._reader.connect() as connection:  # first, because it needs no lock
            found = connection.execute(sa.select(tables.draft.c.id).where(over).limit(1)).first()
        if found is not None:
            self._delete(over)

    def _live(self, connector_id: UUID | None) -> sa.Row[*tuple[Any, ...]] | None:
        columns = tables.draft.c
        live = (columns.connector_id == connector_id) & (columns.kind == "dry_run") & columns.answer.is_(None)
        with self._reader.connect() as connection:
            found = sa.select(columns.id, columns.connector_id).where(live, columns.expires_at > now())
            return connection.execute(found).first()

    def _row(self, draft_id: UUID, *columns: sa.ColumnElement[Any]) -> sa.Row[*tuple[Any, ...]] | None:
        with self._reader.connect() as connection:
            return connection.execute(sa.select(*columns).where(self._current(draft_id))).one_or_none()

    def _delete(self, condition: sa.ColumnElement[bool]) -> None:
        with self._engine.begin() as transaction:
            gone = transaction.execute(tables.draft.delete().where(condition)).rowcount
        if gone:
            self._erasure.begin()

    def _is(self, draft_id: UUID) -> sa.ColumnElement[bool]:
        return (tables.draft.c.id == draft_id) & (tables.draft.c.tenant == self.tenant)

    def _current(self, draft_id: UUID) -> sa.ColumnElement[bool]:
        return self._is(draft_id) & (tables.draft.c.expires_at > now())
