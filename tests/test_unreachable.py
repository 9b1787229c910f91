"""A source that cannot be talked to is told by what failed, with what to do next, in the same words by every driver."""

import asyncio
import errno
import importlib
import ssl
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.egress import Egress
from qanatix_pipelines.errors import AddressRefused, SourceError, SourceUnreachable, TlsFailed
from qanatix_pipelines.pull import PullOutcome
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.network import network_fault
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.watermarks import Window
from tests.servers import free_port
from tests.servers.tripwire import Tripwire

CONFIGS: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "postgresql": lambda host, port: {"dsn": f"postgresql://reader:secret@{host}:{port}/shop?sslmode=disable"},
    "mysql": lambda host, port: {
        "host": host,
        "port": port,
        "user": "reader",
        "password": "secret",
        "database": "shop",
        "tls": "disabled",
    },
    "mongodb": lambda host, port: {
        "uri": f"mongodb://reader:secret@{host}:{port}/?tls=false",
        "database": "shop",
        "collection": "orders",
    },
    "neo4j": lambda host, port: {
        "uri": f"bolt://{host}:{port}",
        "user": "reader",
        "password": "secret",
        "database": "neo4j",
        "tls": "disabled",
    },
}
QUERIES = {"mongodb": "{}", "neo4j": "RETURN 1 AS id"}
every_type = pytest.mark.parametrize("connector_type", CONFIGS)


def told(connector_type: str, host: str, port: int) -> SourceError:
    async def read() -> None:
        source = open_source(connector_type, CONFIGS[connector_type](host, port))
        async with source.read(QUERIES.get(connector_type, "SELECT 1"), window=Window(), batch_size=1):
            raise AssertionError("it was reached")

    with pytest.raises(SourceError) as caught:
        asyncio.run(read())
    return caught.value


@every_type
def test_a_name_that_does_not_resolve(connector_type: str) -> None:
    error = told(connector_type, "no-such-host.invalid", 1)

    assert isinstance(error, SourceUnreachable)
    assert str(error).startswith(("The source's host name does not resolve.", "The source's host name could not be"))


@every_type
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_at_which_nobody_listens(connector_type: str, host: str) -> None:
    error = told(connector_type, host, free_port())

    assert isinstance(error, SourceUnreachable)
    assert str(error).startswith("Nothing listens at the source's host and port")


@every_type
def test_a_host_that_takes_the_connection_and_says_nothing(
    connector_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        importlib.import_module(f"qanatix_pipelines.sources.{connector_type}.reading"), "CONNECT_SECONDS", 1
    )

    async def silent() -> str:
        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with closing(writer):
                await reader.read(-1)

        async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return str(await asyncio.to_thread(told, connector_type, "127.0.0.1", port))

    assert asyncio.run(silent()).startswith("The source did not answer within 1 seconds. Check its host and its port")


@pytest.mark.parametrize(
    ("error", "beginning"),
    [
        (OSError(errno.ENETUNREACH, ""), "The source's host cannot be reached from the machine where pulls run"),
        (OSError(errno.EHOSTUNREACH, ""), "The source's host cannot be reached from the machine where pulls run"),
        (OSError("Multiple exceptions: [Errno 111] Connect, [Errno 101] Connect"), "Nothing listens"),
        (OSError("Multiple exceptions: [Errno 113] Connect, [Errno 101] Connect"), "The source's host cannot be"),
        (TimeoutError(errno.ETIMEDOUT, ""), "The source did not answer within 10 seconds"),
        (ConnectionResetError(), "The source closed the connection"),
    ],
)
def test_what_the_system_says_of_a_connection(error: OSError, beginning: str) -> None:
    fault = network_fault(error, 10)

    assert str(fault).startswith(beginning)
    assert fault.transient


@pytest.mark.parametrize(
    ("verify_code", "why"),
    [
        (10, "it has expired"),
        (18, "it was not issued by an authority that the machine where pulls run trusts"),
        (62, "it is not this host's"),
        (999, "its chain does not hold"),
    ],
)
def test_a_certificate_that_does_not_hold_is_told_with_its_reason(verify_code: int, why: str) -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code = verify_code

    assert str(network_fault(error, 10)) == f"The source's TLS certificate could not be verified: {why}."


def test_what_a_driver_hides_is_found_again() -> None:
    error = LookupError()
    error.__context__, error.__suppress_context__ = ConnectionRefusedError(), True  # as `from None` leaves it

    assert str(network_fault(error, 10)).startswith("Nothing listens")


def test_where_nothing_of_the_network_is_behind_it_the_caller_says_what_it_is() -> None:
    assert isinstance(network_fault(LookupError(), 10, otherwise=TlsFailed("No TLS.")), TlsFailed)


@every_type
@pytest.mark.parametrize("store_kind", ["sqlite"])
def test_of_a_closed_network_nothing_of_this_is_told(
    connector_type: str, store: Store, pulled: Callable[..., PullOutcome]
) -> None:
    """Whether somebody listens there or not, the answer is the same."""
    listening = Tripwire()
    answers = set()
    try:
        for port in (listening.port, free_port()):
            given = NewConnector(
                name="Closed",
                connector_type=connector_type,
                vertical="testing",
                entity_type="item",
                connection_config=CONFIGS[connector_type]("localhost", port),
                query=QUERIES.get(connector_type, "SELECT 1"),
            )
            with pytest.raises(AddressRefused) as refused:
                pulled(store.connectors.add(given), egress=Egress(loopback=False))
            answers.add(str(refused.value))
    finally:
        listening.stop()
    assert len(answers) == 1
    assert listening.connections == 0
