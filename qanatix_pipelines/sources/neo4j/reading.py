"""Neo4j, by its own driver over Bolt: one read-only transaction, one Cypher query, streamed as it is fetched."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import FunctionType, SimpleNamespace
from typing import Any, LiteralString, cast

import neo4j
import polars as pl
from neo4j.exceptions import ClientError, Neo4jError, ServiceUnavailable, SessionExpired, UnsupportedServerProduct

from qanatix_pipelines.accounts import Account, Sight
from qanatix_pipelines.batches import MAX_ROW_BYTES, Batch, Column, Expected, Named, Reading
from qanatix_pipelines.errors import QueryRejected, SourceError, SourceFailed, SourceUnreachable, TlsFailed
from qanatix_pipelines.libraries import LibraryChanged, replaced
from qanatix_pipelines.rejections import OVERSIZED
from qanatix_pipelines.sources.documents import LARGE_BYTES, Gathering, Row, at_most
from qanatix_pipelines.sources.driver import (
    CONNECT_SECONDS,
    known,
    ours,
    overriding,
    quiet,
    seeing,
)
from qanatix_pipelines.sources.neo4j import account, plans, properties
from qanatix_pipelines.sources.neo4j.clock import GREATEST, LEAST, bound, reach
from qanatix_pipelines.sources.neo4j.config import Config
from qanatix_pipelines.sources.neo4j.faults import explained
from qanatix_pipelines.sources.neo4j.query import LAST_PULL, UNTIL, CypherQuery, cypher_words, parse_cypher
from qanatix_pipelines.sources.neo4j.row_gate import BoundedInbox, bounded
from qanatix_pipelines.sources.neo4j.values import fields
from qanatix_pipelines.sources.network import causes_of, connection_lost, network_fault
from qanatix_pipelines.sources.source import Heard, Stage, unheard
from qanatix_pipelines.watermarks import Window

with known("neo4j"):
    from neo4j._async.io._bolt._base import AsyncBolt
    from neo4j._async.io._bolt._bolt_socket import AsyncBoltSocket
    from neo4j._async.io._bolt._common import AsyncInbox, receive_into_buffer
    from neo4j._exceptions import BoltError, BoltHandshakeError, BoltProtocolError, BoltSecurityError

quiet("neo4j")

KEY = "id"
TRANSACTION_SECONDS = 604_800  # at the server: the most that QANATIX_PULL_SECONDS may be


@asynccontextmanager
async def read(
    config: Config,
    query: str,
    *,
    window: Window,
    batch_size: int,
    named: Named,
    strong_accounts: bool,
    passed: Heard,
) -> AsyncIterator[Reading]:
    """As `Source.read`."""
    statement = await asyncio.to_thread(parse_cypher, query)
    # A limit is kept by asking for no more: the server makes rows as they are pulled, and one more to tell whether
    # there are more. A LIMIT in the text would need `CALL { ... }` around it, which moves the places that errors name,
    # wants an alias for each column, and may be planned in another way than what is pulled later.
    fetch_size = min(batch_size, window.rows or batch_size)
    async with _session(config, fetch_size, passed) as session:
        with _reported(query):
            rights_told = strong_accounts or await _check_account(session)
            waits = window.rows is not None and statement.asked.last_pull and not window.integer
            passed(Stage.ACCOUNT, Account(rights_told, await _sight(config) if waits else None))
            # In this order: what was committed before it is `reached` is there when the query starts.
            clock = reached = None
            if statement.asked.last_pull:
                clock, reached = await reach(partial(_told, session), ClientError)
            transaction = await session.begin_transaction(timeout=TRANSACTION_SECONDS)
            connection = transaction._connection  # noqa: SLF001
            parameters: dict[str, Any] = {}
            if clock is not None:
                parameters[LAST_PULL] = bound(window.start(clock), LEAST, connection, integer=window.integer)
            if statement.asked.until:
                parameters[UNTIL] = bound(window.until, GREATEST, connection, integer=window.integer)
            result = await transaction.run(cast(Any, statement.text), parameters)
            passed(Stage.QUERY)
        keys = result.keys()
        if not keys:
            raise QueryRejected("The query returns no columns: it must end with a RETURN.")
        expected = None
        if window.rows is not None:
            expected = await _expected(config, statement, parameters)
        columns = tuple(Column(key, "any", pl.String, json=True) for key in keys)
        yield Reading(
            # The only column may turn out to hold nodes.
            columns=columns if len(columns) > 1 else None,
            watermark=None if reached is None else reached - timedelta(microseconds=1),
            batches=_batches(result, batch_size, named, window.rows),
            # A node that is deleted while its row is made comes with nulls, and never was so. Nodes alone may have
            # no key, some of them.
            id_required=named.key is not None or KEY in keys,
            expected=expected,
        )


@asynccontextmanager
async def _session(config: Config, fetch_size: int, passed: Heard) -> AsyncIterator[neo4j.AsyncSession]:
    with ours():
        driver = neo4j.AsyncGraphDatabase.driver(
            "bolt://" + config.uri.partition("://")[2],
            auth=(config.user, config.password.get_secret_value()),
            ssl_context=ssl.create_default_context() if config.tls == "verify" else None,
            connection_timeout=CONNECT_SECONDS,
            connection_acquisition_timeout=CONNECT_SECONDS,
            max_connection_pool_size=1,
            user_agent="qanatix",
            notifications_min_severity="OFF",
            telemetry_disabled=True,
        )
        pool: Any = driver._pool  # noqa: SLF001
        replaced(pool, "opener", partial(_opened, pool.pool_config, passed), kind=FunctionType)
        session = driver.session(database=config.database, default_access_mode=neo4j.READ_ACCESS, fetch_size=fetch_size)
    try:
        yield session
    finally:
        with ours():
            # A transaction that only read needs no farewell, and a server that does not answer is not waited for.
            for connections in pool.connections.values():
                for connection in connections:
                    connection.kill()
            session.cancel()
            await session.close()
            await driver.close()


@overriding(AsyncBoltSocket, "close")
class _Socket(AsyncBoltSocket):
    def close(self) -> None:
        """The driver's leaves TLS to say goodbye in the background, where the end of the loop cuts it off."""
        self._writer.transport.abort()


