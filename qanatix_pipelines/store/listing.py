"""Entities of several sets: by their id, and newest first.

A query of one set names its leaf. One of several would lock the leaves of all sets, and read those of other tenants, if
it named `entity`. So functions of the store ask each leaf in turn (migration 0017). SQLite asks its one table for the
newest of each set.

The order is that of creation, which never changes. So nothing is skipped or repeated while new entities arrive.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.selectable import NamedFromClause

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
    if len(sets) == 1:
        source = leaf_of(connection, sets[0]).table
        return _newest(sa.select(source).where(source.c.set_number == sets[0]), source, most, after)
    if connection.dialect.name == "postgresql":
        at = after or _END
        before = (sa.literal(at.created_at, Instant), sa.literal(at.row, sa.BigInteger), sa.literal(at.id, EntityId))
        return sa.select(_rows_of(sa.func.qanatix.newest_entities(_array(sets), *before, sa.literal(most, sa.Integer))))
    each = sa.func.json_each(json.dumps(list(sets))).table_valued("value", name="each")
    own, found = tables.entity.alias("own"), tables.entity.alias("found")
    of_set = sa.select(_rowid(own)).select_from(own).where(own.c.set_number == each.c.value).correlate(each)
    newest_of_set = _rowid(found).in_(_newest(of_set, own, most, after))
    of_each = sa.select(_rowid(found)).select_from(each.join(found, newest_of_set))
    of_all = _newest(of_each, found, most, None)
    return _newest(sa.select(tables.entity).where(_rowid(tables.entity).in_(of_all)), tables.entity, most, None)


def _newest(query: sa.Select[Any], source: sa.FromClause, most: int, after: Position | None) -> sa.Select[Any]:
    of = source.c
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


def _rowid(source: NamedFromClause) -> sa.ColumnElement[int]:
    """SQLite's own number of a row (SQLite documentation, "ROWIDs and the INTEGER PRIMARY KEY")."""
    return sa.literal_column(f"{source.name}.rowid", sa.Integer)


def _rows_of(function: sa.FunctionElement[Any]) -> sa.TableValuedAlias:
    return function.table_valued(*(sa.column(column.name, column.type) for column in tables.entity.c), name="entity")


def _array(sets: Sequence[int]) -> sa.ColumnElement[Any]:
    return sa.literal(list(sets), ARRAY(sa.Integer))
