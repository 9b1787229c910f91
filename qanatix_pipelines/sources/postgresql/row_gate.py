"""PostgreSQL's rows are let in by bytes: one fetch holds a batch of them at most, and an oversized row is never held.

The protocol lets a client ask for a number of rows, not of bytes, and the driver keeps all that it asked for. So a gate
stands between the driver and its transport. Once a fetch has enough, the driver is told that the portal is suspended,
as if the server had said it (PostgreSQL manual, "Message Formats"), and nothing more is received, which makes the
server wait. The next fetch begins with what was held back. An oversized row is thrown away as it comes, and the driver
is given a row of nulls in its place.
"""

import asyncio
from struct import Struct
from typing import Any

from qanatix_pipelines.batches import MAX_BATCH_BYTES, MAX_ROW_BYTES
from qanatix_pipelines.errors import SourceError, SourceFailed

_HEADER = Struct("!BI").unpack_from  # a message's kind, and its length without the kind
_HEADER_BYTES = 5
_NULLS = Struct("!BIH")  # a row's header, and how many values it has; then follows the length of each
_NULL = b"\xff\xff\xff\xff"
_ROW, _ERROR, _READY = b"DEZ"
# What ends a fetch: the portal is suspended, and the server ready for the next command, in a transaction;
_SUSPENDED = b"s\x00\x00\x00\x04Z\x00\x00\x00\x05T"
_FAILED = b"Z\x00\x00\x00\x05E"  # or it is ready after an error.

# Notices, settings, errors: what else a server may say, at once and during a fetch.
MAX_MESSAGE_BYTES = 2**20
MAX_OTHER_BYTES = 16 * 2**20
_TOO_MUCH = "The source says too much that is not a row."
_TOO_MANY = "The source sends more rows than it was asked for."

# What is asked for when nothing is known yet of how wide the rows are.
FIRST_ROWS = 50


