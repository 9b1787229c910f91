"""The MongoDB wire protocol in front of DocumentDB, which is BSON and MongoDB's commands inside PostgreSQL.

Debian packages the engine without a wire server, so this is one, as small as the tests allow. It is a process of its
own, takes its settings as one line of JSON on its standard input, prints the port that it listens on, and ends when its
input does. A command becomes one SQL call; BSON goes in and comes out as bytes. What the engine cannot do is refused:
there are no snapshots and no transactions. One user may log in, by SCRAM-SHA-256 (RFC 7677).
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import re
import secrets
import ssl
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import bson
from bson.codec_options import DatetimeConversion

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
MORE_TO_COME = 2
REPLICATION_LAG = timedelta(minutes=1)
ITERATIONS = 4096  # RFC 7677's least, for speed
WITHOUT_LOGIN = {"hello", "isMaster", "ismaster", "ping", "saslStart", "saslContinue"}

# The engine's SQLSTATEs, as the numbers that MongoDB has for the same errors.
CODES = {
    "57014": 50,  # MaxTimeMSExpired: the only reason for us to cancel anything
    "M0001": 2,  # BadValue
    "M0004": 14,  # TypeMismatch
    "M0015": 241,  # ConversionFailure
    "M001C": 11000,  # DuplicateKey
    "M0057": 31250,  # path collision in a projection
    "M0059": 31254,  # a projection that includes and excludes
    "M005E": 168,  # InvalidPipelineOperator
    "M009H": 51091,  # invalid regular expression
}
UNKNOWN_ERROR = 8

_CURSOR = (
    "SELECT cursorpage::bytea, continuation::bytea, persistconnection "
    "FROM documentdb_api.{}_cursor_first_page($1, $2::bytea::documentdb_core.bson, $3)"
)
_MORE = (
    "SELECT cursorpage::bytea, continuation::bytea FROM documentdb_api.cursor_get_more("
    "$1, $2::bytea::documentdb_core.bson, $3::bytea::documentdb_core.bson)"
)
_WRITE = (
    "SELECT p_result::bytea FROM documentdb_api.{}("
    "$1, $2::bytea::documentdb_core.bson, $3::bytea::documentdb_core.bsonsequence)"
)
_EXPLAIN = (
    "EXPLAIN (FORMAT JSON) SELECT document "
    "FROM documentdb_api_catalog.bson_aggregation_find($1, $2::bytea::documentdb_core.bson)"
)
_COUNT = "SELECT document::bytea FROM documentdb_api.count_query($1, $2::bytea::documentdb_core.bson)"
_INDEX = (
    "SELECT documentdb_api_internal.create_indexes_non_concurrently($1, $2::bytea::documentdb_core.bson, true)::text"
)
_DROP = "SELECT documentdb_api.drop_collection($1, $2)"
_VERSION = "SELECT extversion FROM pg_extension WHERE extname = 'documentdb'"
_READ: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
CURSORS = {"find": "find", "aggregate": "aggregate", "listCollections": "list_collections"}
WRITES = {"insert", "update", "delete"}
PLANNING = {"count", "createIndexes", "explain"}


class Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        self.answer = {"ok": 0.0, "code": code, "errmsg": message}
        super().__init__(message)


@dataclass(frozen=True)
class Request:
    """A command, as it was sent and decoded. `documents` are sent beside an insert and the like."""

    raw: bytes
    documents: bytes | None = None
    read: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", bson.decode(self.raw, _READ))

    @property
    def name(self) -> str:
        return next(iter(self.read))

    @property
    def database(self) -> str:
        name: str = self.read.get("$db", "admin")
        return name

    @property
    def seconds(self) -> float | None:
        milliseconds = self.read.get("maxTimeMS")
        return milliseconds / 1000 if milliseconds else None


@dataclass
class Cursor:
    """`connection` is set if the engine keeps the cursor open in it."""

    database: str
    continuation: bytes
    connection: asyncpg.Connection | None
    of_snapshot: bool = False


@dataclass
class Login:
    """The server's side of SCRAM-SHA-256 with one user."""

    user: str
    password: str
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    said: str = ""
    nonce: str = ""
    done: bool = False

    def start(self, payload: bytes) -> dict[str, Any]:
        first = payload.decode().removeprefix("n,,")
        parts = dict(part.split("=", 1) for part in first.split(","))
        if parts["n"] != self.user:
            raise Refused(18, "Authentication failed.")
        self.nonce = parts["r"] + secrets.token_urlsafe(18)
        answer = f"r={self.nonce},s={base64.b64encode(self.salt).decode()},i={ITERATIONS}"
        self.said = f"{first},{answer}"
        return {"conversationId": 1, "done": False, "payload": answer.encode()}

    def finish(self, payload: bytes) -> dict[str, Any]:
        bare, _, proof = payload.decode().rpartition(",p=")
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), self.salt, ITERATIONS)
        client_key = _hmac(salted, b"Client Key")
        said = f"{self.said},{bare}".encode()
        signature = _hmac(hashlib.sha256(client_key).digest(), said)
        expected = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        if bare != f"c=biws,r={self.nonce}" or not hmac.compare_digest(expected, base64.b64decode(proof)):
            raise Refused(18, "Authentication failed.")
        self.done = True
        verifier = base64.b64encode(_hmac(_hmac(salted, b"Server Key"), said))
        return {"conversationId": 1, "done": True, "payload": b"v=" + verifier}