@overriding(AsyncInbox, "pop")
class _Inbox(BoundedInbox, AsyncInbox):
    _buffer_one_chunk = seeing(AsyncInbox, "_buffer_one_chunk", receive_into_buffer=bounded(receive_into_buffer))


async def _opened(pool_config: Any, passed: Heard, address: Any, auth_manager: Any, deadline: Any) -> Any:
    """A connection of ours, logged in, as the driver's own pool opens it but for its socket and its inbox."""
    try:
        connection = await _open(
            AsyncBolt,
            address,
            auth_manager=auth_manager,
            deadline=deadline,
            routing_context=None,
            pool_config=pool_config,
        )
    except ServiceUnavailable as error:
        # Another database's server answers Bolt's greeting with words of its own and closes. Whether the words or the
        # reset is seen first is chance. A reset amid TLS's own greeting tells of a server without TLS.
        causes = list(causes_of(error))
        reset = any(isinstance(cause, ConnectionResetError | BrokenPipeError) for cause in causes)
        if reset and not any(isinstance(cause, BoltSecurityError) for cause in causes):
            raise _hung_up() from None
        raise
    passed(Stage.LOGIN)
    return connection


def _connection(protocol: Any, *args: Any, **options: Any) -> Any:
    """A connection of one of the driver's classes, of which there is one for each version of Bolt."""
    connection = protocol(*args, **options)
    inbox: Any = _Inbox
    failed, unpacker = connection._set_defunct_read, connection.UNPACKER_CLS  # noqa: SLF001
    replaced(connection, "inbox", inbox(connection.socket, failed, unpacker), kind=AsyncInbox)
    return connection


_PROTOCOLS: Mapping[Any, Any] = {
    version: partial(_connection, protocol) for version, protocol in AsyncBolt.protocol_handlers.items()
}
_open = seeing(AsyncBolt, "open", AsyncBoltSocket=_Socket, AsyncBolt=SimpleNamespace(protocol_handlers=_PROTOCOLS))


async def _told(session: neo4j.AsyncSession, query: LiteralString | neo4j.Query) -> Any:
    """The only value that a query returns."""
    return (await (await session.run(query)).single(strict=True))[0]


async def _check_account(session: neo4j.AsyncSession) -> bool:
    """Whether the server says what the user may do. Raises AccountTooStrong."""
    try:
        roles = await _told(session, account.RIGHTS)
    except ClientError as error:
        if not (error.code or "").startswith(account.NOT_TOLD):
            raise
        return False
    account.check(roles)
    return roles is not None


