"""Reads PostgreSQL by asyncpg: one read-only snapshot, one statement, streamed through a cursor.

The server enforces what it can. The user's query is prepared by itself, so a second statement is refused. It runs as a
subquery of ours, so anything but a query is refused. Both happen in a read-only transaction. Our outer statement casts
to text what Polars cannot hold exactly.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import asyncpg.connect_utils
import asyncpg.protocol

from qanatix_pipelines.accounts import Account
from qanatix_pipelines.batches import Batch, Expected, Plan, Reading, first
from qanatix_pipelines.errors import AccountTooStrong, QueryRejected, SourceError, TlsFailed
from qanatix_pipelines.places import shown
from qanatix_pipelines.sources.driver import CLOSE_SECONDS, CONNECT_SECONDS, ours, quiet, replaced_in_module
from qanatix_pipelines.sources.hashing import bound_hashing
from qanatix_pipelines.sources.network import network_fault, unreadable
from qanatix_pipelines.sources.postgresql import account
from qanatix_pipelines.sources.postgresql.clock import LOCAL, NEARER, REACH, UNSEEN, Bound, End, count_times, sight_of
from qanatix_pipelines.sources.postgresql.computed import computed
from qanatix_pipelines.sources.postgresql.config import Dsn, tls_context
from qanatix_pipelines.sources.postgresql.encodings import CODECS, as_bytes
from qanatix_pipelines.sources.postgresql.faults import condition, explained, place_of
from qanatix_pipelines.sources.postgresql.greeting import BoundedProtocol
from qanatix_pipelines.sources.postgresql.plan import MAX_BYTES, plan_of
from qanatix_pipelines.sources.postgresql.query import NAMED, check_named, names, parse_as_server
from qanatix_pipelines.sources.postgresql.row_gate import Gate
from qanatix_pipelines.sources.postgresql.session import asking, reading
from qanatix_pipelines.sources.postgresql.types import TYPES, Attribute, types, unknown
from qanatix_pipelines.sources.postgresql.values import made, selected
from qanatix_pipelines.sources.source import Heard, Stage
from qanatix_pipelines.sources.sql import NAME, UNTIL, SqlQuery, sql_words
from qanatix_pipelines.watermarks import Window

# The server's errors where it cannot compute with so early a time, or so low a number.
_OUT_OF_RANGE = (asyncpg.NumericValueOutOfRangeError, asyncpg.DatetimeFieldOverflowError)

log = logging.getLogger(__name__)
quiet("asyncpg")


class _Protocol(BoundedProtocol, asyncpg.protocol.Protocol):  # type: ignore[misc]
    """What the driver makes for each of our connections."""


# The driver has no option for either.
replaced_in_module(asyncpg.connect_utils, "protocol", Protocol=_Protocol)
bound_hashing(asyncpg.protocol.protocol)


@asynccontextmanager
async def read(
    dsn: Dsn, query: str, *, window: Window, batch_size: int, strong_accounts: bool, passed: Heard
) -> AsyncIterator[Reading]:
    """Connect, check the account, bind `:last_pull`, open a cursor over the query, and disconnect at the end.

    Raises SourceError, here and while batches are read, and AccountTooStrong before the query runs.
    """
    with _reported():
        connection = await _connect(dsn)
    gate = Gate(connection._transport)  # noqa: SLF001  # the driver shows it to nobody
    protocol: _Protocol = connection._protocol  # noqa: SLF001  # the driver forgets it when the connection is lost
    version = connection.get_server_version().major
    try:
        passed(Stage.LOGIN)
        with _reported(protocol):
            await connection.execute(asking(version))
            standard = getattr(connection.get_settings(), "standard_conforming_strings", "on")
            statement = await asyncio.to_thread(parse_as_server, query, standard)
            # The clock first: the snapshot must see every row that was committed before the clock was read.
            ends, reached, notices = await _ask(connection, statement, window, strong_accounts=strong_accounts)
            waits = window.rows is not None and statement.asks_for(NAME) and not window.integer
            sight = sight_of(await connection.fetchval(UNSEEN), dsn.user) if waits else None
            await connection.execute(reading(version, notices=notices))
            passed(Stage.ACCOUNT, Account(sight=sight))
            await count_times(connection)
        with _reported(protocol, statement):
            parameters, described = await protocol.describe(statement.numbered())
        passed(Stage.QUERY)
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
                raise QueryRejected(
                    "The query has a parameter of its own, such as $1: only :last_pull and :until are bound."
                )
            bound = Bound([ends[name] for name in statement.names], kinds, integer=window.integer)
            await _bring_nearer(connection, statement, bound)
            expected = None
            if window.rows is not None:
                compared = dict.fromkeys(shown(kinds[place]) for place in bound.places_of(NAME))
                expected = Expected(tuple(compared), await _planned(protocol, connection, wrapped, bound))
            limited = wrapped if window.rows is None else f"{wrapped}\nLIMIT {window.rows}"
            cursor = await (await connection.prepare(limited)).cursor(*bound.values)
        batches = _batches(gate, protocol, cursor, partial(made, columns=columns, codec=codec), batch_size)
        yield Reading(
            columns=columns,
            watermark=reached if statement.asks_for(NAME) else None,
            batches=first(batches, window.rows),
            expected=expected,
        )
    finally:
        with ours():
            await _disconnect(connection, gate)


async def _ask(
    connection: asyncpg.Connection, statement: SqlQuery, window: Window, *, strong_accounts: bool
) -> tuple[dict[str, End], datetime | None, bool]:
    """Ask the server before the snapshot is taken.

    Returns the ends of the window by the names of their placeholders, the source-clock time up to which a later
    snapshot is complete (None if that is unknown), and whether the server can notice that a client is gone. Raises
    AccountTooStrong, FunctionRefused, QueryRejected.
    """
    clock, seen, oldest, held, rights, notices = await connection.fetchrow(REACH)
    excess = account.excess(rights)
    if excess is not None:
        if not strong_accounts:
            raise AccountTooStrong(excess)
        text = statement.numbered()
        named = await connection.fetch(NAMED, *await asyncio.to_thread(names, text))
        check_named(excess, [name for (name,) in named], text)
    ends = {}
    for name, at in ((NAME, window.start(clock)), (UNTIL, window.until)):
        local = await connection.fetchval(LOCAL[name], at) if isinstance(at, datetime) else None
        ends[name] = End(name, at, local)
    reached = None if held or seen is None else min(seen, oldest or seen) - timedelta(microseconds=1)
    return ends, reached, notices


async def _connect(dsn: Dsn) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=dsn.host,
        port=dsn.port,
        user=dsn.user,
        password=dsn.password,
        database=dsn.database,
        ssl=tls_context(dsn.tls),
        timeout=CONNECT_SECONDS,
        statement_cache_size=0,  # nothing runs twice, and a pooler such as PgBouncer may stand between
        server_settings={"application_name": "qanatix"},
    )


async def _bring_nearer(connection: asyncpg.Connection, statement: SqlQuery, bound: Bound) -> None:
    """Bring an end of the window nearer that has no value, where an expression of the query cannot be computed of it.

    Where that goes out of range, it fails. Of infinity many functions make null, or refuse it.
    """
    for expression, places in await asyncio.to_thread(computed, statement, bound.kinds) if bound.open else ():
        endless = any(bound.is_endless(place) for place in places)
        for nearer in range(NEARER + 1):
            for place in places:
                bound.bring(place, nearer)
            await connection.execute("SAVEPOINT computed")
            try:
                is_null = await connection.fetchval(
                    f"SELECT ({expression}) IS NULL", *(bound.values[place] for place in places)
                )
                fits = not (endless and is_null)
            except _OUT_OF_RANGE:
                fits = False
            except asyncpg.PostgresError as error:
                # If the query is wrong, running it will tell so.
                log.debug("What is computed from the end of a window could not be tried: %s.", error.sqlstate)
                fits = not endless
            await connection.execute("ROLLBACK TO SAVEPOINT computed")
            if fits:
                break


async def _planned(protocol: _Protocol, connection: asyncpg.Connection, query: str, bound: Bound) -> Plan | None:
    numbers = {str(place + 1) for place in bound.places_of(NAME)}
    protocol.plan_bytes = MAX_BYTES
    # The driver's own refusal is of a server that tells other parameters than there are.
    plan = await plan_of(connection, (asyncpg.PostgresError, asyncpg.InterfaceError), query, bound.values, numbers)
    protocol.plan_bytes = None
    return plan


async def _disconnect(connection: asyncpg.Connection, gate: Gate) -> None:
    told = asyncio.get_running_loop().create_future()
    if gate.behind:
        # While it computes, the server does not notice that we are gone. So it is told to cancel before we go.
        connection._cancel_current_command(told)  # noqa: SLF001
    # To cancel a query, the driver sends a request over another connection, in a task of its own.
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
            rows, oversized = await gate.fetch(cursor, batch_size)
        if not rows:
            return
        batch = batch_of(rows, oversized)
        del rows
        yield batch
        del batch  # before the next one is read


@contextmanager
def _reported(
    protocol: _Protocol | None = None, statement: SqlQuery | None = None, *, places: bool = True
) -> Iterator[None]:
    """Turn a driver's exception into one of ours. Nothing of its text passes, because the server wrote it.

    The driver's work in this block is ours (`driver.ours`). `protocol` is the connection's, once there is one.
    `statement` is given where it may be at fault. `places` says whether the server's positions are in its text.
    """
    try:
        with ours():
            yield
    except SourceError:
        raise
    except asyncpg.PostgresError as error:
        # Where a session ends, the driver raises an error of its own, with the server's reason as its cause.
        said = error.__cause__ if isinstance(error.__cause__, asyncpg.PostgresError) else error
        raise _bound_of(error) or _explained(said, statement, places=places) from None
    except ConnectionError as error:
        if "rejected SSL upgrade" in str(error):
            raise TlsFailed("The source offers no TLS. If that is meant, add ?sslmode=disable to the dsn.") from None
        raise network_fault(error, CONNECT_SECONDS) from None
    except (OSError, UnicodeError) as error:  # also TLS's; UnicodeError is of a name that can be no host's
        raise network_fault(error, CONNECT_SECONDS) from None
    except Exception as error:  # noqa: BLE001  # the driver raises anything at an answer that is not PostgreSQL's
        raise _bound_of(error) or _unreadable(error, protocol) from None


def _bound_of(error: Exception) -> SourceError | None:
    """The refusal by our bounds, which the driver passes on as the cause of an error of its own."""
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