class Gateway:
    """`set_name` makes it say that it is a replica set's member, a minute behind.

    It refuses snapshots; or, where they are `brief`, takes them, and has none any more when it is asked for more.

    `privileges` are what it says that its user has. Whatever they are, it does what that user asks.
    """

    def __init__(
        self, pool: asyncpg.Pool, user: str, password: str, set_name: str | None, privileges: list[Any], *, brief: bool
    ) -> None:
        self.pool, self.privileges, self.brief = pool, privileges, brief
        self.user, self.password, self.set_name = user, password, set_name
        self.clients: list[Client] = []
        self.cursor_ids = itertools.count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(self)
        self.clients.append(client)
        try:
            while True:
                size, request, _, operation = struct.unpack("<iiii", await reader.readexactly(16))
                if operation not in (OP_QUERY, OP_MSG):
                    return  # TLS, perhaps
                answering = asyncio.create_task(client.answer(operation, await reader.readexactly(size - 16)))
                while not answering.done():
                    await asyncio.wait([answering], timeout=0.05)
                    if reader.at_eof():  # from 4.2 on, MongoDB ends a command whose client is gone
                        answering.cancel()
                answer = await answering
                if answer is not None:
                    kind, body = answer
                    writer.write(struct.pack("<iiii", 16 + len(body), 0, request, kind) + body)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.clients.remove(client)
            writer.close()
            await client.forget(list(client.cursors))


