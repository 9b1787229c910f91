"""PostgreSQL, by asyncpg: one read-only snapshot, one statement, streamed through a cursor.

The server itself does what its protocol can enforce. The user's query is prepared alone, which refuses a second
statement, and runs as a subquery of ours, which refuses anything but a query; both inside a read-only transaction. What
selects from it casts what Polars cannot hold exactly to text.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, cast

import asyncpg
import asyncpg.protocol
import polars as pl
from pydantic import SecretStr, field_validator

from qanatix_pipelines.accounts import postgresql as account
from qanatix_pipelines.addresses.postgresql import Dsn, parse_dsn
from qanatix_pipelines.batches import Batch, Column, Reading
from qanatix_pipelines.bounds.hashing import Hashing
from qanatix_pipelines.bounds.postgresql import BoundedProtocol
from qanatix_pipelines.descriptions.postgresql import TYPES, Attribute, types, unknown
from qanatix_pipelines.errors import (
    AccountTooStrong,
    QueryRejected,
    SourceError,
    TlsFailed,
)
from qanatix_pipelines.faults.network import network_fault, unreadable
from qanatix_pipelines.faults.postgresql import explained, place_of
from qanatix_pipelines.gates.postgresql import Gate
from qanatix_pipelines.placeholders import SqlQuery, greatest, parse_sql, sql_words
from qanatix_pipelines.queries.postgresql import NAMED, check_named, names, parse_postgresql
from qanatix_pipelines.rejections import GIANT, Fault, Reason
from qanatix_pipelines.sources import Source, SourceConfig
from qanatix_pipelines.tls import Tls
from qanatix_pipelines.values.encodings import CODECS, as_bytes, decoded
from qanatix_pipelines.values.postgresql import selected
from qanatix_pipelines.watermarks import Watermark, Window

CONNECT_SECONDS = 10
CLOSE_SECONDS = 3

# Neither how a query is read nor output must depend on the server's or the role's settings.
_SESSION = """
SET LOCAL standard_conforming_strings = on;
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
SET LOCAL IntervalStyle = 'iso_8601';
SET LOCAL extra_float_digits = 1;
SET LOCAL bytea_output = 'hex';
SET LOCAL lc_monetary = 'C';
"""

# The source's own clock, held back to the start of the oldest transaction that is still open: a row stamped in one of
# them may yet appear below the clock. What other roles do is visible to members of pg_read_all_stats only; for the
# rest the overlap stands in, as it does on a replica, which does not know what is open on its primary. A replica has
# seen nothing newer than what it last replayed. Of a prepared transaction nobody knows when it began. The clock is read
# first: a transaction that begins between the two is newer.
_REACH = f"""
SELECT clock_timestamp(),
CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() ELSE clock_timestamp() END,
(SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database()),
{account.RIGHTS}
"""
# Asked before the session's zone becomes UTC, for a column without a zone holds what the database calls local time. If
# its clocks are set back soon after, by two hours at the most, it is the earlier time that they will show then.
_LOCAL = """
SELECT least($1::timestamptz AT TIME ZONE zone, ($1 + interval '2 hours') AT TIME ZONE zone - interval '2 hours')
FROM current_setting('TimeZone') AS zone
"""
# What an integer's type can hold: (its least, its greatest).
_INTEGERS: dict[str, tuple[int, int]] = {
    f"int{size}": (-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1) for size in (2, 4, 8)
}


# It logs an error whole, with addresses and a server's words.
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
        return parse_postgresql(query).placeholders > 0

    @classmethod
    def newest(cls, query: str, column: str) -> str:
        return greatest(parse_postgresql(query), '"' + column.replace('"', '""') + '"')

    @asynccontextmanager
    async def read(self, query: str, *, window: Window, batch_size: int) -> AsyncIterator[Reading]:
        statement = parse_sql(query, dialect="postgres")
        with _reported():
            connection = await _connect(self._dsn)
        gate = Gate(connection._transport)  # noqa: SLF001  # the driver shows it to nobody
        protocol: _Protocol = connection._protocol  # noqa: SLF001  # which the driver forgets when it is lost
        try:
            with _reported(protocol):
                # In this order: the snapshot must see every row that was committed before the clock was read.
                clock, seen, oldest, held, rights = await connection.fetchrow(_REACH)
                excess = account.excess(rights)
                if excess is not None and not self.strong_accounts:
                    raise AccountTooStrong(excess)
                start = window.start(clock)
                local_start = await connection.fetchval(_LOCAL, start) if isinstance(start, datetime) else None
                await connection.transaction(isolation="repeatable_read", readonly=True).start()
                await connection.execute(_SESSION)
                if excess is not None:
                    text = statement.numbered()
                    named = await connection.fetch(NAMED, *names(text))
                    check_named(excess, [name for (name,) in named], text)
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
                kinds = [type_of(oid) for oid in parameters]
                if len(kinds) != statement.placeholders:
                    raise QueryRejected("The query has a parameter of its own, such as $1: only :last_pull is bound.")
                bound = _integer if window.integer else _time
                arguments = [bound(kind.told, start, local_start) for kind in kinds]
                cursor = await (await connection.prepare(wrapped)).cursor(*arguments)
            # Where nothing is known of how far the snapshot reaches, the watermark stays where it is.
            reached = None if held or seen is None else min(seen, oldest or seen) - timedelta(microseconds=1)
            yield Reading(
                columns=columns,
                watermark=reached if statement.placeholders else None,
                batches=_batches(gate, protocol, cursor, partial(_batch, columns=columns, codec=codec), batch_size),
            )
        finally:
            await _disconnect(connection, gate)


source = PostgreSQL


async def _connect(dsn: Dsn) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=dsn.host,
        port=dsn.port,
        user=dsn.user,
        password=dsn.password,
        database=dsn.database,
        ssl=_tls(dsn),
        timeout=CONNECT_SECONDS,
        statement_cache_size=0,  # nothing runs twice, and a pooler such as PgBouncer may sit between
        server_settings={"application_name": "qanatix"},
    )


def _tls(dsn: Dsn) -> ssl.SSLContext | bool:
    """A context of our own: given a mode's name, asyncpg would look for certificates in our home folder."""
    if dsn.tls == "disable":
        return False
    context = ssl.create_default_context()
    context.check_hostname = dsn.tls == "verify-full"
    if dsn.tls == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


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


