"""The merge of staged rows into entities: the last row of each entity is written if it is new or its digest differs.

It costs one lookup in the index of ids per row, however many entities the store has. A join would not guarantee that:
its plan depends on the server's statistics, which call a table small that has grown since, or grows in this statement.
ON CONFLICT has only one plan.

The rows are merged in the order of their ids. So neighbouring index entries are visited together, and two pulls that
fill the same set cannot deadlock.
"""

from contextlib import suppress
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.engine import insert
from qanatix_pipelines.store.entity_sets import counted
from qanatix_pipelines.store.staged import Staged, newest

# What a pull updates of an existing entity. `created_at` stays.
_RENEWED = ("source_id", "digest", "name", "data", "connector_id", "pull_id", "updated_at")


def merge(
    transaction: sa.Connection, connector: Connector, receipt: Receipt, staged: Staged, merged_at: datetime
) -> int:
    """Turn what an attempt has `staged` into entities. Returns how many are new or changed."""
    names = [column.name for column in tables.entity.c]
    given_rows = _rows(transaction, connector, receipt, staged, merged_at)
    rows = insert(transaction, tables.entity).from_select(names, given_rows)
    if transaction.dialect.name == "postgresql" and counted(transaction, connector) == 0:
        # The set is empty, so a plain INSERT should do and takes a quarter less time. It fails if another pull adds the
        # same entities meanwhile.
        with suppress(IntegrityError), transaction.begin_nested():
            return _written(transaction, rows)
    kept, given = tables.entity.c, rows.excluded
    upsert = rows.on_conflict_do_update(
        index_elements=[kept.tenant, kept.id],
        set_={name: given[name] for name in _RENEWED},
        where=kept.digest != given.digest,
    )
    return _written(transaction, upsert)


def _written(transaction: sa.Connection, statement: sa.Insert) -> int:
    return transaction.execute(statement, execution_options={"preserve_rowcount": True}).rowcount


def _rows(
    transaction: sa.Connection, connector: Connector, receipt: Receipt, staged: Staged, merged_at: datetime
) -> sa.Select[Any]:
    """The newest staged row of each entity, with the columns of `entity`."""
    rows, first = newest(transaction, staged)
    given = rows.c
    at = sa.literal(merged_at, Instant)
    return sa.select(
        sa.literal(connector.tenant),
        given.entity_id,
        sa.literal(connector.vertical),
        sa.literal(connector.entity_type),
        given.source_id,
        given.digest,
        given.name,
        given.data,
        sa.literal(connector.id, sa.Uuid),
        sa.literal(receipt.id, sa.Uuid),
        at,
        at,
    ).where(first)
