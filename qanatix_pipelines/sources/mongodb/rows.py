"""Rows from the replies to a `find`: each reply is a run of documents in BSON."""

import asyncio
from collections.abc import AsyncIterator

from qanatix_pipelines.batches import MAX_ROW_BYTES
from qanatix_pipelines.rejections import OVERSIZED, Fault, Reason
from qanatix_pipelines.sources.documents import LARGE_BYTES, Row
from qanatix_pipelines.sources.mongodb.values import Unreadable, documents, fields


async def rows_of(replies: AsyncIterator[bytes], key: str) -> AsyncIterator[Row]:
    """One document after another: a whole reply as Python's values would take many times its bytes.

    A large document is read in a thread, for heartbeats, deadlines and cancels must not wait for it.
    """
    async for reply in replies:
        for document in documents(reply):
            large = LARGE_BYTES < len(document) <= MAX_ROW_BYTES
            yield await asyncio.to_thread(_row, document, key) if large else _row(document, key)


def _row(document: bytes, key: str) -> Row:
    if len(document) > MAX_ROW_BYTES:
        return {}, None, OVERSIZED
    try:
        return (*fields(document, key), None)
    except (Unreadable, RecursionError):  # it breaks BSON's rules, or is nested more deeply than Python follows
        return {}, None, Fault(Reason.UNREADABLE)
