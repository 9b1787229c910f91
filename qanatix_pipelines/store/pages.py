"""Pagination by cursors, newest or oldest first.

The order is that of creation, which never changes. So nothing is skipped or repeated while new rows arrive.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

import sqlalchemy as sa

_POSITION = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?) ([0-9a-f]{32})")


class WrongCursor(ValueError):
    """A cursor is not one of ours. A row that cannot be read is a ValueError, too, and is no fault of the caller's."""


class Kept(Protocol):
    """An item of a page."""

    @property
    def id(self) -> UUID: ...
    @property
    def created_at(self) -> datetime: ...


_Kept = TypeVar("_Kept", bound=Kept)


def newest_first(query: sa.Select[Any], table: sa.Table, limit: int, cursor: str | None) -> sa.Select[Any]:
    """`query`, a SELECT from `table`, ordered and limited to `limit` + 1 rows after `cursor`.

    The extra row tells whether there is another page.

    Raises WrongCursor if the cursor is not one of ours.
    """
    of = table.c
    if cursor is not None:
        query = query.where(sa.tuple_(of.created_at, of.id) < _bound(table, cursor))
    return query.order_by(of.created_at.desc(), of.id.desc()).limit(limit + 1)


def oldest_first(query: sa.Select[Any], table: sa.Table, limit: int | None, cursor: str | None) -> sa.Select[Any]:
    """The same in the other order. Without a limit it has all rows."""
    of = table.c
    if cursor is not None:
        query = query.where(sa.tuple_(of.created_at, of.id) > _bound(table, cursor))
    query = query.order_by(of.created_at, of.id)
    return query if limit is None else query.limit(limit + 1)


def cut(found: Sequence[_Kept], limit: int) -> tuple[Sequence[_Kept], str | None]:
    """The page of what was found with a limit, and the cursor of the next page, None after the last."""
    page = found[:limit]
    return page, _cursor(page[-1]) if len(found) > limit else None


def _bound(table: sa.Table, cursor: str) -> sa.Tuple:
    """Where a page begins, as a row value: the index can seek to it. Two conditions joined by OR would read all earlier
    pages.
    """
    created_at, row_id = _position(cursor)
    return sa.tuple_(sa.literal(created_at, table.c.created_at.type), sa.literal(row_id, table.c.id.type))


def _cursor(last: Kept) -> str:
    return base64.urlsafe_b64encode(
        f"{last.created_at.replace(tzinfo=None).isoformat()} {last.id.hex}".encode()
    ).decode()


def _position(cursor: str) -> tuple[datetime, UUID]:
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
        created_at, row_id = _POSITION.fullmatch(text).groups()  # type: ignore[union-attr]  # caught below
        return datetime.fromisoformat(f"{created_at}+00:00"), UUID(hex=row_id)
    except (binascii.Error, ValueError, AttributeError):
        raise WrongCursor("is not a cursor that this API gave") from None
