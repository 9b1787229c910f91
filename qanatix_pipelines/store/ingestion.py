"""One pull's way into the store: batches are staged, and one final transaction makes them entities or nothing.

Everything that a pull changes for good (entities, watermark, counters, outcome) commits together, and only while the
pull is still running and its connector still there. So a reader never sees half a pull, and one that died leaves only
staged rows, which the next pull of the connector sweeps away.
"""

import time
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.errors import PullSuperseded
from qanatix_pipelines.pulls import REJECTIONS_KEPT, Pull, PullStatus, Rejection
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.pulls import PullStore, lease, pass_fence

_STAGED_COLUMNS = ("pull_id", "seq", "entity_id", "source_id", "digest", "name", "data")


class Ingestion:
    """The staging of one running pull. Every method raises PullSuperseded once the pull is no longer running."""

    def __init__(self, engine: sa.Engine, connector: Connector, pull_id: UUID) -> None:
        self._engine = engine
        self._connector = connector
        self._pull_id = pull_id
        self._pulled = 0
        self._staged = 0
        self._duplicates = 0
        self._rejected = 0
        self._rejections: list[Rejection] = []

    def renew(self) -> None:
        """Tell that the pull is alive, also while its source takes its time."""
        PullStore(self._engine).renew(self._pull_id)

    def stage(self, batch: EntityBatch, rows: int) -> None:
        """Keep a batch that came out of `rows` rows, until `commit`."""
        with self._engine.begin() as transaction:
            pass_fence(transaction, self._pull_id, lease_until=lease())
            staged = (
                (self._pull_id, seq, UUID(bytes=entity_id), source_id, digest, name, data)
                for seq, (entity_id, source_id, digest, name, data) in enumerate(
                    batch.frame.iter_rows(), start=self._staged
                )
            )
            _insert_staged(transaction, staged)
        self._pulled += rows
        self._staged += batch.frame.height
        self._duplicates += batch.duplicates
        self._rejected += len(batch.rejections)
        self._rejections += batch.rejections[: REJECTIONS_KEPT - len(self._rejections)]

    def commit(self, watermark: datetime | None, started: float) -> Pull:
        """Make the staged rows entities, and answer the receipt. `started` is when the pull did, by `time.monotonic`.

        A row is ingested if its entity is new or its digest differs from the kept one, else it is a duplicate. Of rows
        with the same id the last one counts. The watermark never moves back.
        """
        with self._engine.begin() as transaction:
            pass_fence(transaction, self._pull_id, lease_until=lease())
            staged = self._count_staged(transaction)
            if self._pulled != staged + self._duplicates + self._rejected:
                raise RuntimeError("The store lost staged rows, so nothing is committed.")
            ingested = self._merge(transaction)
            duplicates = self._duplicates + staged - ingested
            self._advance(transaction, watermark)
            pass_fence(
                transaction,
                self._pull_id,
                status=PullStatus.COMPLETED,
                finished_at=now(),
                duration_seconds=time.monotonic() - started,
                records_pulled=self._pulled,
                records_ingested=ingested,
                duplicates_skipped=duplicates,
                records_rejected=self._rejected,
                rejections=[rejection.model_dump() for rejection in self._rejections],
                watermark=watermark,
            )
            transaction.execute(tables.staged.delete().where(tables.staged.c.pull_id == self._pull_id))
        return PullStore(self._engine).get(self._pull_id)

    def _advance(self, transaction: sa.Connection, watermark: datetime | None) -> None:
        connector = tables.connector
        here = connector.c.id == self._connector.id
        kept = transaction.execute(sa.select(connector.c.watermark).where(here).with_for_update()).one_or_none()
        if kept is None:
            raise PullSuperseded
        if watermark is not None and (kept.watermark is None or watermark > kept.watermark):
            transaction.execute(connector.update().where(here).values(watermark=watermark))

    def _count_staged(self, transaction: sa.Connection) -> int:
        count = sa.select(sa.func.count()).where(tables.staged.c.pull_id == self._pull_id)
        return int(transaction.execute(count).scalar_one())

    def _merge(self, transaction: sa.Connection) -> int:
        """The number of entities that are new or changed."""
        staged, entity = tables.staged.c, tables.entity.c
        age = sa.func.row_number().over(partition_by=staged.entity_id, order_by=staged.seq.desc())
        numbered = sa.select(tables.staged, age.label("age")).where(staged.pull_id == self._pull_id).subquery().c
        at = sa.literal(now(), tables.Instant)
        newest = sa.select(
            numbered.entity_id,
            sa.literal(self._connector.vertical),
            sa.literal(self._connector.entity_type),
            numbered.source_id,
            numbered.digest,
            numbered.name,
            sa.cast(numbered.data, tables.JsonText),
            sa.literal(self._connector.id, sa.Uuid),
            sa.literal(self._pull_id, sa.Uuid),
            at,
            at,
        ).where(numbered.age == 1)
        dialect = postgresql if transaction.dialect.name == "postgresql" else sqlite
        insert = dialect.insert(tables.entity).from_select([column.name for column in tables.entity.c], newest)
        given = insert.excluded
        merge = insert.on_conflict_do_update(
            index_elements=[entity.id],
            set_={
                column: given[column]
                for column in ("source_id", "digest", "name", "data", "connector_id", "pull_id", "updated_at")
            },
            where=entity.digest != given.digest,
        )
        return transaction.execute(merge, execution_options={"preserve_rowcount": True}).rowcount


def _insert_staged(transaction: sa.Connection, rows: Iterable[tuple[object, ...]]) -> None:
    """PostgreSQL takes rows several times faster by COPY than by INSERT."""
    if transaction.dialect.name == "postgresql":
        cursor = transaction.connection.cursor()
        copy = f"COPY {tables.SCHEMA}.staged ({', '.join(_STAGED_COLUMNS)}) FROM STDIN"
        with cursor.copy(copy) as stream:
            for row in rows:
                stream.write_row(row)
        return
    listed = [dict(zip(_STAGED_COLUMNS, row, strict=True)) for row in rows]
    if listed:
        transaction.execute(tables.staged.insert(), listed)
