"""Reads MySQL and MariaDB by asyncmy: one read-only snapshot, one statement, streamed unbuffered.

The driver streams over the text protocol only. There the values of `:last_pull` and `:until` are written into the
statement itself, as the driver's quoted literals: the client binds them, not the server. The server enforces the rest.
It takes one statement at a time: the driver always asks for more, so we take that back, and try it on every connection.
The session and the transaction are read-only. `parse_mysql` refuses what a read-only transaction still lets through:
INTO and LOAD_FILE.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import asyncmy.connection
from asyncmy import converters, errors
from asyncmy.constants import CLIENT
from asyncmy.cursors import SSCursor

from qanatix_pipelines.accounts import Account
from qanatix_pipelines.batches import Batch, Reading, first
from qanatix_pipelines.errors import QueryRejected, SourceError, SourceFailed, TlsFailed
from qanatix_pipelines.rejections import OVERSIZED
from qanatix_pipelines.sources.driver import CLOSE_SECONDS, CONNECT_SECONDS, ours, overriding, quiet
from qanatix_pipelines.sources.mysql import account
from qanatix_pipelines.sources.mysql.clock import SNAPSHOT, reach
from qanatix_pipelines.sources.mysql.columns import ColumnDefinition, Columns
from qanatix_pipelines.sources.mysql.config import Config, tls_context
from qanatix_pipelines.sources.mysql.faults import explained, place_of
from qanatix_pipelines.sources.mysql.logins import unanswered
from qanatix_pipelines.sources.mysql.plan import expected
from qanatix_pipelines.sources.mysql.query import bound, parse_mysql
from qanatix_pipelines.sources.mysql.row_gate import Rows
from qanatix_pipelines.sources.mysql.session import (
    TABLES,
    check_single_statements,
    given_up,
    limited,
    open_session,
    sql_modes,
)
from qanatix_pipelines.sources.mysql.values import DECODERS, ResultColumn, check_bits, frame, long_bits, result_column
from qanatix_pipelines.sources.mysql.zone import session_zone
from qanatix_pipelines.sources.network import network_fault
from qanatix_pipelines.sources.source import Heard, Stage
from qanatix_pipelines.sources.sql import NAME, SqlQuery, sql_words
from qanatix_pipelines.watermarks import Window

_HOST_ERROR = 2003  # the driver's own number for an error of the network, which is its cause

quiet("asyncmy")


@asynccontextmanager
async def read(
    config: Config,
    query: str,
    *,
    window: Window,
    batch_size: int,
    strong_accounts: bool,
    passed: Heard,
) -> AsyncIterator[Reading]:
    """Connect, check the account, bind `:last_pull`, begin the query in a snapshot, and disconnect at the end.

    Raises SourceError, here and while batches are read, and AccountTooStrong before the query runs.
    """
    await asyncio.to_thread(parse_mysql, query)
    with _reported():
        connection = await _connect(config)
    try:
        passed(Stage.LOGIN)
        with _reported():
            ask, mariadb = partial(_rows, connection), connection.is_mariadb
            statement = await asyncio.to_thread(parse_mysql, query, await sql_modes(ask))
            await check_single_statements(ask, errors.ProgrammingError)
            if not strong_accounts:
                account.check([grant.decode() for (grant,) in await _rows(connection, account.RIGHTS)])
            ((number,),) = await _rows(connection, "SELECT CONNECTION_ID()")
            connection.identity = number, connection._transport.get_extra_info("sockname")[1]  # noqa: SLF001
            # The clock first: the snapshot must see every row that was committed before what is reached.
            clock, reached, sees = await reach(ask, errors.OperationalError)
            waits = window.rows is not None and statement.asks_for(NAME) and not window.integer
            passed(Stage.ACCOUNT, Account(sight=account.sight(config.user, sees=sees) if waits else None))
            zone = await session_zone(ask, mariadb=mariadb)
            values = bound(statement, window.start(clock), window.until, zone, integer=window.integer)
            literals = [str(connection.literal(value)) for value in values]
            await connection.query(SNAPSHOT)
            told = None
            if window.rows is not None:
                told = await expected(ask, errors.MySQLError, statement, literals)
                await ask(limited(window.rows))
            if window.seconds is not None:
                await ask(given_up(window.seconds, mariadb=mariadb))
            cursor = connection.cursor(SSCursor)
        with _reported(statement, literals), _receiving(connection):
            await cursor.execute(statement.written(literals))
        passed(Stage.QUERY)
        if cursor.description is None:
            raise QueryRejected("The query returns no columns: it must be a SELECT, WITH, VALUES or TABLE.")
        fields = cursor._result.fields  # noqa: SLF001
        with _reported():
            await _check_bits(config, fields, mariadb=mariadb)
        columns = tuple(result_column(field, zone.instants) for field in fields)
        yield Reading(
            columns=tuple(column.column for column in columns),
            # Where it is unknown how far the snapshot is complete, the watermark stays where it is.
            watermark=reached - timedelta(microseconds=1) if reached and statement.asks_for(NAME) else None,
            batches=first(_batches(connection, columns, batch_size), window.rows),
            names_have_case=False,
            expected=told,
        )
    finally:
        with ours():
            await _disconnect(connection, config)


async def _check_bits(config: Config, fields: Sequence[ColumnDefinition], *, mariadb: bool) -> None:
    """Raises ResultUnusable if a BIT may come as something other than its bits."""
    bits = long_bits(fields)
    if mariadb or not bits:
        check_bits(bits, None)
        return
    # Rows are on their way over the first connection, so we ask over another. A view's column looks like a table's.
    connection = await _connect(config)
    try:
        tables = await _rows(connection, TABLES)
    finally:
        connection.close()
    check_bits(bits, {(schema.decode(), table.decode()) for schema, table in tables})


@overriding(asyncmy.connection.Connection, "_get_server_information", "close", "read_packet", "write_packet")
class _Connection(Rows, Columns, asyncmy.connection.Connection):  # type: ignore[misc]
    identity: tuple[int, int] | None = None  # its number at the server, and its port here

    async def _get_server_information(self) -> None:
        await super()._get_server_information()
        # Towards a server without TLS, the driver would go on with TLS, and fail in its parser.
        if self._ssl_context is not None and not self.server_capabilities & CLIENT.SSL:
            raise TlsFailed("The source offers no TLS. If that is meant, set tls to disabled.")
        self._client_flag &= ~CLIENT.MULTI_STATEMENTS

    def close(self) -> None:
        """Close the socket at once. TLS would wait for the server's farewell, with the socket open until then."""
        if self._transport is not None:
            self._transport.abort()
        super().close()


