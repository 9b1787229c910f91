"""Bolt, which Neo4j speaks: where its URIs lead, what its status codes mean, how its times are written."""

import re
from typing import Any

from qanatix_pipelines.errors import (
    LoginRefused,
    QueryRejected,
    SourceError,
    SourceFailed,
    SourceTimeout,
    SourceUnreachable,
)

_URI = re.compile(r"[a-zA-Z0-9+]+://(?P<host>[a-zA-Z0-9._-]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65_535


def bolt_uri(text: str) -> str:
    """The URI to connect to, `bolt` for `neo4j`: a routing table would name further hosts, which nobody registered."""
    scheme = text.partition("://")[0].lower()
    if scheme not in ("bolt", "bolt+s", "neo4j", "neo4j+s"):
        raise ValueError("must begin with bolt+s://, neo4j+s://, bolt:// or neo4j://")
    if "@" in text:
        raise ValueError("must not hold a user or a password: they are options of their own")
    parts = _URI.fullmatch(text)
    if parts is None:
        raise ValueError("must be a scheme, one host and perhaps a port, and nothing more: bolt+s://db.internal:7687")
    port = int(parts["port"] or 7687)
    if not 0 < port <= _MAX_PORT:
        raise ValueError(f"must have a port between 1 and {_MAX_PORT}")
    return f"{scheme.replace('neo4j', 'bolt')}://{parts['host']}:{port}"


# What a status code means for the caller, by its longest prefix here (Neo4j status codes, "Neo4j error codes").
_MEANINGS: dict[str, tuple[type[SourceError], str]] = {
    "ClientError.Security": (LoginRefused, "The source refused the user"),
    "ClientError.Security.AuthenticationRateLimit": (LoginRefused, "The source refused too many logins of this user"),
    "ClientError.Security.CredentialsExpired": (LoginRefused, "The source wants the user's password changed first"),
    "ClientError.Security.Forbidden": (QueryRejected, "The user may not do what the query asks for"),
    "ClientError.Security.Unauthorized": (LoginRefused, "The source refused the user or the password"),
    "ClientError.Database.DatabaseNotFound": (LoginRefused, "The source has no such database"),
    "ClientError.Statement.AccessMode": (QueryRejected, "The query would write, and a pull may only read"),
    "ClientError.Transaction.LockClientStopped": (SourceTimeout, "The source cancelled the query"),
    "ClientError.Transaction.Terminated": (SourceTimeout, "The source cancelled the query"),
    "ClientError.Transaction.TransactionTimedOut": (SourceTimeout, "The source's time for a query was over"),
    "ClientError.Transaction.TransactionTimedOutClientConfiguration": (
        SourceTimeout,
        "The query ran longer than a pull may",
    ),
    "TransientError.Database.DatabaseUnavailable": (SourceUnreachable, "The source's database is not available now"),
    "TransientError.General.DatabaseUnavailable": (SourceUnreachable, "The source's database is not available now"),
    "TransientError.Request.NoThreadsAvailable": (SourceUnreachable, "The source takes no more connections"),
} | dict.fromkeys(
    (
        "ClientError.Procedure",
        "ClientError.Schema",
        "ClientError.Statement",
        "ClientError.Statement.ArgumentError",
        "ClientError.Statement.ArithmeticError",
        "ClientError.Statement.EntityNotFound",
        "ClientError.Statement.ParameterMissing",
        "ClientError.Statement.PropertyNotFound",
        "ClientError.Statement.SemanticError",
        "ClientError.Statement.SyntaxError",
        "ClientError.Statement.TypeError",
    ),
    (QueryRejected, "The source rejected the query"),
)


def status_error(code: str, message: str) -> SourceError:
    """Says the status code as far as it stands above, and the line and column in the query; nothing of the message."""
    parts = code.removeprefix("Neo.").split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    known = next((prefix for prefix in prefixes if prefix in _MEANINGS), None)
    if known is None:
        return SourceFailed("The source failed while the query ran.")
    kind, sentence = _MEANINGS[known]
    place = re.search(r"\(line ([1-9]\d{0,5}), column (\d{1,6})", message)
    if place:
        sentence += f" at line {place[1]}, column {place[2]}"
    return kind(f"{sentence} ({known}).")


def clock_text(value: Any) -> str:
    """The driver's Time or DateTime as the server's own toString() writes it: RFC 9557, all its nanoseconds."""
    local: str = value.replace(tzinfo=None).iso_format().rstrip("0").removesuffix(".")
    offset = value.utc_offset()
    if offset is None:
        return local
    minutes = int(offset.total_seconds()) // 60
    shown = "{}{:02}:{:02}".format("-" if minutes < 0 else "+", *divmod(abs(minutes), 60)) if minutes else "Z"
    zone = getattr(value.tzinfo, "zone", None)
    return f"{local}{shown}" if zone in (None, "UTC") else f"{local}{shown}[{zone}]"
