"""A PostgreSQL that lets anybody log in, and answers the source's own questions as a test tells it to."""

import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.servers.hostile import Line

TEXT, TEXTS, RECORD, TIMESTAMP, TIMESTAMPTZ, BOOL = 25, 1009, 2249, 1114, 1184, 16
OF_A_USER = 99_999  # a type that the source must ask about
_SSL, _CANCEL = 80877103, 80877102


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def description(*types: int) -> bytes:
    columns = b"".join(b"cur\0" + struct.pack("!IHIhih", 0, 0, oid, -1, -1, 1) for oid in types)
    return message(b"T", struct.pack("!H", len(types)) + columns)


def row(*values: bytes | None) -> bytes:
    said = (b"\xff\xff\xff\xff" if value is None else struct.pack("!i", len(value)) + value for value in values)
    return message(b"D", struct.pack("!H", len(values)) + b"".join(said))


def record(elements: int) -> bytes:
    """A record that claims to have so many elements."""
    return struct.pack("!I", elements)


def nested_record(depth: int) -> bytes:
    heads = [struct.pack("!IIi", 1, RECORD, 4 + 12 * level) for level in reversed(range(depth))]
    return b"".join(heads) + struct.pack("!I", 0)


def array(elements: int) -> bytes:
    """An array of text that claims to have so many elements, and has none."""
    return struct.pack("!iiiii", 1, 0, TEXT, elements, 1)


COMPLETE, READY, READY_FOR_MORE = message(b"C", b"SELECT 1\0"), message(b"Z", b"I"), message(b"Z", b"T")
_NOW = struct.pack("!q", int((time.time() - 946_684_800) * 1e6))

# Answers a request for rows. It is given how many are asked for, and the number of the request.
Execute = Callable[[Line, int, int], Awaitable[None]]


async def one_row(line: Line, _rows: int, _time: int) -> None:
    await line.say(row(b"x") + COMPLETE)


@dataclass
class HostilePostgreSQL:
    """The types and values of its answers."""

    rights: bytes = b""
    rights_type: int = TEXT
    user_types: Sequence[int] = (TEXT,)  # of the query's columns, and
    row_types: Sequence[int] = (TEXT,)  # of those that it is wrapped into
    asked_types: Sequence[int] = (TEXT,)  # what the source is told of types,
    asked_values: Sequence[bytes | None] = (b"x",)
    before_asked: bytes = b""  # and what comes before
    execute: Execute = one_row
    _times: int = field(default=0, init=False)

    async def __call__(self, line: Line) -> None:
        with suppress(EOFError):
            await self._login(line)
            query, ready = "", READY
            while True:
                kind = await line.reader.readexactly(1)
                (size,) = struct.unpack("!I", await line.reader.readexactly(4))
                body = await line.reader.readexactly(size - 4)
                if kind == b"P":
                    query = body.split(b"\0")[1].decode()
                    await line.say(message(b"1"))
                elif kind == b"D" and body.startswith(b"S"):
                    await line.say(self._described(query))
                elif kind == b"B":
                    await line.say(message(b"2"))
                elif kind == b"E":
                    await self._executed(line, query, struct.unpack("!I", body[-4:])[0])
                elif kind == b"Q":
                    ready = READY_FOR_MORE if b"BEGIN" in body else ready
                    await line.say(message(b"C", b"SET\0") + ready)
                elif kind == b"S":
                    await line.say(ready)
                elif kind == b"X":
                    return

    async def _login(self, line: Line) -> None:
        while True:
            (size,) = struct.unpack("!I", await line.reader.readexactly(4))
            (code,) = struct.unpack("!I", (await line.reader.readexactly(size - 4))[:4])
            if code == _CANCEL:
                raise EOFError
            if code != _SSL:
                break
            await line.say(b"N")
        settings = message(b"S", b"server_version\x0015.1\0") + message(b"S", b"client_encoding\0UTF8\0")
        await line.say(message(b"R", struct.pack("!I", 0)) + settings + message(b"K", bytes(8)) + READY)

    def _described(self, query: str) -> bytes:
        parameters: Sequence[int] = (
            (TIMESTAMPTZ,) if "least($1" in query else (1028,) if "typnamespace" in query else ()
        )
        types: Sequence[int] = self.user_types
        if "pg_stat_activity" in query:
            types = (TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ, BOOL, self.rights_type, BOOL)
        elif "least($1" in query:
            types = (TIMESTAMP,)
        elif "typnamespace" in query:
            types = self.asked_types
        elif "FROM (" in query:
            types = self.row_types
        said = message(b"t", struct.pack(f"!H{len(parameters)}I", len(parameters), *parameters))
        return said + description(*types)

    async def _executed(self, line: Line, query: str, rows: int) -> None:
        if "pg_stat_activity" in query:
            await line.say(row(_NOW, _NOW, _NOW, b"\0", self.rights, b"\1") + COMPLETE)
        elif "least($1" in query:
            await line.say(row(_NOW) + COMPLETE)
        elif "typnamespace" in query:
            await line.say(self.before_asked + row(*self.asked_values) + COMPLETE)
        else:
            self._times += 1
            await self.execute(line, rows, self._times)
