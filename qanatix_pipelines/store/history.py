"""Receipts of pulls as they are looked up: lists of them, and those whose answer did not arrive."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.extents import Extent
from qanatix_pipelines.receipts import LIVE, PullStatus, Receipt
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.pages import cut, newest_first
from qanatix_pipelines.store.tenants import OfTenant
from qanatix_pipelines.tenants import Tenant

# How long after the end of a pull a request for it counts as a repeat, if the first one's answer did not arrive.
REPEATED_FOR = timedelta(seconds=60)

_pull = tables.pull.c
_FIELDS = [_pull[field] for field in Receipt.model_fields]


@dataclass(frozen=True)
class WantedPulls:
    """Which receipts to list: those that have each of these values, but for None. `since`: asked for no earlier."""

    connector_id: UUID | None = None
    status: PullStatus | None = None
    trigger: str | None = None
    since: datetime | None = None


def unheard(connector_id: UUID, extent: Extent) -> sa.Select[Any]:
    """The id of the connector's newest pull of this extent that ended within REPEATED_FOR and whose answer did not
    arrive.
    """
    return (
        sa.select(_pull.id)
        .where(
            _pull.connector_id == connector_id,
            _pull.unheard_at.is_not(None),
            _pull.finished_at >= now() - REPEATED_FOR,
            _pull.status.not_in(LIVE),
            *(_pull[column].is_not_distinct_from(value) for column, value in extent.columns().items()),
        )
        .order_by(_pull.created_at.desc(), _pull.id.desc())
        .limit(1)
    )


class History(OfTenant):
    """One tenant's receipts. Those of other tenants cannot be found."""

    def __init__(self, engine: sa.Engine, tenant: Tenant) -> None:
        super().__init__(tenant)
        self._engine = engine
        self._reader = engine.execution_options(reads=True)

    def page(self, wanted: WantedPulls, *, limit: int, cursor: str | None) -> tuple[Sequence[Receipt], str | None]:
        """At most `limit` receipts, newest first, and the cursor of the next page, None after the last.

        Raises WrongCursor if the cursor is not one of ours.
        """
        query = sa.select(*_FIELDS)
        for field, value in vars(wanted).items():
            if value is not None:
                query = query.where(_pull.created_at >= value if field == "since" else _pull[field] == value)
        return cut(self._all(newest_first(query, tables.pull, limit, cursor)), limit)

    def note_unheard(self, pull_id: UUID) -> None:
        """Note that the connection of a caller who waits for a pull was cut off."""
        self._set(_pull.id == pull_id, now())

    def note_heard(self, pull_id: UUID, asked_at: datetime) -> None:
        """Note that a request that came at `asked_at` is answered. Who was cut off later has not heard yet."""
        self._set((_pull.id == pull_id) & (_pull.unheard_at <= asked_at), None)

    def _set(self, condition: sa.ColumnElement[bool], unheard_at: datetime | None) -> None:
        ours = condition & (_pull.tenant == self.tenant)
        with self._engine.begin() as transaction:
            transaction.execute(tables.pull.update().where(ours).values(unheard_at=unheard_at))

    def _all(self, query: sa.Select[Any]) -> list[Receipt]:
        ours = query.where(_pull.tenant == self.tenant)
        with self._reader.connect() as connection:
            return [Receipt.model_validate(dict(row)) for row in connection.execute(ours).mappings()]
