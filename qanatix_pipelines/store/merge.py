"""The end of a pull's staging: the newest row of each entity that is new, or that has another digest than the kept one.

The rows are taken in the order of their ids: so neighbours in the index of ids are met one after the other, and two
pulls that fill one set at the same time do not lock each other out.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import StoreUnavailable
from qanatix_pipelines.pulls import Pull
from qanatix_pipelines.store import tables

# PostgreSQL documentation, appendix A: unique_violation.
_THERE_ALREADY = "23505"
# Each time another pull has brought some of the rows, and there is one live pull a connector.
_TRIES = 10

# For each entity the index is asked, however many others there are: any other join would read all that is kept.
_BY_INDEX = "SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)"
_MERGE = f"""
MERGE INTO {tables.SCHEMA}.entity AS kept
USING (
    SELECT DISTINCT ON (entity_id) entity_id, source_id, digest, name, data
    FROM {tables.SCHEMA}.staged
    WHERE pull_id = :pull_id AND attempt = :attempt
    ORDER BY entity_id, seq DESC
) AS given
ON kept.tenant = :tenant AND kept.id = given.entity_id
WHEN MATCHED AND kept.digest <> given.digest THEN UPDATE SET
    source_id = given.source_id, digest = given.digest, name = given.name, data = given.data,
    connector_id = :connector_id, pull_id = :pull_id, updated_at = :at
WHEN NOT MATCHED THEN INSERT (
    tenant, id, vertical, entity_type, source_id, digest, name, data, connector_id, pull_id, created_at, updated_at
) VALUES (
    :tenant, given.entity_id, :vertical, :entity_type, given.source_id, given.digest, given.name, given.data,
    :connector_id, :pull_id, :at, :at
)
"""


def merge(transaction: sa.Connection, connector: Connector, receipt: Pull, merged_at: datetime) -> int:
    """Make what an attempt has staged entities. The number of those that are new or changed.

    Raises StoreUnavailable if other pulls bring the same entities time and again meanwhile.
    """
    if transaction.dialect.name == "sqlite":
        return _upserted(transaction, connector, receipt, merged_at)
    transaction.exec_driver_sql(_BY_INDEX)
    for _ in range(_TRIES):
        try:
            with transaction.begin_nested():
                return _merged(transaction, connector, receipt, merged_at)
        except IntegrityError as error:
            if getattr(error.orig, "sqlstate", None) != _THERE_ALREADY:
                raise
    raise StoreUnavailable


def _merged(transaction: sa.Connection, connector: Connector, receipt: Pull, merged_at: datetime) -> int:
    """A MERGE checks nothing for what others insert meanwhile, and costs a third less for that than an INSERT would."""
    given: dict[str, Any] = {
        "tenant": connector.tenant,
        "vertical": connector.vertical,
        "entity_type": connector.entity_type,
        "connector_id": connector.id,
        "pull_id": receipt.id,
        "attempt": receipt.attempt,
        "at": merged_at,
    }
    return transaction.execute(sa.text(_MERGE), given).rowcount


def _upserted(transaction: sa.Connection, connector: Connector, receipt: Pull, merged_at: datetime) -> int:
    staged, entity = tables.staged.c, tables.entity.c
    own = (staged.pull_id == receipt.id) & (staged.attempt == receipt.attempt)
    age = sa.func.row_number().over(partition_by=staged.entity_id, order_by=staged.seq.desc())
    numbered = sa.select(tables.staged, age.label("age")).where(own).subquery().c
    at = sa.literal(merged_at, tables.Instant)
    newest = sa.select(
        sa.literal(connector.tenant),
        numbered.entity_id,
        sa.literal(connector.vertical),
        sa.literal(connector.entity_type),
        numbered.source_id,
        numbered.digest,
        numbered.name,
        numbered.data,
        sa.literal(connector.id, sa.Uuid),
        sa.literal(receipt.id, sa.Uuid),
        at,
        at,
    ).where(numbered.age == 1)
    insert = sqlite.insert(tables.entity).from_select([column.name for column in tables.entity.c], newest)
    given = insert.excluded
    upsert = insert.on_conflict_do_update(
        index_elements=[entity.tenant, entity.id],
        set_={
            column: given[column]
            for column in ("source_id", "digest", "name", "data", "connector_id", "pull_id", "updated_at")
        },
        where=entity.digest != given.digest,
    )
    return transaction.execute(upsert, execution_options={"preserve_rowcount": True}).rowcount
