"""PostgreSQL, by asyncpg: one read-only snapshot, one statement, streamed through a cursor.

The server itself does what its protocol can enforce. The user's query is prepared alone, which refuses a second
statement, and runs as a subquery of ours, which refuses anything but a query; both inside a read-only transaction. What
selects from it casts what Polars cannot hold exactly to text.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import asyncpg.protocol
from pydantic import SecretStr, field_validator

from qanatix_pipelines.accounts import postgresql as account
from qanatix_pipelines.addresses.postgresql import Dsn, parse_dsn, tls_context
from qanatix_pipelines.batches import Batch, Reading
from qanatix_pipelines.bounds.hashing import Hashing
from qanatix_pipelines.bounds.postgresql import BoundedProtocol
from qanatix_pipelines.clocks.postgresql import LOCAL, REACH, count_times, counted, numbered
from qanatix_pipelines.descriptions.postgresql import TYPES, Attribute, types, unknown
from qanatix_pipelines.errors import AccountTooStrong, QueryRejected, SourceError, TlsFailed
from qanatix_pipelines.faults.network import network_fault, unreadable
from qanatix_pipelines.faults.postgresql import condition, explained, place_of
from qanatix_pipelines.gates.postgresql import Gate
from qanatix_pipelines.placeholders import SqlQuery, greatest, sql_words
from qanatix_pipelines.queries.computed import computed
from qanatix_pipelines.queries.postgresql import NAMED, check_named, names, parse_as_server, parse_postgresql
from qanatix_pipelines.queries.slips import check_sql
from qanatix_pipelines.sessions.postgresql import asking, reading
from qanatix_pipelines.sources import Source, SourceConfig
from qanatix_pipelines.tls import Tls
from qanatix_pipelines.values.encodings import CODECS, as_bytes
from qanatix_pipelines.values.postgresql import made, selected
from qanatix_pipelines.watermarks import Watermark, Window

CONNECT_SECONDS = 10
CLOSE_SECONDS = 3

# What a server says that cannot compute with so early a time, or so low a number.
_OUT_OF_RANGE = (asyncpg.NumericValueOutOfRangeError, asyncpg.DatetimeFieldOverflowError)

log = logging.getLogger(__name__)
# The driver logs an error whole, with addresses and a server's words.
logging.getLogger("asyncpg").setLevel(logging.CRITICAL + 1)


class _Protocol(BoundedProtocol, asyncpg.protocol.Protocol):  # type: ignore[misc]
    """The driver's."""


# The driver has no option for either.
asyncpg.protocol.Protocol = _Protocol
vars(asyncpg.protocol.protocol)["hashlib"] = Hashing()


class Config(SourceConfig):
    """connection_config of a postgresql connector."""

    dsn: SecretStr

    @field_validator("dsn", mode="after")
    @classmethod
    def _readable(cls, dsn: SecretStr) -> SecretStr:
        parse_dsn(dsn.get_secret_value())
        return dsn

    def place(self) -> tuple[object, ...]:
        dsn = parse_dsn(self.dsn.get_secret_value())
        return dsn.host, dsn.port, dsn.database, dsn.user

    def connection(self) -> dict[str, str | int]:
        dsn = parse_dsn(self.dsn.get_secret_value())
        return {"host": dsn.host, "port": dsn.port, "database": dsn.database, "user": dsn.user}

    def protection(self) -> Tls:
        match parse_dsn(self.dsn.get_secret_value()).tls:
            case "disable":
                return "none"
            case "require" | "verify-ca":  # of any host, whoever is known to an authority gets such a certificate
                return "encrypted"
            case "verify-full":
                return "verified"


