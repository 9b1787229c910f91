"""MySQL's rows are let in by bytes: a batch never exceeds its bytes, and an oversized row is never held.

Before the first row, a server may send MAX_BYTES in all, because the driver holds the answers to our own questions.

The server sends packets of less than 16 MiB; a larger row takes several (MySQL internals manual, "MySQL Packets"). The
driver would join those. Here they are thrown away as they come, and a row of nulls takes their place.
"""

from typing import Any, NamedTuple

from qanatix_pipelines.batches import MAX_BATCH_BYTES
from qanatix_pipelines.errors import SourceFailed

MAX_BYTES = 16 * 2**20
MAX_COLUMNS = 4096  # MySQL's and MariaDB's own limit

_HEADER_BYTES = 4  # a packet's length in three of them, and its number
_FULL_PACKET = 2**24 - 1  # a packet of this length goes on in the next one
_PIECE_BYTES = 2**16
_NULL = b"\xfb"


class _Received(NamedTuple):
    """Rows that were received together, and their bytes; or an oversized row, whose values were thrown away."""

    rows: list[tuple[Any, ...]]
    size: int
    oversized: bool


class Rows:
    """Mixed into the driver's connection: reads its unbuffered result.

    The driver has no hook for this, so it uses private names, which a newer release may change. If a method is missing
    that is overridden or called here, no subclass can be made. If an attribute is missing, no row is read.
    """

    _proto: Any
    _result: Any
    _read_bytes: Any
    _next_seq_id: int
    # The last packet that was read by itself, and not with others that had come already.
    _packet_bytes = 0
    _oversized = False
    _left: _Received | None = None  # rows for which the last batch had no room
    _received_bytes = 0
    _columns = 0  # of the result whose columns are being read

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for method in ("read_packet", "_fill_buffer", "_read_bytes"):
            getattr(super(), method)

    async def fetch(self, rows: int) -> tuple[list[tuple[Any, ...]], frozenset[int]]:
        """Up to `rows` rows or MAX_BATCH_BYTES, and the places of oversized rows. No rows at the end."""
        fetched: list[tuple[Any, ...]] = []
        oversized: set[int] = set()
        size = 0
        while len(fetched) < rows:
            received, self._left = self._left or await self._receive(rows - len(fetched)), None
            if not received.rows:
                break
            if fetched and size + received.size > MAX_BATCH_BYTES:
                self._left = received
                break
            if received.oversized:
                oversized.add(len(fetched))
            fetched += received.rows
            size += received.size
        return fetched, frozenset(oversized)

    async def _receive(self, rows: int) -> _Received:
        """Some rows, at most so many. None at the end."""
        waiting, self._packet_bytes, self._oversized = self._waiting(), 0, False
        row = await self._result._read_rowdata_packet_unbuffered()  # noqa: SLF001
        if row is None:
            return _Received([], 0, oversized=False)
        # Rows that came together with it are ready, too.
        more = self._result._take_pending_rows(rows - 1)  # noqa: SLF001
        return _Received([row, *more], self._packet_bytes or waiting - self._waiting(), self._oversized)

    def _waiting(self) -> int:
        """How many bytes were received and not read yet."""
        waiting: int = self._proto.length - self._proto.pos
        return waiting

    def _rows_come(self) -> bool:
        return self._result is not None and bool(self._result.unbuffered_active)

    async def _fill_buffer(self, need: int) -> None:
        """Wait for so many bytes. The driver calls this for all that it reads, also between rows."""
        waiting = self._waiting()
        if not self._rows_come() and self._received_bytes + need - waiting > MAX_BYTES:
            raise SourceFailed("The source says more than there is to say before the first row.")
        await super()._fill_buffer(need)  # type: ignore[misc]
        self._received_bytes += self._waiting() - waiting

    async def read_packet(self, *kind: Any) -> Any:
        self._columns = self._columns + 1 if kind else 0  # the driver passes a kind for a column's definition only
        if self._columns > MAX_COLUMNS:
            raise SourceFailed("The source's answer has more columns than any that MySQL gives.")
        if self._waiting() < _HEADER_BYTES:
            await self._fill_buffer(_HEADER_BYTES)
        at = self._proto.pos
        self._packet_bytes = int.from_bytes(self._proto.buffer[at : at + 3], "little")
        if self._packet_bytes == _FULL_PACKET:
            if not self._rows_come():
                raise SourceFailed("The source's answer could not be read: it is larger than any that was asked for.")
            await self._throw_away()
        return await super().read_packet(*kind)  # type: ignore[misc]

    async def _throw_away(self) -> None:
        length = _FULL_PACKET
        while length == _FULL_PACKET:
            header = await self._read_bytes(_HEADER_BYTES)
            if header[3] != self._next_seq_id:
                raise SourceFailed("The source's answer could not be read: a packet is missing.")
            number, self._next_seq_id = self._next_seq_id, (self._next_seq_id + 1) & 0xFF
            left = length = int.from_bytes(header[:3], "little")
            while left:
                left -= len(await self._read_bytes(min(left, _PIECE_BYTES)))
        nulls = _NULL * self._result.field_count
        self._oversized, self._packet_bytes = True, len(nulls)
        packet = len(nulls).to_bytes(3, "little") + bytes([number]) + nulls
        proto = self._proto
        proto.buffer = bytearray(packet + proto.buffer[proto.pos : proto.length])
        proto.pos, proto.length = 0, len(proto.buffer)
        self._next_seq_id = number
