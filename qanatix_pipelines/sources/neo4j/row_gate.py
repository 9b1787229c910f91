"""Bounds on Neo4j's messages, which its driver joins from pieces without end and unpacks whatever they hold.

A few bytes make a value. Unpacked, a value takes a hundred times as much memory, and some microseconds. So the values
of a message are counted, and a message that may hold many is unpacked in a thread: heartbeats, deadlines and cancels
must not wait for it.

What is here is given the driver's own classes and functions, and imports nothing of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from qanatix_pipelines.batches import MAX_ROW_BYTES
from qanatix_pipelines.errors import SourceFailed, SourceUnreachable
from qanatix_pipelines.sources.documents import LARGE_BYTES

MAX_MESSAGE_BYTES = 64 * 2**20
MAX_VALUES = 1_000_000  # of a message: a list is one, and each of its items is

Receive = Callable[[Any, Any, int], Awaitable[None]]

_RECORD = b"\x71"
_HEADER_BYTES = 2  # of a message: a structure's marker, and its tag
_SHORT_LIST = range(0x90, 0xA0)
_LISTS = {0xD4: 1, 0xD5: 2}  # bytes that say how long one is


def bounded(receive: Receive) -> Receive:
    """The driver's function that reads a piece of a message. A message that is too long raises SourceFailed."""

    async def receive_bounded(socket: Any, buffer: Any, size: int) -> None:
        if buffer.used + size > MAX_MESSAGE_BYTES:
            raise SourceFailed(f"The source sent a row or a message of more than {MAX_MESSAGE_BYTES // 2**20} MiB.")
        reader: asyncio.StreamReader = socket._reader  # noqa: SLF001
        if len(reader._buffer) < size:  # type: ignore[attr-defined]  # noqa: SLF001
            try:
                await receive(socket, buffer, size)
            except TimeoutError:  # when it connects, the driver raises an error of its own
                raise _silent(socket.get_read_timeout()) from None
            return
        # It is here already. The driver would make a task and a timer for each piece, and a row has four.
        end = buffer.used + size
        buffer.data[buffer.used : end] = await reader.readexactly(size)
        buffer.used = end

    return receive_bounded


def _silent(seconds: float) -> SourceUnreachable:
    """The server says how often it sends a heartbeat (Bolt manual, "connection.recv_timeout_seconds")."""
    return SourceUnreachable(
        f"The source has sent nothing for {seconds:g} seconds, in which it would have sent a heartbeat.",
        transient=True,
    )


class BoundedInbox:
    """What the inbox of a connection does, which is also of the driver's class."""

    _buffer: Any
    _unpacker: Any
    _buffer_one_chunk: Callable[..., Awaitable[None]]
    _broken: bool

    message_bytes = 0  # of the message that was read last

    async def pop(self, hydration_hooks: Any) -> tuple[bytes, list[Any]]:
        """The next message: its tag, and its fields. All values of a row over MAX_ROW_BYTES are None."""
        await self._buffer_one_chunk()
        buffer = self._buffer
        self.message_bytes = buffer.used
        driver: Any = type(self._unpacker)
        unpacker = _counting(driver)(buffer)
        try:
            if buffer.used > MAX_ROW_BYTES:
                message = _RECORD, [[None] * _width(bytes(buffer.data[:8]))]
            elif buffer.used > LARGE_BYTES:
                message = await asyncio.to_thread(_unpacked, unpacker, hydration_hooks)
            else:
                message = _unpacked(unpacker, hydration_hooks)
        except BaseException:
            unpacker.left = 0  # ends the thread, for which nobody waits any more
            self._broken = True  # the thread may still read the buffer
            raise
        unpacker.reset()
        return message


def _unpacked(unpacker: Any, hydration_hooks: Any) -> tuple[bytes, list[Any]]:
    size, tag = unpacker.unpack_structure_header()
    return tag, [unpacker.unpack(hydration_hooks) for _ in range(size)]


def _width(message: bytes) -> int:
    """How many values a row has, by the message's first bytes."""
    kind, length = message[_HEADER_BYTES], message[_HEADER_BYTES + 1 :]
    if message[1:_HEADER_BYTES] != _RECORD or not (kind in _SHORT_LIST or kind in _LISTS):
        raise SourceFailed("The source says more than there is to say beside its rows.")
    return kind - _SHORT_LIST.start if kind in _SHORT_LIST else int.from_bytes(length[: _LISTS[kind]], "big")


@cache
def _counting(unpacker: Any) -> Any:
    """A class of unpackers that count values, from the driver's class."""

    class Counting(unpacker):  # type: ignore[misc]
        left = MAX_VALUES

        def unpack(self, hydration_hooks: Any = None) -> Any:
            return self._unpack(hydration_hooks)  # the driver's extension in Rust would not count

        def read_u8(self) -> int:
            """The first byte of a value. Each value has one."""
            self.left -= 1
            if self.left < 0:
                raise SourceFailed(f"The source sent a row or a message of more than {MAX_VALUES:,} values.")
            first: int = super().read_u8()
            return first

    return Counting