async def _expected(config: Config, statement: CypherQuery, parameters: dict[str, Any]) -> Expected:
    """It is asked over a connection of its own: an answer that cannot be read, such as a plan that is nested too deeply
    for Python, breaks the connection.
    """
    plan = None
    types = set[str]()
    with suppress(SourceError):
        async with _session(config, 1, unheard) as session:
            with _reported():
                result = await session.run(cast(Any, f"EXPLAIN {statement.text}"), parameters)
                plan = await asyncio.to_thread(plans.plan_of, (await result.consume()).plan, statement.text)
                for one in await asyncio.to_thread(properties.compared, statement.text):
                    question = neo4j.Query(cast(Any, one.question), timeout=properties.SECONDS)
                    types |= properties.known_types(await _told(session, question))
    bound = "INTEGER" if isinstance(parameters.get(LAST_PULL), int) else "ZONED DATETIME"
    told = tuple(sorted(types)) or ((bound,) if statement.asked.last_pull else ())
    return Expected(told, plan, tuple(sorted(types - properties.COMPARABLE[bound])))


async def _sight(config: Config) -> Sight | None:
    """None if the server does not say. It is asked over a connection of its own, as `_expected` asks."""
    with suppress(SourceError):
        async with _session(config, 1, unheard) as session:
            with _reported():
                try:
                    sees = bool(await _told(session, plans.SEES_ALL))
                except ClientError as error:
                    return Sight() if error.code == plans.HAS_NO_PRIVILEGES else None
                return Sight() if sees else Sight(plans.SEE_ALL.format(database=config.database, user=config.user))
    return None


async def _batches(result: neo4j.AsyncResult, batch_size: int, named: Named, limit: int | None) -> AsyncIterator[Batch]:
    names, key = result.keys(), named.key or KEY
    gathering = Gathering(batch_size, "any", replace(named, key=key), names if len(names) > 1 else ())
    rows = _rows(result, key) if limit is None else at_most(limit, _rows(result, key))
    while True:
        with _reported():
            batch = await gathering.filled(rows)
        if batch is None:
            return
        yield batch
        del batch  # before the next one is read


async def _rows(result: neo4j.AsyncResult, key: str) -> AsyncIterator[Row]:
    graph = result._hydration_scope.get_graph()  # noqa: SLF001
    async for record in result:  # the driver reads one when it is asked for, however many it told the server to send
        size = result._connection.inbox.message_bytes  # noqa: SLF001
        row: Row = {}, None, OVERSIZED
        if size <= MAX_ROW_BYTES:
            row = await asyncio.to_thread(fields, record, key) if size > LARGE_BYTES else fields(record, key)
        # The driver would keep every node of a result until its end.
        graph._nodes.clear()  # noqa: SLF001
        graph._relationships.clear()  # noqa: SLF001
        yield row
    # A connection that somebody ends by dbms.killConnection is told that it has all of the result. Only the end of one
    # says how long it took (Bolt manual, "PULL").
    if (await result.consume()).result_consumed_after is None:
        raise connection_lost()


@contextmanager
def _reported(query: str | None = None) -> Iterator[None]:
    """Work of the driver for us. Its exceptions become ours, without their text: the server wrote that.

    `query` is given where it may be at fault.
    """
    try:
        with ours():
            yield
    except (SourceError, LibraryChanged):
        raise
    except Neo4jError as error:
        words = None if query is None else cypher_words(query)
        raise explained(error.code or "", error.message or "", words) from None
    except (ServiceUnavailable, SessionExpired, UnsupportedServerProduct, BoltError, OSError, UnicodeError) as error:
        raise _unreachable(error) from None
    except Exception as error:  # noqa: BLE001  # a server that breaks the protocol makes the driver raise anything
        raise SourceFailed(f"The source's answer could not be read ({type(error).__name__}).") from None


def _unreachable(error: BaseException) -> SourceError:
    causes = list(causes_of(error))
    if any(isinstance(cause, BoltSecurityError) for cause in causes) and not isinstance(causes[-1], ssl.SSLError):
        return TlsFailed(
            "The source offers no TLS. If it is meant that everything, the password too, goes unencrypted, begin the "
            "uri with bolt:// and set tls to disabled."
        )
    if any(isinstance(cause, BoltHandshakeError | BoltProtocolError | UnsupportedServerProduct) for cause in causes):
        return SourceUnreachable("What answers at the source's host and port is no Neo4j: Bolt's port is 7687.")
    return network_fault(error, CONNECT_SECONDS, otherwise=_hung_up())


def _hung_up() -> SourceError:
    return SourceUnreachable("The source closed the connection, or what listens there is no Neo4j.", transient=True)
