"""A server that speaks just enough of MySQL's protocol to ask a client for what it must not give."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

# Protocol::HandshakeV10 of a 5.7 that knows CONNECT_WITH_DB, PROTOCOL_41, SECURE_CONNECTION and PLUGIN_AUTH; no TLS.
_CAPABILITIES = (1 << 3 | 1 << 9 | 1 << 15 | 1 << 19).to_bytes(4, "little")
GREETING = (
    b"\x0a5.7.0-hostile\x00\x01\x00\x00\x00saltsalt\x00"
    + _CAPABILITIES[:2]
    + b"\x2d\x02\x00"
    + _CAPABILITIES[2:]
    + b"\x15"
    + bytes(10)
    + b"saltsaltsalt\x00mysql_native_password\x00"
)
OK = b"\x00\x00\x00\x02\x00\x00\x00"
CLEAR_PASSWORD = b"\xfemysql_clear_password\x00"


def local_infile(path: str) -> bytes:
    """The answer to a query that asks the client for one of its files."""
    return b"\xfb" + path.encode()


@contextlib.asynccontextmanager
async def hostile_server(answers: Sequence[bytes], greeting: bytes = GREETING) -> AsyncIterator[tuple[int, bytearray]]:
    """Greets, gives one of `answers` for each packet, then nothing. Gives its port and all that it was sent."""
    received = bytearray()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            number = -1
            for answer in (greeting, *answers):
                writer.write(len(answer).to_bytes(3, "little") + bytes([(number + 1) & 0xFF]) + answer)
                header = await reader.readexactly(4)
                number = header[3]
                received.extend(await reader.readexactly(int.from_bytes(header[:3], "little")))
            received.extend(await reader.read())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1], received
        finally:
            for writer in writers:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