class Client:
    """One connection, its login and its cursors."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.login = Login(gateway.user, gateway.password)
        self.cursors: dict[int, Cursor] = {}
        self.metadata: Mapping[str, Any] = {}
        self.command: str | None = None  # the one that runs now

    async def answer(self, operation: int, message: bytes) -> tuple[int, bytes] | None:
        """The kind and body of the answer. None if there is no answer."""
        if operation == OP_QUERY:  # a driver's first hello
            name_end = message.index(b"\0", 4)
            return OP_REPLY, struct.pack("<iqii", 8, 0, 0, 1) + await self.reply(Request(message[name_end + 9 :]))
        (flags,) = struct.unpack_from("<I", message)
        reply = await self.reply(_request(message))
        return None if flags & MORE_TO_COME else (OP_MSG, struct.pack("<Ib", 0, 0) + reply)

    async def reply(self, request: Request) -> bytes:
        self.command = request.name
        try:
            return await self.run(request)
        except Refused as refused:
            return bson.encode(refused.answer)
        except asyncpg.PostgresError as error:
            code = CODES.get(error.sqlstate or "", UNKNOWN_ERROR)
            return bson.encode({"ok": 0.0, "code": code, "errmsg": str(error)})
        except TimeoutError:
            return bson.encode({"ok": 0.0, "code": 50, "errmsg": "operation exceeded time limit"})
        finally:
            self.command = None

    async def run(self, request: Request) -> bytes:
        name, command = request.name, request.read
        if not self.login.done and name not in WITHOUT_LOGIN:
            raise Refused(13, f"Command {name} requires authentication")
        of_snapshot = command.get("readConcern", {}).get("level") == "snapshot"
        if (of_snapshot and not self.gateway.brief) or "autocommit" in command:
            raise Refused(246, "no snapshots and no transactions here")
        if name == "getMore":
            return await self.more(request)
        if name in CURSORS:
            return await self.first(request, of_snapshot=of_snapshot)
        if name in WRITES:
            arguments = (request.database, request.raw, request.documents)
            reply: bytes = await self.gateway.pool.fetchval(_WRITE.format(name), *arguments)
            return reply
        if name in PLANNING:
            return await self.planning(request)
        return bson.encode(await self.small(request) | {"ok": 1.0})

    async def planning(self, request: Request) -> bytes:
        """The answer to a command about indexes, and what a query would cost."""
        pool = self.gateway.pool
        if request.name == "count":
            counted: bytes = await pool.fetchval(_COUNT, request.database, request.raw)
            return counted
        if request.name == "createIndexes":
            await pool.fetchval(_INDEX, request.database, request.raw)
            return bson.encode({"ok": 1.0})
        find = request.read["explain"]
        (plan,) = json.loads(await pool.fetchval(_EXPLAIN, request.database, bson.encode(find)))
        winning = {"namespace": f"{request.database}.{find['find']}", "winningPlan": _stage(plan["Plan"])}
        return bson.encode({"queryPlanner": winning, "ok": 1.0})

    async def small(self, request: Request) -> dict[str, Any]:  # noqa: PLR0911  # one return for each command
        """The answer to a command that the engine does not have, or that needs little of it."""
        command = request.read
        match request.name:
            case "hello" | "isMaster" | "ismaster":
                return await self.hello(command)
            case "saslStart":
                return self.login.start(command["payload"])
            case "saslContinue":
                return self.login.finish(command["payload"])
            case "ping" | "endSessions":
                return {}
            case "connectionStatus":
                return {"authInfo": {"authenticatedUserPrivileges": self.gateway.privileges}}
            case "buildInfo" | "buildinfo":
                return {"version": "DocumentDB " + await self.gateway.pool.fetchval(_VERSION)}
            case "currentOp":
                return {"inprog": [c.operation for c in self.gateway.clients]}
            case "killCursors":
                await self.forget(command["cursors"])
                return {"cursorsKilled": command["cursors"]}
            case "drop":
                await self.gateway.pool.fetchval(_DROP, request.database, command["drop"])
                return {}
            case name:
                raise Refused(59, f"no such command: {name}")

    @property
    def operation(self) -> dict[str, Any]:
        doing = {"active": self.command is not None, "command": {self.command: 1} if self.command else {}}
        return {"appName": self.app_name, "clientMetadata": self.metadata} | doing

    @property
    def app_name(self) -> str:
        name: str = self.metadata.get("application", {}).get("name", "")
        return name

    async def hello(self, command: Mapping[str, Any]) -> dict[str, Any]:
        self.metadata = command.get("client", self.metadata)
        async with self.gateway.pool.acquire() as connection:
            now = await connection.fetchval("SELECT clock_timestamp()")
        answer = {
            "ismaster": True,
            "isWritablePrimary": True,
            "helloOk": True,
            "maxBsonObjectSize": 16 * 1024 * 1024,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 25_000,
            "localTime": now,
            "logicalSessionTimeoutMinutes": 30,
            "minWireVersion": 0,
            "maxWireVersion": 21,
            "readOnly": False,
            "ok": 1.0,
        }
        if self.gateway.set_name:
            answer |= {
                "setName": self.gateway.set_name,
                "hosts": ["no-such-host.invalid:27017"],
                "lastWrite": {"majorityWriteDate": now - REPLICATION_LAG},
            }
        if "saslSupportedMechs" in command:
            answer["saslSupportedMechs"] = ["SCRAM-SHA-256"]
        if command.get("speculativeAuthenticate", {}).get("mechanism") == "SCRAM-SHA-256":
            answer["speculativeAuthenticate"] = self.login.start(command["speculativeAuthenticate"]["payload"])
        return answer

    async def first(self, request: Request, *, of_snapshot: bool) -> bytes:
        command = request.raw
        if of_snapshot:  # the engine does not know the word
            command = bson.encode({key: value for key, value in bson.decode(command).items() if key != "readConcern"})
        cursor_id = next(self.gateway.cursor_ids)
        connection = await self.gateway.pool.acquire()
        kept = False
        try:
            page, continuation, persistent = await connection.fetchrow(
                _CURSOR.format(CURSORS[request.name]),
                *(request.database, command, cursor_id),
                timeout=request.seconds,
            )
            if continuation is not None:
                kept = persistent
                self.cursors[cursor_id] = Cursor(
                    request.database, continuation, connection if kept else None, of_snapshot
                )
        finally:
            if not kept:
                await self.gateway.pool.release(connection)
        result: bytes = page
        return result

    async def more(self, request: Request) -> bytes:
        cursor_id = request.read["getMore"]
        cursor = self.cursors.get(cursor_id)
        if cursor is None:
            raise Refused(43, f"cursor id {cursor_id} not found")
        if cursor.of_snapshot:
            raise Refused(239, "Read timestamp is older than the oldest available timestamp.")
        connection = cursor.connection or self.gateway.pool
        page, continuation = await connection.fetchrow(
            _MORE, cursor.database, request.raw, cursor.continuation, timeout=request.seconds
        )
        if continuation is None:
            await self.forget([cursor_id])
        else:
            cursor.continuation = continuation
        result: bytes = page
        return result

    async def forget(self, cursor_ids: list[int]) -> None:
        for cursor_id in cursor_ids:
            cursor = self.cursors.pop(cursor_id, None)
            if cursor is not None and cursor.connection is not None:
                await self.gateway.pool.release(cursor.connection)


def _request(message: bytes) -> Request:
    """The sections of an OP_MSG. Each begins with its kind and its size."""
    command, documents = b"", None
    at = 4
    while at < len(message):
        kind = message[at]
        (size,) = struct.unpack_from("<i", message, at + 1)
        section = message[at + 1 : at + 1 + size]
        if kind == 0:
            command = section
        else:
            documents = section[section.index(b"\0", 4) + 1 :]
        at += 1 + size
    return Request(command, documents)


def _stage(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A stage of PostgreSQL's plan as MongoDB tells it. An index must have the name that a driver gives it: `field_1`.

    The engine reads a whole collection by an index, too: by the number of its shard.
    """
    name = plan.get("Index Name")
    match plan["Node Type"]:
        case "Sort":
            stage: dict[str, Any] = {"stage": "SORT"}
        case "Seq Scan":
            stage = {"stage": "COLLSCAN"}
        case _ if name is None:
            stage = {"stage": "FETCH" if plan.get("Plans") else "EOF"}
        case _ if re.fullmatch(r"\(shard_key_value = '\d+'::bigint\)", plan.get("Index Cond", "")):
            stage = {"stage": "COLLSCAN"}
        case _:
            stage = {"stage": "IXSCAN", "indexName": name, "keyPattern": {name.rpartition("_")[0]: 1}}
    return stage | {"inputStages": [_stage(inner) for inner in plan.get("Plans", [])]}


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


async def main() -> None:
    loop = asyncio.get_running_loop()
    given = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    async with asyncpg.create_pool(
        host=given["socket"], port=given["engine_port"], user="postgres", database="postgres", min_size=1, max_size=40
    ) as pool:
        gateway = Gateway(
            pool, given["user"], given["password"], given["set_name"], given["privileges"], brief=given["brief"]
        )
        context = None
        if given["tls"]:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*given["tls"])
        server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0, ssl=context)
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)
        server.close()
        pool.terminate()


if __name__ == "__main__":
    asyncio.run(main())
