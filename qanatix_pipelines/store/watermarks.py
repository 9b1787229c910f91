"""The watermark of a connector, where a caller sets it. A pull moves it by itself when it commits (`ingestion`)."""

from collections.abc import Callable
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import NotFound, PullInProgress
from qanatix_pipelines.receipts import LIVE
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.tenants import OfTenant
from qanatix_pipelines.tenants import Tenant
from qanatix_pipelines.watermarks import Watermark

_FIELDS = [tables.connector.c[field] for field in Connector.model_fields]


class WatermarkStore(OfTenant):
    """The watermarks of one tenant's connectors."""

    def __init__(self, engine: sa.Engine, tenant: Tenant) -> None:
        super().__init__(tenant)
        self._engine = engine
        self._reader = engine.execution_options(reads=True)

    def put(self, connector_id: UUID, value: Watermark | None, check: Callable[[Connector], None]) -> Connector:
        """Have the next pull begin at `value`, less the overlap; at None it reads everything. Returns the connector.

        `check` is given the connector while nobody else can change it, and raises what is wrong with the value. Raises
        NotFound, and PullInProgress while a pull is queued or running, which would move the watermark when it commits.
        """
        table = tables.connector
        own = (table.c.id == connector_id) & (table.c.tenant == self.tenant)
        with self._reader.connect() as connection:  # on SQLite a pull that merges would keep the lock for long
            _refuse_live(connection, connector_id, self.tenant)
        at = None if value is None else now()
        with self._engine.begin() as transaction:
            # Whoever queues a pull locks the connector, too: none can be queued before this is committed.
            found = transaction.execute(sa.select(*_FIELDS).where(own).with_for_update()).mappings().one_or_none()
            if found is None:
                raise NotFound("connector")
            kept = Connector.model_validate(dict(found))
            check(kept)
            _refuse_live(transaction, connector_id, self.tenant)
            values = {"watermark": value, "watermark_at": at, "source_clock": None}
            transaction.execute(table.update().where(own).values(values))
        return kept.model_copy(update=values)


def _refuse_live(connection: sa.Connection, connector_id: UUID, tenant: Tenant) -> None:
    pull = tables.pull.c
    live = sa.select(pull.id, pull.run_id).where(
        pull.connector_id == connector_id, pull.tenant == tenant, pull.status.in_(LIVE)
    )
    if (found := connection.execute(live).first()) is not None:
        raise PullInProgress(found.id, found.run_id)
