"""What hostile servers answer, by connector type: at once (`GREETINGS`), or to the query itself (`ANSWERS`)."""

import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import bson

from tests.servers.hostile import Answer, Line, Script
from tests.sources.mysql.hostile import CLEAR_PASSWORD, GREETING, OK, local_infile

CANARY = "canary of the server"
FORGED = f"\x1b[31m{CANARY}\x1b[0m\n2026-01-01 00:00:00 ERROR forged {CANARY}"
GIB = 2**30


def says(data: bytes) -> Script:
    """Answers whatever is said first with this, and then nothing."""

    async def script(line: Line) -> None:
        await line.hear()
        await line.say(data)
        await line.silence()

    return script


def begins(data: bytes, *, drip: bool = False, repeat: bytes = b"") -> Script:
    """Says this without being asked."""

    async def script(line: Line) -> None:
        await (line.drip(data) if drip else line.say(data))
        await (line.repeat(repeat) if repeat else line.silence())

    return script


def then(data: bytes, repeat: bytes = b"", *, drip: bool = False, close: bool = False) -> Answer:
    async def answer(line: Line, _asked: bytes) -> None:
        await (line.drip(data) if drip else line.say(data))
        if repeat:
            await line.repeat(repeat)
        if not close:
            await line.silence()

    return answer


async def _hears_first(line: Line, data: bytes, repeat: bytes = b"", *, drip: bool = False) -> None:
    await line.hear()
    await then(data, repeat, drip=drip)(line, b"")


def after(data: bytes, repeat: bytes = b"", *, drip: bool = False) -> Script:
    return lambda line: _hears_first(line, data, repeat, drip=drip)


NOISE = random.Random(7).randbytes(4096)
HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n" + CANARY.encode() * 10
# A record of TLS's handshake that never ends, and what goes on in it.
HELLO = b"\x16\x03\x03\x40\x00\x02\x00\xff\xff\xff"


# PostgreSQL


def pg(kind: bytes, body: bytes, length: int | None = None) -> bytes:
    return kind + struct.pack("!I", (len(body) if length is None else length) + 4) + body


def pg_error(text: str | bytes) -> bytes:
    said = text if isinstance(text, bytes) else text.encode()
    fields = (b"SFATAL", b"VFATAL", b"C42P01", b"M" + said, b"D" + said, b"H" + said, b"Q" + said, b"P99999999999")
    return pg(b"E", b"\0".join(fields) + b"\0\0")


PG_OK = pg(b"R", struct.pack("!I", 0))
PG_READY = pg(b"Z", b"I")


