"""MongoDB, by pymongo: one `find`, streamed through a cursor, from one snapshot where the server has one.

Members of a replica set and routers read from a snapshot. Where the server refuses one, each document is as it was at
some instant of the reading. What changes meanwhile may come in its old or its new form, and is read again by the next
pull, whose bound is taken before the reading starts.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from pymongo import errors
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncRawBatchCursor
from pymongo.read_concern import ReadConcern

from qanatix_pipelines.accounts import Account
from qanatix_pipelines.batches import Batch, Expected, Named, Reading
from qanatix_pipelines.errors import LoginRefused, SourceError, SourceFailed
from qanatix_pipelines.libraries import LibraryChanged
from qanatix_pipelines.sources.documents import Gathering, at_most
from qanatix_pipelines.sources.driver import CLOSE_SECONDS, CONNECT_SECONDS, known, ours
from qanatix_pipelines.sources.mongodb import account, plans, session
from qanatix_pipelines.sources.mongodb.client import Client, ConnectionPool, Document
from qanatix_pipelines.sources.mongodb.clock import reach
from qanatix_pipelines.sources.mongodb.config import Config, MongoUri, parse_mongo_uri
from qanatix_pipelines.sources.mongodb.faults import explained, place_of
from qanatix_pipelines.sources.mongodb.query import MongoQuery, parse_mongo_query
from qanatix_pipelines.sources.mongodb.rows import rows_of
from qanatix_pipelines.sources.mongodb.values import RAW, document_of, object_text
from qanatix_pipelines.sources.network import connection_lost, network_fault
from qanatix_pipelines.sources.source import Heard, Stage
from qanatix_pipelines.watermarks import Window

with known("pymongo"):
    from pymongo.saslprep import saslprep

KEY = "_id"
# Codes by which a server refuses to read from a snapshot.
_NO_SNAPSHOT = {20, 72, 115, 123, 246, 263, 303}


@asynccontextmanager
async def read(
    config: Config,
    query: str,
    *,
    window: Window,
    batch_size: int,
    named: Named,
    strong_accounts: bool,
    snapshots: bool,
    passed: Heard,
) -> AsyncIterator[Reading]:
    """As `Source.read`."""
    statement = await asyncio.to_thread(parse_mongo_query, query)
    uri = parse_mongo_uri(config.uri.get_secret_value())
    with ours():
        client = Client(**session.options(uri, CONNECT_SECONDS), _pool_class=ConnectionPool)
    opened: list[_Answer] = []
    try:
        with _reported(statement.filter):
            async with asyncio.timeout(CONNECT_SECONDS):
                await session.knock(uri)
                # In this order: the documents must be read after the clock.
                with _logging_in(uri):
                    hello = await client.admin.command("hello")
                passed(Stage.LOGIN)
                rights_told = strong_accounts or await _check_account(client)
                passed(Stage.ACCOUNT, Account(rights_told))
            clock, reached = reach(hello)
            finds = statement.finds(window.start(clock), window.until, integer=window.integer)
            options = session.limits(hello) | {"batch_size": batch_size, "limit": window.rows or 0}  # 0 is none
            concerns = session.read_concerns(hello, snapshots=snapshots)
            collection = client[config.database].get_collection(config.collection)
            answers = {kind: await _find(collection, options | find, concerns, opened) for kind, find in finds.items()}
            passed(Stage.QUERY)
            expected = (
                None if window.rows is None else await _expected(collection, statement, finds, integer=window.integer)
            )
        yield Reading(
            columns=None,
            watermark=reached - timedelta(milliseconds=1) if statement.asked.last_pull else None,
            batches=_newest(answers) if statement.newest else _batches(answers[""], batch_size, named, window.rows),
            id_column=KEY,
            expected=expected,
        )
    finally:
        await _disconnect(client, opened)


@contextmanager
def _logging_in(uri: MongoUri) -> Iterator[None]:
    """The driver refuses a password that SCRAM cannot send, by a ValueError."""
    try:
        yield
    except ValueError:
        try:
            saslprep(uri.password)
        except ValueError:
            raise LoginRefused(
                "The password in the uri has what no login by SCRAM-SHA-256 may have (RFC 4013): a character of "
                "control or of private use, or letters of both directions. Check that it is percent-encoded from UTF-8."
            ) from None
        raise


@dataclass
class _Answer:
    """A cursor over replies, and the first of them: None if there is no document."""

    session: AsyncClientSession
    cursor: AsyncRawBatchCursor[Any]
    first: bytes | None = None

    async def replies(self) -> AsyncIterator[bytes]:
        reply = self.first
        while reply is not None:
            yield reply
            reply = cast(bytes | None, await anext(self.cursor, None))


async def _check_account(client: Client) -> bool:
    """Whether the server says what the user may do. Raises AccountTooStrong."""
    try:
        answer = await client.admin.command(account.RIGHTS)
    except errors.OperationFailure as error:
        if error.code not in account.NOT_TOLD:
            raise
        return False
    account.check(answer)
    return True


async def _find(
    collection: AsyncCollection[Document],
    arguments: dict[str, Any],
    concerns: tuple[str | None, ...],
    opened: list[_Answer],
) -> _Answer:
    """The answer and its first reply, by the first read concern that the server takes.

    Each answer joins `opened`, to be closed later.
    """
    for concern in concerns:
        snapshot = concern == "snapshot"
        started = collection.database.client.start_session(snapshot=snapshot)
        read_concern = None if concern is None or snapshot else ReadConcern(concern)
        cursor = collection.with_options(read_concern=read_concern).find_raw_batches(**arguments, session=started)
        answer = _Answer(started, cursor)
        opened.append(answer)
        try:
            answer.first = cast(bytes | None, await anext(cursor, None))
        except errors.OperationFailure as error:
            if not snapshot or error.code not in _NO_SNAPSHOT:
                raise
        else:
            break
    return answer


async def _expected(
    collection: AsyncCollection[Document], statement: MongoQuery, finds: Mapping[str, Document], *, integer: bool
) -> Expected:
    """An answer that cannot be read tells nothing, and is no error."""

    async def ask(command: Document) -> Document | None:
        try:
            answer = await collection.database.command(
                command, codec_options=RAW, read_preference=collection.read_preference
            )
        except errors.OperationFailure:
            return None
        return document_of(answer.raw, plans.MAX_BYTES)

    plan, types = None, set[str]()
    if "" in finds:  # else only the newest values are wanted, by several
        with suppress(SourceError), _reported():
            plan = await plans.plan(ask, collection.name, finds[""], statement.compared)
            types = await plans.types(ask, collection.name, statement.matched)
    bound = ("long" if integer else "date",) if statement.asked.last_pull else ()
    foreign = types - (plans.NUMBERS if integer else plans.DATES)
    return Expected(last_pull_types=tuple(sorted(types)) or bound, foreign_types=tuple(sorted(foreign)), plan=plan)


async def _disconnect(client: Client, opened: list[_Answer]) -> None:
    with ours():
        with suppress(errors.PyMongoError, OSError):
            async with asyncio.timeout(CLOSE_SECONDS):
                for answer in opened:
                    await answer.cursor.close()
                    await answer.session.end_session()
                await client.close()
                return
        await client.abandon()


async def _batches(answer: _Answer, batch_size: int, named: Named, limit: int | None = None) -> AsyncIterator[Batch]:
    key = named.key or KEY
    gathering, rows = Gathering(batch_size, "bson", replace(named, key=key)), rows_of(answer.replies(), key)
    if limit is not None:
        rows = at_most(limit, rows)  # the server was told the limit, and may send more all the same
    while True:
        with _reported():
            batch = await gathering.filled(rows)
        if batch is None:
            return
        yield batch
        del batch  # before the next one is read


async def _newest(answers: Mapping[str, _Answer]) -> AsyncIterator[Batch]:
    """One row: the greatest value of each type."""
    gathering = Gathering(1, "bson", Named())
    with _reported():
        firsts = {kind: answer.first for kind, answer in answers.items() if answer.first is not None}
        gathering.add({kind: object_text(reply) for kind, reply in firsts.items()})
    if firsts and (row := gathering.rest()) is not None:
        yield row


@contextmanager
def _reported(asked: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Work of the driver for us. Its exceptions become ours, without their text: the server wrote that.

    `asked` is the filter, where that may be at fault.
    """
    try:
        with ours():
            yield
    except (SourceError, LibraryChanged):
        raise
    except Exception as error:  # noqa: BLE001  # a server that breaks the protocol makes the driver raise anything
        raise _explained(error, asked or {}) from None


def _explained(error: Exception, asked: Mapping[str, Any]) -> SourceError:
    if isinstance(error, errors.OperationFailure):
        return explained(error.code, place_of(asked, str((error.details or {}).get("errmsg", ""))))
    meanings: tuple[tuple[type[Exception] | tuple[type[Exception], ...], SourceError], ...] = (
        (errors.ConnectionFailure, connection_lost()),
        (errors.ConfigurationError, SourceFailed("The source's version or its ways to log in are not supported.")),
        # A UnicodeError is the resolver's: BSON's are told for each document.
        ((OSError, UnicodeError), network_fault(error, CONNECT_SECONDS)),
    )
    unreadable = SourceFailed(f"The source's answer could not be read ({type(error).__name__}).")
    return next((meaning for kind, meaning in meanings if isinstance(error, kind)), unreadable)
