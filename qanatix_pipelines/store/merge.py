"""The end of a pull's staging: the newest row of each entity that is new, or that has another digest than the kept one.

For each row the index of ids is asked, and nothing else of what is kept is read, however many entities there are. No
join says so: which plan a join gets depends on what the server believes of its tables, and it believes of a table that
has grown since, or grows by this very statement, that it is small. ON CONFLICT has no plan that could be another.

The rows are taken in the order of their ids: so neighbours in the index of ids are met one after the other, and two
pulls that fill one set at the same time do not lock each other out.
"""

from contextlib import suppress
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.exc import IntegrityError

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.pulls import Pull
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.engine import insert
from qanatix_pipelines.store.entity_sets import counted

# What a pull gives an entity that is there already. It stays as old as it is.
_RENEWED = ("source_id", "digest", "name", "data", "connector_id", "pull_id", "updated_at")


def merge(transaction: sa.Connection, connector: Connector, receipt: Pull, merged_at: datetime) -> int:
    """Make what an attempt has staged entities. The number of those that are new or changed."""
    names = [column.name for column in tables.entity.c]
    rows = insert(transaction, tables.entity).from_select(names, _rows(transaction, connector, receipt, merged_at))
    if transaction.dialect.name == "postgresql" and counted(transaction, connector) == 0:
        # All are new, it seems, and not to look for them takes a quarter less. Another pull may bring some meanwhile.
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


def _rows(transaction: sa.Connection, connector: Connector, receipt: Pull, merged_at: datetime) -> sa.Select[Any]:
    """The newest staged row of each entity, with the columns of `entity`."""
    staged = tables.staged.c
    own = sa.select(tables.staged).where(staged.pull_id == receipt.id, staged.attempt == receipt.attempt)
    latest = staged.seq.desc()
    if transaction.dialect.name == "postgresql":
        given = own.ext(distinct_on(staged.entity_id)).order_by(staged.entity_id, latest).subquery().c
        first: sa.ColumnElement[bool] = sa.true()
    else:
        age = sa.func.row_number().over(partition_by=staged.entity_id, order_by=latest)
        given = own.add_columns(age.label("age")).subquery().c
        first = given.age == 1
    at = sa.literal(merged_at, tables.Instant)
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
