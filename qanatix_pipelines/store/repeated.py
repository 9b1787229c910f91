"""Rows of one pull that have the same key and different content, counted among what was staged."""

import sqlalchemy as sa

from qanatix_pipelines.pulls import Pull
from qanatix_pipelines.rejections import LONGEST_KEY
from qanatix_pipelines.row_keys import KEYS_NAMED, Repeated
from qanatix_pipelines.store import tables

# So many bytes of a digest tell contents apart. Of a row that was left out no more are known.
DIGEST_BYTES = 16


def repeated(transaction: sa.Connection, pull: Pull) -> Repeated:
    """Which of the rows that an attempt has staged are not like the last one of their key.

    Those are looked for only where a key was staged twice, for it takes a sort of all rows.
    """
    staged = tables.staged.c
    own = (staged.pull_id == pull.id) & (staged.attempt == pull.attempt)
    of_entity = sa.select(sa.func.count().label("rows")).where(own).group_by(staged.entity_id).subquery().c
    most = transaction.execute(sa.select(sa.func.max(of_entity.rows))).scalar()
    return _repeated(transaction, own) if most is not None and most > 1 else Repeated()


def _repeated(transaction: sa.Connection, own: sa.ColumnElement[bool]) -> Repeated:
    staged = tables.staged.c
    content = sa.func.substr(staged.digest, 1, DIGEST_BYTES)
    last = sa.func.first_value(content).over(partition_by=staged.entity_id, order_by=staged.seq.desc())
    shown = sa.case((sa.func.length(staged.source_id) <= LONGEST_KEY, staged.source_id))
    rows = (
        sa.select(staged.entity_id, staged.alike, shown.label("key"), content.label("content"), last.label("last"))
        .where(own)
        .subquery()
        .c
    )
    other = sa.case((rows.content != rows.last, rows.alike), else_=0)
    keys = (
        sa.select(sa.func.max(rows.key).label("key"), sa.func.sum(other).label("rows"))
        .group_by(rows.entity_id)
        .subquery()
        .c
    )
    most = sa.select(keys.key, sa.func.sum(keys.rows).over()).where(keys.rows > 0)
    found = transaction.execute(most.order_by(keys.rows.desc(), keys.key).limit(KEYS_NAMED)).all()
    return Repeated(int(found[0][1]), [key for key, _ in found if key is not None]) if found else Repeated()
