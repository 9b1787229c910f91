"""Entities of several sets: by their id, and newest first.

A query over many leaves takes PostgreSQL longer to plan than to run. So it is asked within functions of the store
(migration 0017), which keep a plan for any sets. A query of one set names its leaf.

The order is that of creation, which never changes. So nothing is skipped or repeated while new entities arrive.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from qanatix_pipelines.store import tables
from qanatix_pipelines.store.column_types import EntityId, Instant
from qanatix_pipelines.store.leaves import leaf_of
from qanatix_pipelines.store.pages import WrongCursor

_POSITION = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?) ([0-9]{1,18}) ([0-9a-f]{32})"
)


class Position(NamedTuple):
    """Where a page begins: after the entity with these."""

    created_at: datetime
    row: int
    id: UUID


# After all entities.
_END = Position(datetime.fromisoformat("9999-12-31T00:00:00+00:00"), 2**62, UUID(int=2**128 - 1))


def found_in(connection: sa.Connection, sets: Sequence[int], entity_id: UUID) -> sa.Select[Any]:
    """The entity with this id in any of the sets: at most one. Of one tenant's sets no two have the same id."""
    if connection.dialect.name == "postgresql" and len(sets) != 1:
        wanted = sa.literal(entity_id, EntityId)
        return sa.select(_rows_of(sa.func.qanatix.entities_with(_array(sets), wanted)))
    source = leaf_of(connection, sets[0]).table if len(sets) == 1 else tables.entity
    return sa.select(source).where(source.c.set_number.in_(sets), source.c.id == entity_id)


def newest_of(connection: sa.Connection, sets: Sequence[int], most: int, after: Position | None) -> sa.Select[Any]:
    """The newest `most` entities of the sets, or the newest after a position."""
    if connection.dialect.name == "postgresql" and len(sets) != 1:
        at = after or _END
        before = (sa.literal(at.created_at, Instant), sa.literal(at.row, sa.BigInteger), sa.literal(at.id, EntityId))
        return sa.select(_rows_of(sa.func.qanatix.newest_entities(_array(sets), *before, sa.literal(most, sa.Integer))))
    source = leaf_of(connection, sets[0]).table if len(sets) == 1 else tables.entity
    of = source.c
    query = sa.select(source).where(of.set_number.in_(sets))
    if after is not None:
        bound = (sa.literal(value, of[name].type) for name, value in after._asdict().items())
        query = query.where(sa.tuple_(of.created_at, of.row, of.id) < sa.tuple_(*bound))
    return query.order_by(of.created_at.desc(), of.row.desc(), of.id.desc()).limit(most)


def written(last: Any) -> str:
    """The cursor of the page after the entity in this row."""
    at = last.created_at.replace(tzinfo=None).isoformat()
    return base64.urlsafe_b64encode(f"{at} {last.row} {last.id.hex}".encode()).decode()


def position(cursor: str) -> Position:
    """Raises WrongCursor if it is not one of ours."""
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
        created_at, row, entity_id = _POSITION.fullmatch(text).groups()  # type: ignore[union-attr]  # caught below
        return Position(datetime.fromisoformat(f"{created_at}+00:00"), int(row), UUID(hex=entity_id))
    except (binascii.Error, ValueError, AttributeError):
        raise WrongCursor("is not a cursor that this API gave") from None


def _rows_of(function: sa.FunctionElement[Any]) -> sa.TableValuedAlias:
    return function.table_valued(*(sa.column(column.name, column.type) for column in tables.entity.c), name="entity")


def _array(sets: Sequence[int]) -> sa.ColumnElement[Any]:
    return sa.literal(list(sets), ARRAY(sa.Integer))
