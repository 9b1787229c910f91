"""A MongoDB session: how its client is made and logs in, and what its reads ask of the server.

The table of all settings is docs/settings/mongodb.md.
"""

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qanatix_pipelines.addresses.mongodb import MongoUri
from qanatix_pipelines.bounds.hashing import Hashing
from qanatix_pipelines.errors import LoginRefused, TlsFailed

if TYPE_CHECKING:  # at run time it is imported where it is used: it takes a tenth of a second
    from pymongo import AsyncMongoClient

Document = dict[str, Any]

# Of the server's work on one query: the most that QANATIX_PULL_SECONDS may say.
QUERY_SECONDS = 604_800

# Wire versions: of MongoDB 5.0 and 4.4.
_SNAPSHOTS_SINCE = 13
_SORTS_ON_DISK_SINCE = 9


async def knock(uri: MongoUri) -> None:
    """Connect once by ourselves: the driver would try for all of its time, and not tell what failed."""
    context = ssl.create_default_context() if uri.tls else None
    try:
        _, writer = await asyncio.open_connection(uri.host, uri.port, ssl=context)
    except ConnectionResetError:
        if uri.tls:
            raise TlsFailed("The source offers no TLS. If that is meant, add tls=false to the uri.") from None
        raise
    writer.transport.abort()


def new_client(uri: MongoUri, seconds: float) -> "AsyncMongoClient[Document]":
    """A client of one server, which is not asked for anything yet. Connecting may take so many seconds."""
    from pymongo import AsyncMongoClient, common, pool_options
    from pymongo.asynchronous import auth
    from pymongo.hello import Hello

    vars(auth)["hashlib"] = Hashing()
    # It would make room for messages as long as the server announces, before they come.
    Hello.max_message_size = common.MAX_MESSAGE_SIZE  # type: ignore[assignment, method-assign]
    # The driver would tell the server of our container, our cloud and its region, as our environment names them, and
    # has no option against it.
    vars(pool_options)["_metadata_env"] = dict
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    given = {"authMechanism": uri.auth_mechanism, "readPreference": uri.read_preference}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        f"{host}:{uri.port}",  # with the port it cannot be taken for a socket's path
        username=uri.user,
        password=uri.password,
        authSource=uri.auth_source,
        **options,
        tls=uri.tls,
        directConnection=True,  # a server's answer may name other hosts
        appname="qanatix",
        serverSelectionTimeoutMS=round(seconds * 1000),
        connectTimeoutMS=round(seconds * 1000),
        serverMonitoringMode="poll",
        maxPoolSize=2,
        retryReads=False,
        retryWrites=False,
    )

    # Wherever it is cancelled, the driver would first tell the server so, for as long as that takes. Its `close` tells
    # what is remembered here, in the time that it is given.
    async def remember(cursor_id: int, address: Any, **_: Any) -> None:
        client._close_cursor_soon(cursor_id, address)  # noqa: SLF001

    vars(client)["_close_cursor_now"] = remember
    return client


@contextmanager
def logging_in(uri: MongoUri) -> Iterator[None]:
    """What the driver does not even send, it refuses by an error of Python's own."""
    from pymongo.saslprep import saslprep

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


def limits(hello: Mapping[str, Any]) -> dict[str, Any]:
    """What a server would cut or end a result by, at its widest: docs/settings/mongodb.md."""
    sorting = {"allow_disk_use": True} if hello.get("maxWireVersion", 0) >= _SORTS_ON_DISK_SINCE else {}
    return {"max_time_ms": QUERY_SECONDS * 1000, "no_cursor_timeout": True} | sorting


def read_concerns(hello: Mapping[str, Any], *, snapshots: bool) -> tuple[str | None, ...]:
    """The read concerns to try. A snapshot a server may refuse."""
    replicated = "setName" in hello or hello.get("msg") == "isdbgrid"
    # What a majority has not got yet, a replica set may take back.
    else_concern = "majority" if replicated else None
    if replicated and snapshots and hello.get("maxWireVersion", 0) >= _SNAPSHOTS_SINCE:
        return "snapshot", else_concern
    return (else_concern,)