async def _connect(config: Config) -> _Connection:
    context = tls_context(config.protection())
    connection = _Connection(
        host=config.host,
        port=config.port,
        user=config.user,
        password=config.password.get_secret_value().encode(),  # the driver would encode a str as Latin-1
        database=config.database,
        ssl=context,
        charset="utf8mb4",
        use_unicode=False,
        conv={**DECODERS, datetime: converters.escape_datetime, int: converters.escape_int, str: converters.escape_str},
        autocommit=True,
        local_infile=False,
        connect_timeout=CONNECT_SECONDS,
        auth_plugin_map=unanswered(encrypted=context is not None),
        program_name="qanatix",
    )
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await connection.connect()
            await open_session(partial(_rows, connection), mariadb=connection.is_mariadb)
    except BaseException:
        connection.close()
        raise
    return connection


async def _rows(connection: _Connection, query: str) -> tuple[tuple[Any, ...], ...]:
    await connection.query(query)
    rows: tuple[tuple[Any, ...], ...] = connection._result.rows  # noqa: SLF001  # no cursor: it would log warnings
    return rows


async def _batches(connection: _Connection, columns: tuple[ResultColumn, ...], batch_size: int) -> AsyncIterator[Batch]:
    while True:
        with _reported(), _receiving(connection):
            rows, oversized = await connection.fetch(batch_size)
            if not rows:
                return
            read, faults = frame(rows, columns)
            batch = Batch(
                read, tuple(column.column for column in columns), faults | dict.fromkeys(oversized, OVERSIZED)
            )
        del rows
        yield batch
        del batch  # before the next one is read


@contextmanager
def _receiving(connection: _Connection) -> Iterator[None]:
    """Receive from the server in this block only. Otherwise the driver would buffer rows while we store a batch."""
    transport = connection._transport  # noqa: SLF001
    transport.resume_reading()
    try:
        yield
    finally:
        if not transport.is_closing():
            transport.pause_reading()


async def _disconnect(connection: _Connection, config: Config) -> None:
    transport, protocol, result = connection._transport, connection._proto, connection._result  # noqa: SLF001
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            if transport is not None and not (result is not None and result.unbuffered_active):
                transport.resume_reading()
                await connection.ensure_closed()
                return
            if transport is not None:
                transport.abort()  # rows are still on their way
                await protocol.wait_closed()
                connection.close()
            await _kill(connection, config)
    except (OSError, TimeoutError, errors.MySQLError, SourceError):
        if transport is not None:
            transport.abort()


async def _kill(abandoned: _Connection, config: Config) -> None:
    """Kill what the server still does for a closed connection. It notices the close only when it next sends a row.

    Behind a proxy, another server may answer, where the number is another session's. So the port of its client must be
    ours, too.
    """
    if abandoned.identity is None:
        return
    number, port = abandoned.identity
    connection = await _connect(config)
    try:
        find = f"SELECT 1 FROM information_schema.processlist WHERE id = {number} AND host LIKE '%:{port}'"
        if await _rows(connection, find):
            await connection.query(f"KILL {number}")
        await connection.ensure_closed()
    finally:
        connection.close()


@contextmanager
def _reported(statement: SqlQuery | None = None, literals: Sequence[str] = ()) -> Iterator[None]:
    """Turn a driver's exception into one of ours. Nothing of its text passes, because the server wrote it.

    The driver's work in this block is ours (`driver.ours`). `statement` is given where it may be at fault, and
    `literals` are what was written for its placeholders.
    """
    try:
        with ours():
            yield
    except SourceError:
        raise
    except errors.MySQLError as error:
        raise _explained(error, statement, literals) from None
    except TimeoutError as error:
        raise network_fault(error, CONNECT_SECONDS) from None
    except Exception as error:  # noqa: BLE001  # the driver's parser raises anything at an answer that is not MySQL's
        raise SourceFailed(f"The source's answer could not be read ({type(error).__name__}).") from None


def _explained(error: errors.MySQLError, statement: SqlQuery | None, literals: Sequence[str]) -> SourceError:
    number = next((part for part in error.args if isinstance(part, int)), 0)
    if number == _HOST_ERROR:
        return network_fault(error, CONNECT_SECONDS)
    place = ""
    if statement is not None:
        message, in_source = str(error.args[-1]), partial(statement.position_in_source, instead=literals)
        place = place_of(sql_words(statement, "mysql"), number, message, statement.written(literals), in_source)
    return explained(number, str(error.sqlstate or ""), place)
