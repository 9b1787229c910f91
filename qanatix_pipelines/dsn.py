"""PostgreSQL connection URIs, read by us: a driver gets the parts and never the user's string.

A DSN handed to a driver may name sockets, our files, or more hosts, and what it leaves out the driver fills in from our
environment. So only the parts below are read, and every other one is refused by name. The form is libpq's (PostgreSQL
documentation, 34.1.1.2 "Connection URIs"), less its lists of hosts and its empty parts.
"""

import ipaddress
import unicodedata
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

TlsMode = Literal["disable", "require", "verify-ca", "verify-full"]
_MAX_PORT = 65_535


@dataclass(frozen=True)
class Dsn:
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    tls: TlsMode


def parse_dsn(text: str) -> Dsn:
    """Raises ValueError with a sentence that holds nothing of `text` but names of options.

    Without `sslmode`, TLS is required except towards this machine itself. It is never given up silently.
    """
    _check_characters(text)  # before the parser, which would drop some in silence
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        # The parser's own message would show the part that it stumbled over, and that may be the password.
        raise ValueError(
            "is not a valid URI; a password's special characters must be percent-encoded, "
            "such as %2F for / and %23 for #"
        ) from None
    _check_shape(parts.scheme, parts.netloc, parts.fragment, text)
    if not host or "%" in host or "/" in host:
        raise ValueError("must name one host")
    if port == 0:
        raise ValueError(f"must have a port between 1 and {_MAX_PORT}")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user or not password:
        raise ValueError("must hold both a user and a password")
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in parts.path.removeprefix("/"):
        raise ValueError("must name one database after the host: postgresql://user:password@host:5432/database")
    _check_characters(host + user + password + database)
    return Dsn(host, port or 5432, user, password, database, _tls_mode(parts.query, host))


def _check_characters(text: str) -> None:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("must not hold control characters or lone surrogates")


def _check_shape(scheme: str, netloc: str, fragment: str, text: str) -> None:
    if scheme not in ("postgresql", "postgres"):
        raise ValueError("must begin with postgresql://")
    if "," in netloc.rpartition("@")[2]:
        raise ValueError("must name one host, not a list")
    if fragment or text.endswith("#"):
        raise ValueError("must not hold a '#'; inside a password it is written %23")


def _tls_mode(query: str, host: str) -> TlsMode:
    options = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in options]
    for name in names:
        if name not in ("sslmode", "application_name"):
            raise ValueError("has an option that is not allowed; only sslmode and application_name are")
    if len(set(names)) != len(names):
        raise ValueError("has the same option twice")
    mode = dict(options).get("sslmode")
    if mode is None:
        return "disable" if is_this_machine(host) else "require"
    for known in get_args(TlsMode):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"has an unknown sslmode; it is one of {', '.join(get_args(TlsMode))}")


def is_this_machine(host: str) -> bool:
    """Whether the host is the loopback by its own name or address: no name is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
