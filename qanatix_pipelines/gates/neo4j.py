"""Neo4j's messages, which its driver joins from pieces without an end, and unpacks whatever they hold.

A few bytes make a value, and a value takes a hundred times as much once it is unpacked, and a microsecond or ten. So
the values of a message are counted, and one that may hold many is unpacked beside the loop, where deadlines, signs of
life and cancels go on.
"""

import asyncio
from functools import cache
from typing import Any

from qanatix_pipelines.batches import MAX_ROW_BYTES
from qanatix_pipelines.errors import SourceFailed, SourceUnreachable

MAX_MESSAGE_BYTES = 64 * 2**20
MAX_VALUES = 1_000_000  # of a message: a list is one, and each of its items is
LARGE_BYTES = 2**16  # a message that is unpacked beside the loop, as its row should be read

_RECORD = b"\x71"
_HEADER_BYTES = 2  # of a message: a structure's marker, and its tag
_SHORT_LIST = range(0x90, 0xA0)
_LISTS = {0xD4: 1, 0xD5: 2}  # bytes that say how long one is


@cache
def bound_messages(driver: Any) -> None:
    """Have the driver's module that reads messages do so. One that is too much raises SourceFailed."""
    receive = driver.receive_into_buffer

    async def bounded(sock: Any, buffer: Any, size: int) -> None:
        if buffer.used + size > MAX_MESSAGE_BYTES:
            raise SourceFailed(f"The source sent a row or a message of more than {MAX_MESSAGE_BYTES // 2**20} MiB.")
        here: asyncio.StreamReader = sock._reader  # noqa: SLF001
        if len(here._buffer) < size:  # type: ignore[attr-defined]  # noqa: SLF001
            try:
                await receive(sock, buffer, size)
            except TimeoutError:  # of connecting, the driver's is another one
                raise _silent(sock.get_read_timeout()) from None
            return
        # The driver would make a task and a timer of each read, of which a row takes four.
        end = buffer.used + size
        buffer.data[buffer.used : end] = await here.readexactly(size)
        buffer.used = end

    driver.receive_into_buffer = bounded
    driver.AsyncInbox.pop = _pop


def _silent(seconds: float | None) -> SourceUnreachable:
    """The server says for how long it is never silent (Bolt manual, "connection.recv_timeout_seconds")."""
    return SourceUnreachable(
        f"The source has sent nothing for {seconds:g} seconds, in which it would have sent a sign of life.",
        transient=True,
    )


def last_message_bytes(result: Any) -> int:
    """The length of the message that was read last for a result: of its last row, where one was read just now."""
    length: int = result._connection.inbox.message_bytes  # noqa: SLF001
    return length


async def _pop(inbox: Any, hydration_hooks: Any) -> tuple[bytes, list[Any]]:
    """The next message: its tag, and its fields. Of a row over MAX_ROW_BYTES all values are None."""
    await inbox._buffer_one_chunk()  # noqa: SLF001
    buffer = inbox._buffer  # noqa: SLF001
    inbox.message_bytes = buffer.used
    driver: Any = type(inbox._unpacker)  # noqa: SLF001
    unpacker = _counting(driver)(buffer)
    try:
        if buffer.used > MAX_ROW_BYTES:
            message = _RECORD, [[None] * _width(bytes(buffer.data[:8]))]
        elif buffer.used > LARGE_BYTES:
            message = await asyncio.to_thread(_unpacked, unpacker, hydration_hooks)
        else:
            message = _unpacked(unpacker, hydration_hooks)
    except BaseException:
        unpacker.left = 0  # which ends the thread, that nobody waits for any more
        inbox._broken = True  # noqa: SLF001  # and its buffer is left to the thread that may still read it
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
    class Counting(unpacker):  # type: ignore[misc]
        left = MAX_VALUES

        def unpack(self, hydration_hooks: Any = None) -> Any:
            return self._unpack(hydration_hooks)  # not by the driver's extension in Rust, which would not count

        def read_u8(self) -> int:
            """A value's first byte, of which each has one."""
            self.left -= 1
            if self.left < 0:
                raise SourceFailed(f"The source sent a row or a message of more than {MAX_VALUES:,} values.")
            first: int = super().read_u8()
            return first

    return Counting
