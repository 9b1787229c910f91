"""The merge of staged rows into a set: the last row of each entity is written if it is new or its digest differs.

A pull of few rows, compared with its set, looks each up in the index of ids. ON CONFLICT has only that plan, whatever
the server believes of the tables. The rows are merged in the order of their ids, so neighbours in the index are visited
together, and two such merges cannot deadlock.

A pull of many rows is joined with the set by hash, which costs less a row but reads the whole set. Its rows are written
in no order, so no other merge may go on in the set meanwhile.
"""

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from qanatix_pipelines.row_keys import Repeated
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.engine import insert
from qanatix_pipelines.store.leaves import Leaf, Made
from qanatix_pipelines.store.planning import BY_HASH, planned
from qanatix_pipelines.store.repeated import drop_repeated, repeated
from qanatix_pipelines.store.staged import Staged, newest

# What a pull updates of an existing entity. The place and the time of its creation stay.
_RENEWED = ("source_id", "digest", "name", "data", "connector_id", "pull_id", "updated_at")
# A pull is joined by hash if the set has at most so many entities for each of its rows.
_SHARE = 5
# A smaller one is not: to look up so few takes no time that anybody notices.
_MANY = 20_000
# The first of two numbers that an advisory lock has; the other is the set's.
_LOCK = 0x51414E54


def merge(
    transaction: sa.Connection, leaf: Leaf, staged: Staged, made: Made, *, rows: int, entities: int
) -> tuple[int, Repeated]:
    """Turn `rows` staged rows into entities of a set that has about so many `entities`.

    Returns how many are new or changed, and which keys were repeated.
    """
    if transaction.dialect.name == "postgresql":
        by_hash = rows >= max(_MANY, entities / _SHARE)
        lock = sa.func.pg_advisory_xact_lock if by_hash else sa.func.pg_advisory_xact_lock_shared
        transaction.execute(sa.select(lock(_LOCK, made.set_number)))
        if by_hash:
            return _by_hash(transaction, leaf, staged, made)
    ingested = _written(transaction, _upsert(transaction, leaf, *newest(transaction, staged), made))
    # If every staged row was ingested, no two had the same key, and there is nothing to count.
    return ingested, repeated(transaction, staged) if ingested < rows else Repeated()


def _by_hash(transaction: sa.Connection, leaf: Leaf, staged: Staged, made: Made) -> tuple[int, Repeated]:
    with planned(transaction, BY_HASH):
        lost = drop_repeated(transaction, staged)
        kept, given = leaf.table.c, staged.table
        new = {name: given.c[name] for name in _RENEWED if name in given.c} | {
            name: value for name, value in _common(made).items() if name in _RENEWED
        }
        changed = (
            leaf.table.update()
            .values({kept[name]: value for name, value in new.items()})
            .where(kept.id == given.c.id, kept.digest != given.c.digest)
        )
        count = _written(transaction, changed)
        absent = ~sa.exists().where(kept.id == given.c.id).correlate(given)
        return count + _written(transaction, _upsert(transaction, leaf, given, absent, made)), lost


def _upsert(transaction: sa.Connection, leaf: Leaf, given: Any, which: sa.ColumnElement[bool], made: Made) -> sa.Insert:
    common = _common(made)
    names = [column.name for column in leaf.table.c]
    of = given.c
    values = common | {name: of[name] for name in names if name in of}
    if transaction.dialect.name == "sqlite":
        # Its rows come in the order of their ids. In the order of their places all other indexes would be visited at
        # random, which takes three times as long.
        values["row"] = sa.func.row_number().over(order_by=of.id)
    rows = sa.select(*(values[name] for name in names)).where(which)
    inserted = insert(transaction, leaf.table).from_select(names, rows)
    kept, excluded = leaf.table.c, inserted.excluded
    return inserted.on_conflict_do_update(
        index_elements=leaf.key,
        set_={name: excluded[name] for name in _RENEWED},
        where=kept.digest != excluded.digest,
    )


def _common(made: Made) -> dict[str, sa.ColumnElement[Any]]:
    return {name: sa.literal(value, tables.entity.c[name].type) for name, value in asdict(made).items()}


def _written(transaction: sa.Connection, statement: sa.Insert | sa.Update) -> int:
    return transaction.execute(statement, execution_options={"preserve_rowcount": True}).rowcount
