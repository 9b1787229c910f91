"""Rejected rows: the first ROWS_KEPT of a pull, for the PULLS_KEPT newest pulls of a connector that rejected any."""

import base64
import binascii
import re
from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.rejections import Rejection
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.pages import WrongCursor
from qanatix_pipelines.store.tenants import OfTenant
from qanatix_pipelines.tenants import Tenant

# Per pull. The receipt counts all of them.
ROWS_KEPT = 1000
# Per connector, because it may be pulled every minute and reject the same rows each time.
PULLS_KEPT = 10
# At most 18 digits, which fit into 64 bits.
_POSITION = re.compile(r"row ([1-9][0-9]{0,17})")


class RejectionStore(OfTenant):
    """One tenant's rejected rows. Those of other tenants are as if they did not exist."""

    def __init__(self, engine: sa.Engine, tenant: Tenant) -> None:
        super().__init__(tenant)
        self._reader = engine.execution_options(reads=True)

    def page(self, pull_id: UUID, *, limit: int, cursor: str | None = None) -> tuple[Sequence[Rejection], str | None]:
        """At most `limit` of a pull's rejected rows, in order, and the cursor of the next page, None after the last.

        There are none if the pull does not exist or has not completed, or if its rows are no longer kept. Raises
        WrongCursor if the cursor is not one of ours.
        """
        of = tables.rejection.c
        after = 0 if cursor is None else _row(cursor)
        query = (
            sa.select(of.row, of.key, of.reason, of.column)
            .where(of.tenant == self.tenant, of.pull_id == pull_id, of.row > after)
            .order_by(of.row)
            .limit(limit + 1)
        )
        with self._reader.connect() as connection:
            found = [Rejection.read(*row) for row in connection.execute(query)]
        page = found[:limit]
        return page, _cursor(page[-1].row) if len(found) > limit else None

    def kept(self, pull_id: UUID) -> int:
        """How many of a pull's rejected rows are kept: 0 once its connector is deleted or PULLS_KEPT later ones are."""
        of = tables.rejection.c
        query = sa.select(sa.func.count()).where(of.tenant == self.tenant, of.pull_id == pull_id)
        with self._reader.connect() as connection:
            return int(connection.execute(query).scalar_one())


def keep_rejections(
    transaction: sa.Connection, tenant: Tenant, receipt: Receipt, rejections: Sequence[Rejection]
) -> None:
    """Keep the rows that a pull rejected, in its own transaction, and delete those of the connector's oldest pulls."""
    if not rejections:
        return
    of, pulls = tables.rejection.c, tables.pull.c
    transaction.execute(
        tables.rejection.insert(),
        [
            {
                "pull_id": receipt.id,
                "row": rejection.row,
                "tenant": tenant,
                "connector_id": receipt.connector_id,
                "key": rejection.key,
                "reason": rejection.reason.value,
                "column": rejection.column,
            }
            for rejection in rejections
        ],
    )
    kept = sa.select(of.pull_id).where(of.connector_id == receipt.connector_id)
    newest = sa.select(pulls.id).where(pulls.id.in_(kept)).order_by(pulls.created_at.desc(), pulls.id.desc())
    older = of.pull_id.in_(newest.offset(PULLS_KEPT))
    transaction.execute(rejections_of(receipt.connector_id).where(older))


def rejections_of(connector_id: UUID) -> sa.Delete:
    """A DELETE of the rejected rows of all pulls of a connector."""
    return tables.rejection.delete().where(tables.rejection.c.connector_id == connector_id)


def _cursor(row: int) -> str:
    return base64.urlsafe_b64encode(f"row {row}".encode()).decode()


def _row(cursor: str) -> int:
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
        return int(_POSITION.fullmatch(text)[1])  # type: ignore[index]  # caught below
    except (binascii.Error, ValueError, TypeError):
        raise WrongCursor("is not a cursor that this API gave") from None
