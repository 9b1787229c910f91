"""MySQL and MariaDB, by asyncmy: one read-only snapshot, one statement, streamed unbuffered.

The driver streams over the text protocol only, where it writes the value of `:last_pull` into the statement itself,
quoted: it is bound on the client, not by the server. The server enforces the rest, each on its own: one statement
(the driver always asks for more, which is taken back and tried on every connection), a session and a transaction that
are read-only. What a read-only transaction still lets through, INTO and LOAD_FILE, `parse_mysql` stops.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal

import asyncmy.connection
from asyncmy import converters, errors
from asyncmy.constants import CLIENT
from asyncmy.cursors import SSCursor
from pydantic import Field

from qanatix_pipelines.accounts import mysql as account
from qanatix_pipelines.addresses.mysql import Host, Secret, Text, tls_context
from qanatix_pipelines.addresses.parts import is_this_machine
from qanatix_pipelines.batches import Batch, Reading
from qanatix_pipelines.clocks.mysql import SNAPSHOT, reach
from qanatix_pipelines.clocks.mysql_zone import session_zone
from qanatix_pipelines.errors import QueryRejected, SourceError, SourceFailed, TlsFailed
from qanatix_pipelines.faults.mysql import explained, place_of
from qanatix_pipelines.faults.network import network_fault
from qanatix_pipelines.gates.mysql import Rows
from qanatix_pipelines.gates.mysql_columns import ColumnDefinition, Columns
from qanatix_pipelines.gates.mysql_logins import unanswered
from qanatix_pipelines.placeholders import SqlQuery, greatest, sql_words
from qanatix_pipelines.queries.mysql import bound, parse_mysql
from qanatix_pipelines.queries.slips import check_sql
from qanatix_pipelines.rejections import GIANT
from qanatix_pipelines.sessions.mysql import TABLES, check_single_statements, open_session, sql_modes
from qanatix_pipelines.sources import Source, SourceConfig
from qanatix_pipelines.tls import Tls
from qanatix_pipelines.values.mysql import DECODERS, ResultColumn, check_bits, frame, long_bits, result_column
from qanatix_pipelines.watermarks import Window

CONNECT_SECONDS = 10
CLOSE_SECONDS = 3

_HOST_ERROR = 2003  # a number of the driver's own: such an error has a cause

# It logs a server's warnings in the server's words.
logging.getLogger("asyncmy").setLevel(logging.CRITICAL + 1)


_PROTECTIONS: dict[str, Tls] = {"disabled": "none", "required": "encrypted", "verify": "verified"}


class Config(SourceConfig):
    """connection_config of a mysql connector. Without `tls` it is required, except towards this machine itself."""

    host: Host
    port: Annotated[int, Field(ge=1, le=65_535)] = 3306
    user: Text
    password: Secret
    database: Text
    tls: Literal["disabled", "required", "verify"] | None = None

    def place(self) -> tuple[object, ...]:
        return self.host, self.port, self.database, self.user

    def connection(self) -> dict[str, str | int]:
        return {"host": self.host, "port": self.port, "database": self.database, "user": self.user}

    def protection(self) -> Tls:
        if self.tls is None:
            return "none" if is_this_machine(self.host) else "encrypted"
        return _PROTECTIONS[self.tls]


class MySQL(Source):
    config_type = Config
    title = "MySQL and MariaDB"
    kind = "mysql"

    def __init__(self, config: Config) -> None:
        self._config = config

    @classmethod
    def check_query(cls, query: str) -> bool:
        asks = parse_mysql(query).placeholders > 0
        check_sql(query, "mysql")
        return asks

    @classmethod
    def newest(cls, query: str, column: str) -> str:
        return greatest(parse_mysql(query), "`" + column.replace("`", "``") + "`")

    @asynccontextmanager
    async def read(self, query: str, *, window: Window, batch_size: int) -> AsyncIterator[Reading]:
        parse_mysql(query)
        with _reported():
            connection = await _connect(self._config)
        try:
            with _reported():
                ask, mariadb = partial(_rows, connection), connection.is_mariadb
                statement = parse_mysql(query, await sql_modes(ask))
                await check_single_statements(ask, errors.ProgrammingError)
                if not self.strong_accounts:
                    account.check([grant.decode() for (grant,) in await _rows(connection, account.RIGHTS)])
                ((number,),) = await _rows(connection, "SELECT CONNECTION_ID()")
                connection.identity = number, connection._transport.get_extra_info("sockname")[1]  # noqa: SLF001
                # In this order: the snapshot must see every row that was committed before what is reached.
                clock, reached = await reach(ask, errors.OperationalError)
                zone = await session_zone(ask, mariadb=mariadb)
                arguments = bound(statement, window.start(clock), zone.least, integer=window.integer)
                await connection.query(SNAPSHOT)
                cursor = connection.cursor(SSCursor)
            literal = connection.literal(arguments[0]) if arguments else ""
            with _reported(statement, literal), _receiving(connection):
                await cursor.execute(statement.formatted(), arguments or None)
            if cursor.description is None:
                raise QueryRejected("The query returns no columns: it must be a SELECT, WITH, VALUES or TABLE.")
            fields = cursor._result.fields  # noqa: SLF001
            with _reported():
                await self._check_bits(fields, mariadb=mariadb)
            columns = tuple(result_column(field, zone.instants) for field in fields)
            yield Reading(
                columns=tuple(column.column for column in columns),
                # Where nothing is known of how far the snapshot reaches, the watermark stays where it is.
                watermark=reached - timedelta(microseconds=1) if reached and statement.placeholders else None,
                batches=_batches(connection, columns, batch_size),
                names_have_case=False,
            )
        finally:
            await _disconnect(connection, self._config)

    async def _check_bits(self, fields: Sequence[ColumnDefinition], *, mariadb: bool) -> None:
        """Raises ResultUnusable where a BIT may come as something else than its bits."""
        bits = long_bits(fields)
        if mariadb or not bits:
            check_bits(bits, None)
            return
        # Rows are on their way over the first connection. A view's column looks like a table's.
        connection = await _connect(self._config)
        try:
            tables = await _rows(connection, TABLES)
        finally:
            connection.close()
        check_bits(bits, {(schema.decode(), table.decode()) for schema, table in tables})


source = MySQL


class _Connection(Rows, Columns, asyncmy.connection.Connection):  # type: ignore[misc]
    identity: tuple[int, int] | None = None  # its number at the server, and its port here

    async def _get_server_information(self) -> None:
        await super()._get_server_information()
        # The driver would go on with TLS towards a server that has none, and end in its parser.
        if self._ssl_context is not None and not self.server_capabilities & CLIENT.SSL:
            raise TlsFailed("The source offers no TLS. If that is meant, set tls to disabled.")
        self._client_flag &= ~CLIENT.MULTI_STATEMENTS

    def close(self) -> None:
        """At once. A farewell of TLS's would be waited for, by a socket that stays open until then."""
        if self._transport is not None:
            self._transport.abort()
        super().close()


