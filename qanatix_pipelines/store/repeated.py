"""Counts the staged rows of a pull that have the same key but different content."""

import sqlalchemy as sa

from qanatix_pipelines.rejections import LONGEST_KEY
from qanatix_pipelines.row_keys import KEYS_NAMED, Repeated
from qanatix_pipelines.store.staged import Staged

# How many bytes of a digest are compared. More are not known of rows that `unchanged` left out.
DIGEST_BYTES = 16


def repeated(transaction: sa.Connection, staged: Staged) -> Repeated:
    """How many of the `staged` rows differ from the last row with their key, and the keys with the most of them.

    They are counted only if some key was staged twice, because the count has to sort all rows.
    """
    return _counted(transaction, staged) if _any(transaction, staged) else Repeated()


def drop_repeated(transaction: sa.Connection, staged: Staged) -> Repeated:
    """The same; and all rows are deleted but the last with each key."""
    if not _any(transaction, staged):
        return Repeated()
    lost = _counted(transaction, staged)
    later = staged.table.alias()
    of = staged.table.c
    transaction.execute(
        sa.delete(staged.table).where(staged.own, sa.exists().where(later.c.id == of.id, later.c.row > of.row))
    )
    return lost


def _any(transaction: sa.Connection, staged: Staged) -> bool:
    rows = sa.select(sa.func.count().label("rows")).select_from(staged.table).where(staged.own)
    of_entity = rows.group_by(staged.table.c.id).subquery().c
    most = transaction.execute(sa.select(sa.func.max(of_entity.rows))).scalar()
    return most is not None and most > 1


def _counted(transaction: sa.Connection, rows_of: Staged) -> Repeated:
    staged = rows_of.table.c
    content = sa.func.substr(staged.digest, 1, DIGEST_BYTES)
    last = sa.func.first_value(content).over(partition_by=staged.id, order_by=staged.row.desc())
    shown = sa.case((sa.func.length(staged.source_id) <= LONGEST_KEY, staged.source_id))
    rows = (
        sa.select(
            staged.id, rows_of.alike.label("alike"), shown.label("key"), content.label("content"), last.label("last")
        )
        .where(rows_of.own)
        .subquery()
        .c
    )
    other = sa.case((rows.content != rows.last, rows.alike), else_=0)
    keys = (
        sa.select(sa.func.max(rows.key).label("key"), sa.func.sum(other).label("rows")).group_by(rows.id).subquery().c
    )
    most = sa.select(keys.key, sa.func.sum(keys.rows).over()).where(keys.rows > 0)
    found = transaction.execute(most.order_by(keys.rows.desc(), keys.key).limit(KEYS_NAMED)).all()
    return Repeated(int(found[0][1]), [key for key, _ in found if key is not None]) if found else Repeated()