class PostgreSQL(Source):
    config_type = Config
    title = "PostgreSQL"
    kind = "postgres"

    def __init__(self, config: Config) -> None:
        self._dsn = parse_dsn(config.dsn.get_secret_value())

    @classmethod
    def check_query(cls, query: str) -> bool:
        asks = parse_postgresql(query).placeholders > 0
        check_sql(query, "postgres")
        return asks

    @classmethod
    def newest(cls, query: str, column: str) -> str:
        return greatest(parse_postgresql(query), '"' + column.replace('"', '""') + '"')

    @asynccontextmanager
    async def read(self, query: str, *, window: Window, batch_size: int) -> AsyncIterator[Reading]:
        with _reported():
            connection = await _connect(self._dsn)
        gate = Gate(connection._transport)  # noqa: SLF001  # the driver shows it to nobody
        protocol: _Protocol = connection._protocol  # noqa: SLF001  # which the driver forgets when it is lost
        version = connection.get_server_version().major
        try:
            with _reported(protocol):
                await connection.execute(asking(version))
                standard = getattr(connection.get_settings(), "standard_conforming_strings", "on")
                statement = parse_as_server(query, standard)
                # In this order: the snapshot must see every row that was committed before the clock was read.
                start, local, reached, notices = await self._ask(connection, statement, window)
                await connection.execute(reading(version, notices=notices))
                await count_times(connection)
            with _reported(protocol, statement):
                parameters, described = await protocol.describe(statement.numbered())
            with _reported(protocol, statement, places=False):
                asked = unknown([*parameters, *(oid for _, oid in described)])
                type_of = types(await connection.fetch(TYPES, asked) if asked else ())
                attributes = [Attribute(name, type_of(oid)) for name, oid in described]
                columns, wrapped = selected(statement.numbered(), attributes)
                codec = CODECS.get(getattr(connection.get_settings(), "server_encoding", "UTF8"))
                if codec is not None:
                    wrapped = as_bytes(wrapped, columns)
                kinds = [type_of(oid).told for oid in parameters]
                if len(kinds) != statement.placeholders:
                    raise QueryRejected("The query has a parameter of its own, such as $1: only :last_pull is bound.")
                bound = partial(numbered, start=start) if window.integer else partial(counted, start=start, local=local)
                arguments = [bound(kind) for kind in kinds]
                if start is None:
                    for place in await _out_of_range(connection, statement, kinds, arguments):
                        arguments[place] = bound(kinds[place], nearer=True)
                cursor = await (await connection.prepare(wrapped)).cursor(*arguments)
            yield Reading(
                columns=columns,
                watermark=reached if statement.placeholders else None,
                batches=_batches(gate, protocol, cursor, partial(made, columns=columns, codec=codec), batch_size),
            )
        finally:
            await _disconnect(connection, gate)

    async def _ask(
        self, connection: asyncpg.Connection, statement: SqlQuery, window: Window
    ) -> tuple[Watermark | None, datetime | None, datetime | None, bool]:
        """Where the window starts, the same in the database's zone, and how far a snapshot reaches that is begun after.

        None for the last where nothing is known of it. And whether the server can notice a connection that is gone.
        Raises AccountTooStrong, FunctionRefused, QueryRejected.
        """
        clock, seen, oldest, held, rights, notices = await connection.fetchrow(REACH)
        excess = account.excess(rights)
        if excess is not None:
            if not self.strong_accounts:
                raise AccountTooStrong(excess)
            text = statement.numbered()
            named = await connection.fetch(NAMED, *names(text))
            check_named(excess, [name for (name,) in named], text)
        start = window.start(clock)
        local = await connection.fetchval(LOCAL, start) if isinstance(start, datetime) else None
        reached = None if held or seen is None else min(seen, oldest or seen) - timedelta(microseconds=1)
        return start, local, reached, notices


source = PostgreSQL


async def _connect(dsn: Dsn) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=dsn.host,
        port=dsn.port,
        user=dsn.user,
        password=dsn.password,
        database=dsn.database,
        ssl=tls_context(dsn.tls),
        timeout=CONNECT_SECONDS,
        statement_cache_size=0,  # nothing runs twice, and a pooler such as PgBouncer may sit between
        server_settings={"application_name": "qanatix"},
    )