async def _connect(config: Config) -> _Connection:
    context = tls_context(config.protection())
    connection = _Connection(
        host=config.host,
        port=config.port,
        user=config.user,
        password=config.password.get_secret_value().encode(),  # text it would encode as Latin-1
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
            rows, giants = await connection.fetch(batch_size)
            if not rows:
                return
            read, faults = frame(rows, columns)
            batch = Batch(read, tuple(column.column for column in columns), faults | dict.fromkeys(giants, GIANT))
        del rows
        yield batch
        del batch  # before the next one is read


@contextmanager
def _receiving(connection: _Connection) -> Iterator[None]:
    """Take what the server sends, but not beyond: the driver would buffer a whole result while we store a batch."""
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
    """End what the server still does for a closed connection: it notices that only when it next sends a row.

    Behind a proxy another server may answer, and the number be another's; so its client's port must be ours, too.
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
def _reported(statement: SqlQuery | None = None, literal: str = "") -> Iterator[None]:
    """A driver's exception becomes one of ours, and nothing of its text passes: the server wrote it.

    `statement` is given where it may be at fault, and `literal` is what was written for its placeholders.
    """
    try:
        yield
    except SourceError:
        raise
    except errors.MySQLError as error:
        raise _explained(error, statement, literal) from None
    except TimeoutError as error:
        raise network_fault(error, CONNECT_SECONDS) from None
    except Exception as error:  # noqa: BLE001  # the driver's parser raises anything at an answer that is not MySQL's
        raise SourceFailed(f"The source's answer could not be read ({type(error).__name__}).") from None


def _explained(error: errors.MySQLError, statement: SqlQuery | None, literal: str) -> SourceError:
    number = next((part for part in error.args if isinstance(part, int)), 0)
    if number == _HOST_ERROR:
        return network_fault(error, CONNECT_SECONDS)
    place = ""
    if statement is not None:
        message, in_source = str(error.args[-1]), partial(statement.position_in_sent, literal=literal)
        place = place_of(sql_words(statement, "mysql"), number, message, literal.join(statement.parts), in_source)
    return explained(number, str(error.sqlstate or ""), place)
