"""MongoDB, by pymongo: one `find` of our making, streamed through a cursor, from one snapshot where the server has one.

A replica set's member and a router read a snapshot. Where the server refuses one, each document is as it was at some
instant of the reading: what changes meanwhile may come in either form, and is read again by the next pull, whose bound
is taken before the reading starts.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr, field_validator

from qanatix_pipelines.accounts import mongodb as account
from qanatix_pipelines.addresses.mongodb import parse_mongo_uri
from qanatix_pipelines.batches import MAX_ROW_BYTES, Batch, Named, Reading
from qanatix_pipelines.clocks.mongodb import reach
from qanatix_pipelines.errors import SourceError, SourceFailed
from qanatix_pipelines.faults.mongodb import SnapshotLost, explained, place_of
from qanatix_pipelines.faults.network import connection_lost, network_fault
from qanatix_pipelines.queries.mongodb import newest, parse_mongo_query
from qanatix_pipelines.queries.slips import check_filter
from qanatix_pipelines.rejections import GIANT, Fault, Reason
from qanatix_pipelines.sessions.mongodb import Document, knock, limits, logging_in, new_client, read_concerns
from qanatix_pipelines.sources import Source, SourceConfig
from qanatix_pipelines.tls import Tls
from qanatix_pipelines.values.documents import Gathering, Row
from qanatix_pipelines.values.mongodb import Unreadable, documents, fields, object_text
from qanatix_pipelines.watermarks import Window

if TYPE_CHECKING:  # at run time it is imported where it is used: it takes a tenth of a second
    from pymongo import AsyncMongoClient
    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.collection import AsyncCollection
    from pymongo.asynchronous.cursor import AsyncRawBatchCursor

KEY = "_id"
# A document that is read beside the loop, where deadlines, signs of life and cancels go on.
LARGE_BYTES = 2**16
CONNECT_SECONDS = 10
CLOSE_SECONDS = 3

# Codes by which a server refuses to read from a snapshot.
_NO_SNAPSHOT = {20, 72, 115, 123, 246, 263, 303}

# It logs an error whole, with addresses and a server's words.
logging.getLogger("pymongo").setLevel(logging.CRITICAL + 1)


class Config(SourceConfig):
    """connection_config of a mongodb connector."""

    uri: SecretStr
    database: str
    collection: str

    @field_validator("uri", mode="after")
    @classmethod
    def _readable(cls, uri: SecretStr) -> SecretStr:
        parse_mongo_uri(uri.get_secret_value())
        return uri

    @field_validator("database", mode="after")
    @classmethod
    def _a_database(cls, name: str) -> str:
        # MongoDB manual, "Naming Restrictions"; the stricter ones, of Windows, are every driver's.
        if not 0 < len(name.encode(errors="replace")) < 64 or any(letter in '/\\. "$*<>:|?\x00' for letter in name):  # noqa: PLR2004
            raise ValueError("is not the name of a database")
        return name

    @field_validator("collection", mode="after")
    @classmethod
    def _a_collection(cls, name: str) -> str:
        malformed = name.startswith(".") or name.endswith(".") or ".." in name or "$" in name or "\x00" in name
        if not 0 < len(name.encode(errors="replace")) < 256 or malformed or name.startswith("system."):  # noqa: PLR2004
            raise ValueError("is not the name of a collection that can be pulled")
        return name

    def place(self) -> tuple[object, ...]:
        uri = parse_mongo_uri(self.uri.get_secret_value())
        return uri.host, uri.port, self.database, self.collection, uri.user

    def connection(self) -> dict[str, str | int]:
        uri = parse_mongo_uri(self.uri.get_secret_value())
        return {
            "host": uri.host,
            "port": uri.port,
            "database": self.database,
            "collection": self.collection,
            "user": uri.user,
            "auth_source": uri.auth_source,
        }

    def protection(self) -> Tls:
        return "verified" if parse_mongo_uri(self.uri.get_secret_value()).tls else "none"


class MongoDB(Source):
    config_type = Config
    title = "MongoDB"
    kind = "mongodb"

    def __init__(self, config: Config) -> None:
        self._uri = parse_mongo_uri(config.uri.get_secret_value())
        self._database, self._collection = config.database, config.collection
        self._snapshots = True

    @classmethod
    def check_query(cls, query: str) -> bool:
        check_filter(query)
        return parse_mongo_query(query).asks_for_last_pull

    @classmethod
    def newest(cls, query: str, column: str) -> str:
        return newest(query, column)

    @asynccontextmanager
    async def read(self, query: str, *, window: Window, batch_size: int) -> AsyncIterator[Reading]:
        asked = parse_mongo_query(query)
        client = new_client(self._uri, CONNECT_SECONDS)
        opened: list[_Answer] = []
        try:
            with _reported(asked.filter):
                async with asyncio.timeout(CONNECT_SECONDS):
                    await knock(self._uri)
                    # In this order: the documents must be read when the clock has been.
                    with logging_in(self._uri):
                        hello = await client.admin.command("hello")
                    if not self.strong_accounts:
                        await _check_account(client)
                clock, reached = reach(hello)
                finds = asked.finds(window.start(clock), integer=window.integer)
                options = limits(hello) | {"batch_size": batch_size}
                concerns = read_concerns(hello, snapshots=self._snapshots)
                collection = client[self._database].get_collection(self._collection)
                answers = {
                    kind: await _find(collection, find | options, concerns, opened) for kind, find in finds.items()
                }
            yield Reading(
                columns=None,
                watermark=reached - timedelta(milliseconds=1) if asked.asks_for_last_pull else None,
                batches=_newest(answers) if asked.newest else _batches(answers[""], batch_size, self.named),
                id_column=KEY,
            )
        except SnapshotLost:
            self._snapshots = False  # when it is read again
            raise
        finally:
            await _disconnect(client, opened)


source = MongoDB


@dataclass
class _Answer:
    """A cursor over replies, each of documents in BSON, and the first of them: None if there is no document."""

    session: "AsyncClientSession"
    cursor: "AsyncRawBatchCursor[Any]"
    first: bytes | None = None


async def _check_account(client: "AsyncMongoClient[Document]") -> None:
    from pymongo.errors import OperationFailure

    try:
        account.check(await client.admin.command(account.RIGHTS))
    except OperationFailure as error:
        if error.code not in account.NOT_TOLD:
            raise


async def _find(
    collection: "AsyncCollection[Document]",
    arguments: dict[str, Any],
    concerns: tuple[str | None, ...],
    opened: list[_Answer],
) -> _Answer:
    """The answer and its first reply, by the first concern that there can be. What is to be closed joins `opened`."""
    from pymongo.errors import OperationFailure
    from pymongo.read_concern import ReadConcern

    for concern in concerns:
        snapshot = concern == "snapshot"
        session = collection.database.client.start_session(snapshot=snapshot)
        read_concern = None if concern is None or snapshot else ReadConcern(concern)
        cursor = collection.with_options(read_concern=read_concern).find_raw_batches(**arguments, session=session)
        answer = _Answer(session, cursor)
        opened.append(answer)
        try:
            answer.first = cast(bytes | None, await anext(cursor, None))
        except OperationFailure as error:
            if not snapshot or error.code not in _NO_SNAPSHOT:
                raise
        else:
            break
    return answer


async def _disconnect(client: "AsyncMongoClient[Document]", opened: list[_Answer]) -> None:
    from pymongo.errors import PyMongoError

    with suppress(PyMongoError, OSError):
        async with asyncio.timeout(CLOSE_SECONDS):
            for answer in opened:
                await answer.cursor.close()
                await answer.session.end_session()
            await client.close()
            return
    # The far side is gone or does not answer: what it should still be told is forgotten, and our end closed.
    client._topology.pop_all_sessions()  # noqa: SLF001
    client._kill_cursors_queue.clear()  # noqa: SLF001
    await client.close()


async def _batches(answer: _Answer, batch_size: int, named: Named) -> AsyncIterator[Batch]:
    key = named.key or KEY
    gathering, rows = Gathering(batch_size, "bson", replace(named, key=key)), _rows(answer, key)
    while True:
        with _reported():
            batch = await gathering.filled(rows)
        if batch is None:
            return
        yield batch
        del batch  # before the next one is read


async def _rows(answer: _Answer, key: str) -> AsyncIterator[Row]:
    """One document after another: all of a reply as values would take many times as much memory."""
    reply = answer.first
    while reply is not None:
        for document in documents(reply):
            beside = LARGE_BYTES < len(document) <= MAX_ROW_BYTES
            yield await asyncio.to_thread(_row, document, key) if beside else _row(document, key)
        reply = cast(bytes | None, await anext(answer.cursor, None))


def _row(document: bytes, key: str) -> Row:
    if len(document) > MAX_ROW_BYTES:
        return {}, None, GIANT
    try:
        return (*fields(document, key), None)
    except (Unreadable, RecursionError):  # a document that breaks the rules, or is nested deeper than we can follow
        return {}, None, Fault(Reason.UNREADABLE)


async def _newest(answers: Mapping[str, _Answer]) -> AsyncIterator[Batch]:
    """One row, of the greatest values by their types."""
    gathering = Gathering(1, "bson", Named())
    with _reported():
        firsts = {kind: answer.first for kind, answer in answers.items() if answer.first is not None}
        gathering.add({kind: object_text(reply) for kind, reply in firsts.items()})
    if firsts and (row := gathering.rest()) is not None:
        yield row


@contextmanager
def _reported(asked: Mapping[str, Any] | None = None) -> Iterator[None]:
    """A driver's exception becomes one of ours, and nothing of its text passes: the server wrote it.

    `asked` is the filter, where that may be at fault.
    """
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # noqa: BLE001  # a server that breaks the protocol makes the driver raise anything
        raise _explained(error, asked or {}) from None


def _explained(error: Exception, asked: Mapping[str, Any]) -> SourceError:
    from pymongo import errors

    if isinstance(error, errors.OperationFailure):
        return explained(error.code, place_of(asked, str((error.details or {}).get("errmsg", ""))))
    meanings: tuple[tuple[type[Exception] | tuple[type[Exception], ...], SourceError], ...] = (
        (errors.ConnectionFailure, connection_lost()),
        (errors.ConfigurationError, SourceFailed("The source's version or its ways to log in are not supported.")),
        # A UnicodeError is the resolver's: what is wrong in an answer, `bson_text` has told already.
        ((OSError, UnicodeError), network_fault(error, CONNECT_SECONDS)),
    )
    unreadable = SourceFailed(f"The source's answer could not be read ({type(error).__name__}).")
    return next((meaning for kind, meaning in meanings if isinstance(error, kind)), unreadable)