def _time(kind: str, start: Watermark | None, local_start: datetime | None) -> Watermark | date:
    """`:last_pull` as the type that the server inferred for it. Python's least is PostgreSQL's -infinity."""
    if kind == "timestamptz":
        return datetime.min.replace(tzinfo=UTC) if start is None else start
    if kind == "timestamp":
        return datetime.min if local_start is None else local_start  # noqa: DTZ901  # no zone is the point
    if kind == "date":
        # The day of the last pull was not over: a day counts as seen only when it was.
        return date.min if local_start is None else local_start.date() - timedelta(days=1)
    raise QueryRejected(
        f":last_pull stands where the source expects the type {kind}. It is a point in time: compare it with a "
        "timestamp, timestamptz or date column, write :last_pull::timestamptz, or name the column of integers that it "
        "is compared with as cursor_column."
    )


def _integer(kind: str, start: Watermark | None, _local_start: datetime | None) -> Watermark | Decimal:
    if kind == "numeric":
        return Decimal("-Infinity") if start is None else Decimal(cast(int, start))
    if kind not in _INTEGERS:
        raise QueryRejected(
            f":last_pull stands where the source expects the type {kind}, but cursor_column says that it is an "
            "integer: compare it with a column of integers, write :last_pull::bigint, or leave cursor_column out."
        )
    least, greatest = _INTEGERS[kind]
    wanted = least if start is None else cast(int, start)
    return min(max(wanted, least), greatest)


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


def _batch(
    rows: Sequence[asyncpg.Record], giants: Collection[int], *, columns: tuple[Column, ...], codec: str | None
) -> Batch:
    """`codec` is that of the texts, where they came as their bytes."""
    faults: dict[int, Fault] = {}
    series = []
    # By column: Polars would hold a copy of all rows, many times their size, to turn them.
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        if codec is not None and column.dtype == pl.String:
            texts, unread = decoded(values, codec)
            series.append(pl.Series(column.name, texts, dtype=pl.String))
            faults |= dict.fromkeys(unread, Fault(Reason.NOT_UTF8, column.name))
        else:
            series.append(pl.Series(column.name, values, dtype=column.dtype))
    return Batch(pl.DataFrame(series), columns, faults | dict.fromkeys(giants, GIANT))


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
    condition = re.sub(
        r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", type(error).__name__.removesuffix("Error")
    ).lower()
    state, position, place = error.sqlstate or "", str(error.position or ""), ""
    if statement is not None:
        offset = statement.position_in_source(int(position)) - 1 if places and position.isdecimal() else None
        place = place_of(sql_words(statement, "postgres"), state, str(error), offset)
    return explained(state, condition, place)
