"""Neo4j, by its own driver over Bolt: one read-only transaction, one Cypher query, streamed as it is fetched.

The driver is imported where it is used: that takes longer than all the rest of a pull's imports from here.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, LiteralString, cast

import polars as pl
from pydantic import AfterValidator, Field, SecretStr, StringConstraints, ValidationInfo, field_validator

from qanatix_pipelines.accounts import neo4j as account
from qanatix_pipelines.addresses.neo4j import bolt_uri
from qanatix_pipelines.addresses.parts import is_this_machine
from qanatix_pipelines.batches import MAX_ROW_BYTES, Batch, Column, Named, Reading
from qanatix_pipelines.clocks.neo4j import bound, reach
from qanatix_pipelines.errors import (
    QueryRejected,
    SourceError,
    SourceFailed,
    SourceUnreachable,
    TlsFailed,
)
from qanatix_pipelines.faults.neo4j import explained
from qanatix_pipelines.faults.network import causes_of, connection_lost, network_fault
from qanatix_pipelines.gates.neo4j import LARGE_BYTES, bound_messages, last_message_bytes
from qanatix_pipelines.queries.cypher import NAME, cypher_words, parse_cypher
from qanatix_pipelines.queries.slips import check_cypher
from qanatix_pipelines.rejections import GIANT
from qanatix_pipelines.sources import Source, SourceConfig
from qanatix_pipelines.tls import Tls
from qanatix_pipelines.values.documents import Gathering, Row
from qanatix_pipelines.values.neo4j import fields
from qanatix_pipelines.watermarks import Window

if TYPE_CHECKING:
    import neo4j

KEY = "id"
CONNECT_SECONDS = 10
TRANSACTION_SECONDS = 604_800  # at the server: the most that QANATIX_PULL_SECONDS may say

# It logs an error whole, with addresses and a server's words.
logging.getLogger("neo4j").setLevel(logging.CRITICAL + 1)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text


_Text = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]


class Config(SourceConfig):
    """connection_config of a neo4j connector. `uri` is kept as it is connected to, by `bolt_uri`."""

    uri: Annotated[str, AfterValidator(bolt_uri)]
    user: _Text
    password: SecretStr = Field(min_length=1)
    database: _Text
    tls: Literal["verify", "disabled"] | None = Field(None, validate_default=True)

    @field_validator("tls", mode="after")
    @classmethod
    def _never_given_up_silently(cls, tls: str | None, info: ValidationInfo) -> str:
        scheme, _, address = info.data.get("uri", "bolt://localhost:").partition("://")
        if scheme == "bolt+s":
            if tls == "disabled":
                raise ValueError("is 'disabled', but the uri's scheme asks for TLS")
            return "verify"
        if tls is None and not is_this_machine(address.rpartition(":")[0].strip("[]")):
            raise ValueError(
                "must be said where the uri's scheme asks for no TLS and names another machine: begin the uri with "
                "bolt+s://, or say 'disabled' if it is meant that everything, the password too, goes unencrypted"
            )
        return tls or "disabled"

    def place(self) -> tuple[object, ...]:
        return self.uri.partition("://")[2], self.database, self.user

    def connection(self) -> dict[str, str | int]:
        host, _, port = self.uri.partition("://")[2].rpartition(":")
        return {"host": host.strip("[]"), "port": int(port), "database": self.database, "user": self.user}

    def protection(self) -> Tls:
        return "verified" if self.tls == "verify" else "none"


class Neo4j(Source):
    config_type = Config
    title = "Neo4j"
    kind = "neo4j"

    def __init__(self, config: Config) -> None:
        self._config = config

    @classmethod
    def check_query(cls, query: str) -> bool:
        asks = parse_cypher(query).asks_for_last_pull
        check_cypher(query)
        return asks

    @asynccontextmanager
    async def read(self, query: str, *, window: Window, batch_size: int) -> AsyncIterator[Reading]:
        from neo4j.exceptions import ClientError

        statement = parse_cypher(query)
        async with _session(self._config, batch_size) as session:
            with _reported(query):
                if not self.strong_accounts:
                    await _check_account(session)
                # In this order: what was committed before it is `reached` is there when the query starts.
                clock = reached = None
                if statement.asks_for_last_pull:
                    clock, reached = await reach(partial(_told, session), ClientError)
                transaction = await session.begin_transaction(timeout=TRANSACTION_SECONDS)
                parameters = {}
                if clock is not None:
                    connection = transaction._connection  # noqa: SLF001
                    parameters[NAME] = bound(window.start(clock), connection, integer=window.integer)
                result = await transaction.run(cast(Any, statement.text), parameters)
            keys = result.keys()
            if not keys:
                raise QueryRejected("The query returns no columns: it must end with a RETURN.")
            columns = tuple(Column(key, "any", pl.String, json=True) for key in keys)
            yield Reading(
                # The only column may turn out to hold nodes.
                columns=columns if len(columns) > 1 else None,
                watermark=None if reached is None else reached - timedelta(microseconds=1),
                batches=_batches(result, batch_size, self.named),
                # A node that is deleted while its row is made comes with nulls, and never was so. Nodes alone may have
                # no key, some of them.
                id_required=self.named.key is not None or KEY in keys,
            )


source = Neo4j


@asynccontextmanager
async def _session(config: Config, batch_size: int) -> AsyncIterator["neo4j.AsyncSession"]:
    import neo4j
    from neo4j._async.io._bolt import _common
    from neo4j._async_compat.network import AsyncBoltSocketBase

    # It would leave TLS to say goodbye in the background, where the end of the loop cuts it off.
    AsyncBoltSocketBase.close = _closed_at_once  # type: ignore[assignment, method-assign]
    bound_messages(_common)
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
    session = driver.session(database=config.database, default_access_mode=neo4j.READ_ACCESS, fetch_size=batch_size)
    try:
        yield session
    finally:
        # A transaction that only read needs no farewell, and a server that does not answer is not waited for.
        for connections in driver._pool.connections.values():  # noqa: SLF001
            for connection in connections:
                connection.kill()
        session.cancel()
        await session.close()
        await driver.close()


def _closed_at_once(socket: Any) -> None:
    socket._writer.transport.abort()  # noqa: SLF001


async def _told(session: "neo4j.AsyncSession", query: LiteralString) -> Any:
    """The only value that a query returns."""
    return (await (await session.run(query)).single(strict=True))[0]


async def _check_account(session: "neo4j.AsyncSession") -> None:
    from neo4j.exceptions import ClientError

    try:
        roles = await _told(session, account.RIGHTS)
    except ClientError as error:
        if not (error.code or "").startswith(account.NOT_TOLD):
            raise
    else:
        account.check(roles)


async def _batches(result: "neo4j.AsyncResult", batch_size: int, named: Named) -> AsyncIterator[Batch]:
    names, key = result.keys(), named.key or KEY
    gathering = Gathering(batch_size, "any", replace(named, key=key), names if len(names) > 1 else ())
    rows = _rows(result, key)
    while True:
        with _reported():
            batch = await gathering.filled(rows)
        if batch is None:
            return
        yield batch
        del batch  # before the next one is read


async def _rows(result: "neo4j.AsyncResult", key: str) -> AsyncIterator[Row]:
    graph = result._hydration_scope.get_graph()  # noqa: SLF001
    async for record in result:  # the driver reads one when it is asked for, however many it told the server to send
        size = last_message_bytes(result)
        row: Row = {}, None, GIANT
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
    """A driver's exception becomes one of ours, and nothing of its text passes: the server wrote it.

    `query` is given where it may be at fault.
    """
    from neo4j._exceptions import BoltError
    from neo4j.exceptions import Neo4jError, ServiceUnavailable, SessionExpired, UnsupportedServerProduct

    try:
        yield
    except SourceError:
        raise
    except Neo4jError as error:
        words = None if query is None else cypher_words(query)
        raise explained(error.code or "", error.message or "", words) from None
    except (ServiceUnavailable, SessionExpired, UnsupportedServerProduct, BoltError, OSError, UnicodeError) as error:
        raise _unreachable(error) from None
    except Exception as error:  # noqa: BLE001  # a server that breaks the protocol makes the driver raise anything
        raise SourceFailed(f"The source's answer could not be read ({type(error).__name__}).") from None


def _unreachable(error: BaseException) -> SourceError:
    from neo4j._exceptions import BoltHandshakeError, BoltProtocolError, BoltSecurityError
    from neo4j.exceptions import UnsupportedServerProduct

    causes = list(causes_of(error))
    if any(isinstance(cause, BoltSecurityError) for cause in causes) and not isinstance(causes[-1], ssl.SSLError):
        return TlsFailed(
            "The source offers no TLS. If that is meant, begin the uri with bolt:// and set tls to disabled."
        )
    if any(isinstance(cause, BoltHandshakeError | BoltProtocolError | UnsupportedServerProduct) for cause in causes):
        return SourceUnreachable("What answers at the source's host and port is no Neo4j: Bolt's port is 7687.")
    lost = SourceUnreachable("The source closed the connection, or what listens there is no Neo4j.", transient=True)
    return network_fault(error, CONNECT_SECONDS, otherwise=lost)