async def _out_of_range(
    connection: asyncpg.Connection, statement: SqlQuery, kinds: Sequence[str], least: Sequence[Any]
) -> list[int]:
    """The places of those placeholders from whose `least` the query computes what is out of range."""
    found: list[int] = []
    for expression, places in computed(statement, kinds):
        await connection.execute("SAVEPOINT computed")
        try:
            await connection.fetchrow(f"SELECT ({expression}) IS NULL", *(least[place] for place in places))
        except _OUT_OF_RANGE:
            found += places
        except asyncpg.PostgresError as error:
            # The query itself will tell what is wrong with it.
            log.debug("What is computed from the start of a first pull could not be tried: %s.", error.sqlstate)
        await connection.execute("ROLLBACK TO SAVEPOINT computed")
    return found


async def _disconnect(connection: asyncpg.Connection, gate: Gate) -> None:
    told = asyncio.get_running_loop().create_future()
    if gate.behind:
        # While it computes, the server does not notice that we are gone; and it must be told before we are.
        connection._cancel_current_command(told)  # noqa: SLF001
    # To end a query that was given up, the driver sends a cancel request over a connection of its own, in a task.
    cancellations = list(connection._cancellations)  # noqa: SLF001
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            if gate.behind:
                await told
                connection.terminate()
            else:
                await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, SourceError):
        connection.terminate()  # the far side is gone or does not answer: close our end of it
    await asyncio.gather(*cancellations, return_exceptions=True)


async def _batches(
    gate: Gate, protocol: _Protocol, cursor: Any, batch_of: Callable[..., Batch], batch_size: int
) -> AsyncIterator[Batch]:
    while True:
        with _reported(protocol):
            rows, giants = await gate.fetch(cursor, batch_size)
        if not rows:
            return
        batch = batch_of(rows, giants)
        del rows
        yield batch
        del batch  # before the next one is read


@contextmanager
def _reported(
    protocol: _Protocol | None = None, statement: SqlQuery | None = None, *, places: bool = True
) -> Iterator[None]:
    """A driver's exception becomes one of ours, and nothing of its text passes: the server wrote it.

    `protocol` is the connection's, once there is one. `statement` is given where it may be at fault, and `places` says
    whether those that the server names are its own.
    """
    try:
        yield
    except SourceError:
        raise
    except asyncpg.PostgresError as error:
        # Of a session that ends, the driver gives the server's reason as the cause of its own.
        said = error.__cause__ if isinstance(error.__cause__, asyncpg.PostgresError) else error
        raise _bound_of(error) or _explained(said, statement, places=places) from None
    except ConnectionError as error:
        if "rejected SSL upgrade" in str(error):
            raise TlsFailed("The source offers no TLS. If that is meant, add ?sslmode=disable to the dsn.") from None
        raise network_fault(error, CONNECT_SECONDS) from None
    except (OSError, UnicodeError) as error:  # TLS's too; a name that can be no host's is not even looked up
        raise network_fault(error, CONNECT_SECONDS) from None
    except Exception as error:  # noqa: BLE001  # the driver raises anything at an answer that is not PostgreSQL's
        raise _bound_of(error) or _unreadable(error, protocol) from None


def _bound_of(error: Exception) -> SourceError | None:
    """What our bounds refused, where the driver tells it as the cause of an error of its own."""
    return error.__cause__ if isinstance(error.__cause__, SourceError) else None


def _unreadable(error: Exception, protocol: _Protocol | None) -> SourceError:
    if protocol is not None and protocol.farewell is not None:
        return _explained(asyncpg.PostgresError.new({"C": protocol.farewell}), None)
    return unreadable(error, closed=protocol is not None and not protocol.is_connected())


def _explained(error: asyncpg.PostgresError, statement: SqlQuery | None, *, places: bool = False) -> SourceError:
    state, position, place = error.sqlstate or "", str(error.position or ""), ""
    if statement is not None:
        offset = statement.position_in_source(int(position)) - 1 if places and position.isdecimal() else None
        place = place_of(sql_words(statement, "postgres"), state, str(error), offset)
    return explained(state, condition(type(error)), place)