class Gate(asyncio.Protocol):
    """Stands before `transport`'s protocol, the driver's, from the first fetch on.

    What it needs of the driver's private names raises AttributeError where it is missing.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._driver: Any = transport.get_protocol()
        self._limit = 0  # the most rows of the present fetch
        self._rows = 0  # rows that were let in
        self._bytes = 0  # bytes of these rows
        self._oversized: set[int] = set()
        self._due = 0  # rows that were asked for and have not come yet
        self._others = 0  # bytes of other messages during the fetch
        self._wanted = FIRST_ROWS
        self._begun = 0  # bytes still to come of a message whose header was seen
        self._dropping = False  # whether these bytes belong to an oversized row
        self._held = b""
        self._shut = False
        self._asked = False  # the driver waits for an answer
        self._owed = 0  # ends of fetches that the driver was told of, and that the server has yet to send
        self._over = False  # the driver is given nothing more

    @property
    def behind(self) -> bool:
        """Whether the server may still be at work on a request, so that it would not read a farewell."""
        return self._owed > 0 or self._over

    async def fetch(self, cursor: Any, rows: int) -> tuple[list[Any], frozenset[int]]:
        """The next rows of the driver's `cursor`, and the places of oversized rows.

        At most `rows`, and no more than MAX_BATCH_BYTES have room for. None at the end. Raises SourceFailed if the
        server sends more rows than it was asked for, or too much else.
        """
        if self._limit == 0:
            self._driver.rows_may_come = True
            self._transport.set_protocol(self)
        self._limit, self._rows, self._bytes, self._oversized, self._others = rows, 0, 0, set(), 0
        fetched = await self._fetch(cursor)
        while self._rows < rows and not self._shut and not cursor._exhausted:  # noqa: SLF001  # no other way to know
            fetched += await self._fetch(cursor)
        if self._rows:
            # Two batches at most: a server with a limit to a query's time must not wait long for us.
            self._wanted = max(1, 2 * MAX_BATCH_BYTES * self._rows // max(1, self._bytes))
        return fetched, frozenset(self._oversized)

    async def _fetch(self, cursor: Any) -> list[Any]:
        # Rows that are still owed are given first. The driver must ask for something all the same.
        wanted = 1 if self.behind else min(self._limit - self._rows, self._wanted)
        self._due += wanted
        # Not before the driver has sent its request: it must not get what it does not wait for.
        opening = asyncio.get_running_loop().call_soon(self._open) if self._shut else None
        self._asked = True
        try:
            fetched: list[Any] = await cursor.fetch(wanted)
        except (asyncio.CancelledError, TimeoutError):
            self._over = True
            raise
        finally:
            self._asked = False
            if opening is not None:
                opening.cancel()
        if self.behind:
            cursor._exhausted = False  # noqa: SLF001  # the driver thinks so when it gets fewer rows than it asked for
        return fetched

    def _open(self) -> None:
        self._shut = False
        self._transport.resume_reading()
        self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        if not self._asked:
            self._driver.hear(data)
        try:
            self._received(data)
        except SourceError as error:
            self._over = True
            self._driver.give_up(error)

    def _received(self, data: bytes) -> None:
        data, self._held = self._held + data, b""
        start, at, end = 0, self._begun, len(data)  # of what is let in next, and of the message to look at
        if self._dropping:
            start = at
        if not self._owed and self._has_room(end):
            at = self._skim(data, at)
        while not (self._shut or self._over) and at + _HEADER_BYTES <= end:
            kind, length = _HEADER(data, at)
            if at + self._needed(kind, length) > end:
                break
            if kind == _ROW:
                start = self._row(data, start, at, length)
            else:
                self._said(1 + length)
            if self._owed and kind in (_ERROR, _READY):
                self._driver.data_received(data[start:at])
                start = at + 1 + length
                self._ended(kind, data[at:start])
            at += 1 + length
        if self._shut:
            at = start
        self._begun, self._dropping = max(0, at - end), start > end
        reached = min(at, end)
        if not self._over:
            self._held = data[reached:]
            if reached > start:
                self._driver.data_received(data[start:reached])

    def _needed(self, kind: int, length: int) -> int:
        """How many bytes of a message must be there to decide what to do with it."""
        if kind == _ROW:
            return _NULLS.size if length > MAX_ROW_BYTES else _HEADER_BYTES
        if length > MAX_MESSAGE_BYTES:
            raise SourceFailed(_TOO_MUCH)
        return 1 + length if self._owed and kind in (_ERROR, _READY) else _HEADER_BYTES

    def _has_room(self, size: int) -> bool:
        """Whether all rows that are due have room in the batch, and `size` more bytes."""
        return self._bytes + size <= MAX_BATCH_BYTES and self._rows + self._due <= self._limit

    def _skim(self, data: bytes, at: int) -> int:
        """Pass whole messages from `at` on as fast as can be, up to an oversized row. Where the next one begins."""
        rows = size = others = 0
        end = len(data)
        last = end - _HEADER_BYTES
        while at <= last:
            kind, length = _HEADER(data, at)
            following = at + 1 + length
            if following > end:
                break
            if kind == _ROW:
                if length > MAX_ROW_BYTES:
                    break
                rows += 1
                size += length
            else:
                others += 1 + length
            at = following
        if rows > self._due:
            raise SourceFailed(_TOO_MANY)
        self._rows += rows
        self._bytes += size
        self._due -= rows
        self._said(others)
        return at

    def _row(self, data: bytes, start: int, at: int, length: int) -> int:
        """Let in, or not, the row at `at`, of which a header is there at least. Where the next begins to be let in."""
        if not self._due:
            raise SourceFailed(_TOO_MANY)
        oversized = length > MAX_ROW_BYTES
        size = 0 if oversized else length
        if self._rows >= self._limit or (self._rows and self._bytes + size > MAX_BATCH_BYTES):
            self._owed += 1
            self._shut = True
            self._transport.pause_reading()
            self._driver.data_received(data[start:at] + _SUSPENDED)
            return at
        if oversized:
            self._oversized.add(self._rows)
            self._driver.data_received(data[start:at] + _nulls(data, at))
            start = at + 1 + length
        self._rows += 1
        self._bytes += size
        self._due -= 1
        return start

    def _said(self, others: int) -> None:
        self._others += others
        if self._others > MAX_OTHER_BYTES:
            raise SourceFailed(_TOO_MUCH)

    def _ended(self, kind: int, message: bytes) -> None:
        """The server ends a fetch that the driver already takes for ended."""
        self._owed -= 1
        if kind == _ERROR:
            # What was asked for meanwhile fails, too, and nobody waits for that answer.
            self._driver.data_received(message + _FAILED)
            self._over = True

    def eof_received(self) -> bool | None:
        answer: bool | None = self._driver.eof_received()
        return answer

    def connection_lost(self, exc: Exception | None) -> None:
        self._driver.connection_lost(exc)

    def pause_writing(self) -> None:
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        self._driver.resume_writing()


def _nulls(data: bytes, at: int) -> bytes:
    """A row of nulls, with as many values as the row that begins at `at`."""
    kind, _, values = _NULLS.unpack_from(data, at)
    nulls: bytes = _NULL * values
    return _NULLS.pack(kind, _NULLS.size - 1 + len(nulls), values) + nulls