async def _scram(line: Line) -> None:
    """Asks for more hashing than anybody could do."""
    await line.hear()
    await line.say(pg(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"))
    first = await line.hear()
    nonce = first.partition(b"r=")[2]
    await line.say(pg(b"R", struct.pack("!I", 11) + b"r=" + nonce + b"x,s=c2FsdHNhbHQ=,i=2000000000"))
    await line.silence()


async def _new_parameters(line: Line) -> None:
    await after(PG_OK + b"".join(pg(b"S", f"p{n}\0v\0".encode()) for n in range(200_000)))(line)


def _described(columns: int) -> bytes:
    column = b"%s\0" + struct.pack("!IHIhih", 0, 0, 25, -1, -1, 0)
    return b"".join(column % str(n).encode() for n in range(columns))


PG_PARSED = pg(b"1", b"") + pg(b"t", struct.pack("!H", 0))
POSTGRESQL_GREETINGS: dict[str, Script] = {
    "silence": begins(b""),
    "a byte at a time": after(PG_OK, drip=True),
    "noise": after(NOISE),
    "another protocol": after(HTTP),
    "endless notices": after(b"", pg(b"N", b"SNOTICE\0M" + CANARY.encode() + b"\0\0")),
    "endless parameters": after(PG_OK, pg(b"S", b"name\0" + CANARY.encode() + b"\0")),
    "endless new parameters": _new_parameters,
    "a message of 1 GiB": after(pg(b"R", b"", GIB), b"\0" * 1024),
    "a message of no length": after(b"R\0\0\0\0" * 100),
    "a message of negative length": after(b"R\xff\xff\xff\xff" * 100),
    "an error of 1 GiB": after(pg(b"E", b"SFATAL\0M", GIB), b"x" * 1024),
    "a forged error": after(pg_error(FORGED)),
    "an error of broken text": after(pg_error(b"\xff\xfe\x80" + CANARY.encode())),
    "an unknown way to log in": after(pg(b"R", struct.pack("!I", 99))),
    "too much hashing": _scram,
    "ready without a login": after(PG_READY * 3),
    "an endless TLS handshake": after(b"S" + HELLO, b"\0"),
    "a TLS handshake, a byte at a time": after(b"S" + HELLO, drip=True),
    "rubbish after TLS was agreed to": after(b"S" + NOISE),
}
POSTGRESQL_ANSWERS: dict[str, Answer] = {
    "a forged error": then(pg_error(FORGED) + PG_READY),
    "an error of broken text": then(pg_error(b"\xff\xfe\x80" + CANARY.encode()) + PG_READY),
    "silence": then(b""),
    "endless notices": then(b"", pg(b"N", b"SNOTICE\0M" + CANARY.encode() + b"\0\0")),
    "a description of 1 GiB": then(PG_PARSED + pg(b"T", b"\xff\xff", GIB), b"\0" * 1024),
    "65,535 columns": then(PG_PARSED + pg(b"T", struct.pack("!H", 65_535) + _described(65_535)) + PG_READY),
    "fewer columns than said": then(PG_PARSED + pg(b"T", struct.pack("!H", 50) + _described(1)) + PG_READY),
    "rows that nobody asked for": then(pg(b"D", struct.pack("!H", 1) + b"\xff\xff\xff\xff") * 100),
    "noise": then(NOISE),
    "the end": then(b"", close=True),
}


# MySQL


def my(number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes([number]) + body


def my_error(text: str | bytes) -> bytes:
    return b"\xff\x7a\x04#42S02" + (text if isinstance(text, bytes) else text.encode())


def _logged_in(answer: bytes, repeat: bytes = b"") -> Script:
    """A login without any question, and then this for whatever is asked, which may end in `repeat` without an end."""

    async def script(line: Line) -> None:
        await line.say(my(0, GREETING))
        await line.hear()
        await line.say(my(2, OK))
        while True:
            await line.hear()
            await line.say(answer)
            if repeat:
                await line.repeat(repeat)

    return script


def my_column(name: bytes, kind: int = 253) -> bytes:
    text = bytes([len(name)]) + name
    return b"\x03def\0\0\0" + text + text + b"\x0c\x2d\0\xff\xff\0\0" + bytes([kind]) + b"\0\0\0\0\0"


def my_cycle(body: bytes, first: int) -> bytes:
    """As many packets as there are numbers, which can be repeated."""
    return b"".join(my((first + at) % 256, body) for at in range(256))


MYSQL_GREETINGS: dict[str, Script] = {
    "silence": begins(b""),
    "a byte at a time": begins(my(0, GREETING), drip=True),
    "noise": begins(NOISE),
    "another protocol": begins(HTTP),
    "an endless greeting": begins(b"", repeat=b"\xff\xff\xff\0" + b"\x0a" * 1020),
    "a greeting without an end": begins(my(0, b"\x0a" + b"5" * 100_000)),
    "a forged error": begins(my(0, my_error(FORGED))),
    "an error of broken text": begins(my(0, my_error(b"\xff\xfe" + CANARY.encode()))),
    "wrong numbers": begins(my(9, GREETING)),
    "the bare password": begins(my(0, GREETING) + my(2, CLEAR_PASSWORD)),
    "an unknown way to log in": begins(my(0, GREETING) + my(2, b"\xfe" + CANARY.encode() + b"\0salt\0")),
    "a file of ours instead of a login": begins(my(0, GREETING) + my(2, local_infile("/etc/passwd"))),
    "a file of ours for any question": _logged_in(my(1, local_infile("/etc/passwd"))),
    "endless rows for any question": _logged_in(
        my(1, b"\x01") + my(2, my_column(b"g")) + my(3, b"\xfe\0\0\2\0"), my_cycle(b"\xc8" + b"G" * 200, 4)
    ),
    "endless columns for any question": _logged_in(my(1, b"\xfd\xff\xff\xff"), my_cycle(my_column(b"g" * 200), 2)),
    "large columns for any question": _logged_in(
        my(1, b"\xfd\xff\xff\xff"), my_cycle(my_column(b"g") + b"z" * 2**15, 2)
    ),
    "an endless TLS handshake": begins(my(0, GREETING.replace(b"\x08\x82", b"\x08\x8a")), repeat=b"\0"),
}
MYSQL_ANSWERS: dict[str, Answer] = {
    "a forged error": then(my(1, my_error(FORGED))),
    "an error of broken text": then(my(1, my_error(b"\xff\xfe" + CANARY.encode()))),
    "a file of ours": then(my(1, local_infile("/etc/passwd"))),
    "silence": then(b""),
    "2^64 columns": then(my(1, b"\xfe" + b"\xff" * 8)),
    "endless columns": then(my(1, b"\xfd\xff\xff\xff"), my(2, my_column(b"c"))),
    "a column of no sense": then(my(1, b"\x01") + my(2, NOISE[:200])),
    "wrong numbers": then(my(7, b"\x01")),
    "a value longer than its row": then(
        my(1, b"\x01") + my(2, my_column(b"id")) + my(3, b"\xfe\0\0\0\0") + my(4, b"\xfe" + b"\xff" * 7 + b"\x00")
    ),
    "noise": then(NOISE),
    "the end": then(b"", close=True),
}


# MongoDB


def op_msg(document: bytes, answers: int, *, length: int | None = None) -> bytes:
    body = struct.pack("<Ib", 0, 0) + document
    return struct.pack("<iiii", 16 + len(body) if length is None else length, 1, answers, 2013) + body


def op_reply(document: bytes, answers: int) -> bytes:
    body = struct.pack("<iqii", 8, 0, 0, 1) + document
    return struct.pack("<iiii", 16 + len(body), 1, answers, 1) + body


def mongo(make: Callable[[int], bytes], repeat: bytes = b"", *, drip: bool = False) -> Answer:
    """An answer to the request of this number."""

    async def answer(line: Line, asked: bytes) -> None:
        data = make(struct.unpack_from("<i", asked, 4)[0])
        await then(data, repeat, drip=drip)(line, asked)

    return answer


def mongo_greeting(make: Callable[[int], bytes], repeat: bytes = b"", *, drip: bool = False) -> Script:
    async def script(line: Line) -> None:
        await mongo(make, repeat, drip=drip)(line, await line.hear())

    return script


def mongo_hello(**more: Any) -> bytes:
    return bson.encode(
        {"ok": 1.0, "isWritablePrimary": True, "helloOk": True, "minWireVersion": 0, "maxWireVersion": 21} | more
    )


def mongo_error(text: str) -> bytes:
    return bson.encode({"ok": 0.0, "code": 26, "codeName": text, "errmsg": text, "errorLabels": [text]})


def nested(levels: int) -> bytes:
    """A document of so many levels, which the driver's own writer would not make."""
    document = b"\x05\0\0\0\0"
    for _ in range(levels):
        document = struct.pack("<i", len(document) + 8) + b"\x03a\0" + document + b"\0"
    return document


def found(*documents: bytes) -> bytes:
    """A reply to `find` of these documents, as they are."""
    array = b"".join(b"\x03" + str(n).encode() + b"\0" + document for n, document in enumerate(documents))
    batch = struct.pack("<i", len(array) + 5) + array + b"\0"
    inner = b"\x12id\0" + bytes(8) + b"\x02ns\0\x04\0\0\0a.b\0" + b"\x04firstBatch\0" + batch
    cursor = struct.pack("<i", len(inner) + 5) + inner + b"\0"
    outer = b"\x03cursor\0" + cursor + b"\x01ok\0" + struct.pack("<d", 1.0)
    return struct.pack("<i", len(outer) + 5) + outer + b"\0"


def compressed(number: int, size: int) -> bytes:
    """A message that says it has so many bytes once it is inflated, and has 200 MiB."""
    packed = zlib.compress(bytes(200 * 2**20), 9)
    body = struct.pack("<iiB", 2013, size, 2) + packed
    return struct.pack("<iiii", 16 + len(body), 1, number, 2012) + body


async def _mongo_scram(line: Line) -> None:
    """Asks for more hashing than anybody could do."""
    while True:
        asked = await line.hear()
        (number,) = struct.unpack_from("<i", asked, 4)
        if b"\x05payload\0" not in asked:
            await line.say(_answered(asked, number, mongo_hello(saslSupportedMechs=["SCRAM-SHA-256"])))
            continue
        nonce = asked.partition(b"r=")[2][:44]
        payload = b"r=" + nonce + b"x,s=c2FsdHNhbHRzYWx0c2FsdA==,i=2000000000"
        first = {"conversationId": 1, "done": False, "payload": payload, "ok": 1.0}
        hello = mongo_hello(saslSupportedMechs=["SCRAM-SHA-256"], speculativeAuthenticate=first)
        await line.say(_answered(asked, number, hello if b"speculativeAuthenticate" in asked else bson.encode(first)))


def _answered(asked: bytes, number: int, document: bytes) -> bytes:
    old = struct.unpack_from("<i", asked, 12)[0] == 2004
    return op_reply(document, number) if old else op_msg(document, number)


async def _announced(line: Line) -> None:
    """Says that messages may be so long, and then sends one."""
    asked = await line.hear()
    hello = mongo_hello(maxMessageSizeBytes=2**31 - 1, saslSupportedMechs=["SCRAM-SHA-256"])
    await line.say(_answered(asked, struct.unpack_from("<i", asked, 4)[0], hello))
    asked = await line.hear()
    await mongo(lambda n: op_msg(b"", n, length=GIB), b"\0" * 1024)(line, asked)


MONGODB_GREETINGS: dict[str, Script] = {
    "silence": begins(b""),
    "a byte at a time": mongo_greeting(lambda n: op_reply(mongo_hello(), n), drip=True),
    "noise": after(NOISE),
    "another protocol": after(HTTP),
    "a message of 1 GiB": mongo_greeting(lambda n: struct.pack("<iiii", GIB, 1, n, 1), b"\0" * 1024),
    "a message of negative length": mongo_greeting(lambda n: struct.pack("<iiii", -1, 1, n, 1)),
    "a forged error": mongo_greeting(lambda n: op_reply(mongo_error(FORGED), n)),
    "the answer to another question": mongo_greeting(lambda n: op_reply(mongo_hello(), n + 1)),
    "a document longer than its message": mongo_greeting(lambda n: op_reply(struct.pack("<i", GIB) + b"\0", n)),
    "a bomb": mongo_greeting(lambda n: compressed(n, 200 * 2**20)),
    "too much hashing": _mongo_scram,
    "a message of 1 GiB, as announced": _announced,
    "no version that there is": mongo_greeting(lambda n: op_reply(mongo_hello(minWireVersion=9999), n)),
    "an endless TLS handshake": after(HELLO, b"\0"),
}
MONGODB_ANSWERS: dict[str, Answer] = {
    "a forged error": mongo(lambda n: op_msg(mongo_error(FORGED), n)),
    "silence": mongo(lambda _: b""),
    "a message of 1 GiB": mongo(lambda n: op_msg(b"", n, length=GIB), b"\0" * 1024),
    "a message of its greatest length": mongo(lambda n: op_msg(b"", n, length=47_999_999), b"\0" * 1024),
    "a bomb": mongo(lambda n: compressed(n, 200 * 2**20)),
    "a bomb that says less": mongo(lambda n: compressed(n, 1000)),
    "a document of 5,000 levels": mongo(lambda n: op_msg(found(nested(5000)), n)),
    "a document of 100,000 levels": mongo(lambda n: op_msg(found(nested(100_000)), n)),
    "broken text": mongo(lambda n: op_msg(found(b"\x0f\0\0\0\x02a\0\x03\0\0\0\xff\xfe\0\0"), n)),
    "wrong lengths": mongo(lambda n: op_msg(found(b"\xff\xff\xff\x7f\x02a\0\x03\0\0\0xx\0\0"), n)),
    "the answer to another question": mongo(lambda n: op_msg(mongo_hello(), n + 7)),
    "no cursor": mongo(lambda n: op_msg(mongo_hello(), n)),
    "noise": mongo(lambda _: NOISE),
    "the end": then(b"", close=True),
}


# Neo4j


def chunked(message: bytes) -> bytes:
    pieces = [message[at : at + 65_535] for at in range(0, len(message), 65_535)]
    return b"".join(struct.pack("!H", len(piece)) + piece for piece in pieces) + b"\0\0"


def bolt_text(text: bytes) -> bytes:
    return b"\xd2" + struct.pack("!I", len(text)) + text


def bolt_failure(text: bytes) -> bytes:
    code = bolt_text(b"Neo.ClientError.Statement.SyntaxError")
    return chunked(b"\xb1\x7f\xa2" + bolt_text(b"code") + code + bolt_text(b"message") + bolt_text(text))


BOLT_5_4 = b"\0\0\4\5"
RUN_OK = chunked(b"\xb1\x70\xa1" + bolt_text(b"fields") + b"\x91" + bolt_text(b"id"))
NEO4J_GREETINGS: dict[str, Script] = {
    "silence": begins(b""),
    "a byte at a time": after(BOLT_5_4, drip=True),
    "noise": after(NOISE),
    "another protocol": after(HTTP),
    "a version that there is not": after(b"\0\0\xff\xff"),
    "an endless manifest": after(b"\0\0\1\xff", b"\xff"),
    "endless chunks": after(BOLT_5_4, b"\xff\xff" + b"x" * 65_535),
    "endless empty chunks": after(BOLT_5_4, b"\0\0"),
    "6,000,000 empty lists": after(
        BOLT_5_4 + chunked(b"\xb1\x70\xd6" + struct.pack("!I", 6_000_000) + b"\x90" * 6_000_000)
    ),
    "17 MiB before any row": after(BOLT_5_4 + chunked(b"\xb1\x70" + bolt_text(b"x" * 17 * 2**20))),
    "a forged failure": after(BOLT_5_4 + bolt_failure(FORGED.encode())),
    "a failure of broken text": after(BOLT_5_4 + bolt_failure(b"\xff\xfe" + CANARY.encode())),
    "an endless TLS handshake": after(HELLO, b"\0"),
}
NEO4J_ANSWERS: dict[str, Answer] = {
    "a forged failure": then(bolt_failure(FORGED.encode())),
    "a failure of broken text": then(bolt_failure(b"\xff\xfe" + CANARY.encode())),
    "silence": then(b""),
    "endless chunks": then(b"", b"\xff\xff" + b"x" * 65_535),
    "endless empty chunks": then(b"", b"\0\0"),
    "a row of 6,000,000 empty lists": then(
        RUN_OK + chunked(b"\xb1\x71\x91\xd6" + struct.pack("!I", 6_000_000) + b"\x90" * 6_000_000)
    ),
    "a list of 2^32 things": then(chunked(b"\xb1\x70\xd6\xff\xff\xff\xff")),
    "a map of 2^32 things": then(chunked(b"\xb1\x70\xda\xff\xff\xff\xff")),
    "a text of 2^32 bytes": then(chunked(b"\xb1\x70\xd2\xff\xff\xff\xff")),
    "100,000 levels": then(chunked(b"\xb1\x70" + b"\x91" * 100_000 + b"\x01")),
    "a record before its fields": then(chunked(b"\xb1\x71\x91\x01") * 10),
    "a record of other width": then(RUN_OK + chunked(b"\xb1\x71\x93\x01\x02\x03") + chunked(b"\xb1\x70\xa0")),
    "a value of no known kind": then(RUN_OK + chunked(b"\xb1\x71\x91\xb1\x01\x01") + chunked(b"\xb1\x70\xa0")),
    "noise": then(NOISE),
    "the end": then(b"", close=True),
}

GREETINGS: dict[str, dict[str, Script]] = {
    "postgresql": POSTGRESQL_GREETINGS,
    "mysql": MYSQL_GREETINGS,
    "mongodb": MONGODB_GREETINGS,
    "neo4j": NEO4J_GREETINGS,
}
ANSWERS: dict[str, dict[str, Answer]] = {
    "postgresql": POSTGRESQL_ANSWERS,
    "mysql": MYSQL_ANSWERS,
    "mongodb": MONGODB_ANSWERS,
    "neo4j": NEO4J_ANSWERS,
}
