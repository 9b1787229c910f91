"""Pages of what is kept, newest first, and the cursors between them.

The order is that of creation and never changes, so nothing is skipped or given twice while more arrives.
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


class Kept(Protocol):
    """What a page holds."""

    @property
    def id(self) -> UUID: ...
    @property
    def created_at(self) -> datetime: ...


_Kept = TypeVar("_Kept", bound=Kept)


def newest_first(query: sa.Select[Any], table: sa.Table, limit: int, cursor: str | None) -> sa.Select[Any]:
    """The rows of `query`, which is of `table`, that begin at `cursor`: one more than `limit`, to tell if there are.

    Raises ValueError if the cursor is not one of ours.
    """
    of = table.c
    if cursor is not None:
        created_at, row_id = _position(cursor)
        # As one value, which an index finds: of two conditions joined by OR it reads all pages before.
        begin = sa.tuple_(sa.literal(created_at, of.created_at.type), sa.literal(row_id, of.id.type))
        query = query.where(sa.tuple_(of.created_at, of.id) < begin)
    return query.order_by(of.created_at.desc(), of.id.desc()).limit(limit + 1)


def cut(found: Sequence[_Kept], limit: int) -> tuple[Sequence[_Kept], str | None]:
    """What `newest_first` found as a page, and the cursor of the next, None after the last."""
    page = found[:limit]
    return page, _cursor(page[-1]) if len(found) > limit else None


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
        raise ValueError("is not a cursor that this API gave") from None
