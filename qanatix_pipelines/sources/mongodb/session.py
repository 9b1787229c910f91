"""What a MongoDB session asks of the server. docs/settings/mongodb.md has the table of all settings."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from qanatix_pipelines.errors import TlsFailed
from qanatix_pipelines.sources.mongodb.config import MongoUri

# The server ends a query that takes longer. It is the most that QANATIX_PULL_SECONDS may be.
QUERY_SECONDS = 604_800

# Wire versions: of MongoDB 5.0 and 4.4.
_SNAPSHOTS_SINCE = 13
_SORTS_ON_DISK_SINCE = 9


async def knock(uri: MongoUri) -> None:
    """Connect once without the driver, which would retry until its time is over and not say what failed."""
    context = ssl.create_default_context() if uri.tls else None
    try:
        _, writer = await asyncio.open_connection(uri.host, uri.port, ssl=context)
    except ConnectionResetError:
        if uri.tls:
            raise TlsFailed("The source offers no TLS. If that is meant, add tls=false to the uri.") from None
        raise
    writer.transport.abort()


def options(uri: MongoUri, seconds: float) -> dict[str, Any]:
    """The driver's options for a client of one server, whose connecting may take so many seconds."""
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    given = {"authMechanism": uri.auth_mechanism, "readPreference": uri.read_preference}
    return {
        "host": f"{host}:{uri.port}",  # with the port it cannot be taken for a socket's path
        "username": uri.user,
        "password": uri.password,
        "authSource": uri.auth_source,
        "tls": uri.tls,
        "directConnection": True,  # a server's answer may name other hosts
        "appname": "qanatix",
        "serverSelectionTimeoutMS": round(seconds * 1000),
        "connectTimeoutMS": round(seconds * 1000),
        "serverMonitoringMode": "poll",
        "maxPoolSize": 2,
        "retryReads": False,
        "retryWrites": False,
    } | {name: value for name, value in given.items() if value is not None}


def limits(hello: Mapping[str, Any]) -> dict[str, Any]:
    """The widest limits that a `find` can ask for, so that the server neither cuts nor ends its result."""
    sorting = {"allow_disk_use": True} if hello.get("maxWireVersion", 0) >= _SORTS_ON_DISK_SINCE else {}
    return {"max_time_ms": QUERY_SECONDS * 1000, "no_cursor_timeout": True} | sorting


def read_concerns(hello: Mapping[str, Any], *, snapshots: bool) -> tuple[str | None, ...]:
    """The read concerns to try, in this order: a server may refuse a snapshot."""
    replicated = "setName" in hello or hello.get("msg") == "isdbgrid"
    # A replica set may roll back what its majority does not have yet.
    otherwise = "majority" if replicated else None
    if replicated and snapshots and hello.get("maxWireVersion", 0) >= _SNAPSHOTS_SINCE:
        return "snapshot", otherwise
    return (otherwise,)
