"""PostgreSQL connection URIs, read by us: a driver gets the parts and never the user's string.

A DSN handed to a driver may name sockets, our files, or more hosts, and what it leaves out the driver fills in from our
environment. So only the parts below are read, and every other one is refused by name. The form is libpq's (PostgreSQL
documentation, 34.1.1.2 "Connection URIs"), less its lists of hosts and its empty parts.
"""

import re
import ssl
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from qanatix_pipelines.addresses.parts import check_characters, is_this_machine, login, one_host

TlsMode = Literal["disable", "require", "verify-ca", "verify-full"]

# What may be shown of an option: no other text, for a part of a password that was not encoded may stand there.
_PLAIN = re.compile(r"[A-Za-z_]{1,32}")


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
    check_characters(text)  # before the parser, which would drop some in silence
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # The parser's own message would show the part that it stumbled over, and that may be the password.
        raise ValueError(
            "is not a valid URI: it has one host, a port is a number up to 65535, an IPv6 address stands in brackets, "
            "and a password's special characters are percent-encoded, such as %2F for / and %23 for #"
        ) from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("must begin with postgresql://, as in postgresql://user:password@host:5432/database")
    host = one_host(parts, text)
    user, password = login(parts)
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in parts.path.removeprefix("/"):
        raise ValueError("must name one database after the host: postgresql://user:password@host:5432/database")
    check_characters(host + user + password + database)
    return Dsn(host, port or 5432, user, password, database, _tls_mode(parts.query, host))


def tls_context(mode: TlsMode) -> ssl.SSLContext | bool:
    """A context of our own: given a mode's name, asyncpg would look for certificates in our home folder."""
    if mode == "disable":
        return False
    context = ssl.create_default_context()
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


def _tls_mode(query: str, host: str) -> TlsMode:
    options = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in options]
    for name in names:
        if name not in ("sslmode", "application_name"):
            named = f"the option {name}" if _PLAIN.fullmatch(name) else "an option"
            raise ValueError(f"has {named} that is not allowed; only sslmode and application_name are")
    if len(set(names)) != len(names):
        raise ValueError("has the same option twice")
    mode = dict(options).get("sslmode")
    if mode is None:
        return "disable" if is_this_machine(host) else "require"
    for known in get_args(TlsMode):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"has an unknown sslmode; it is one of {', '.join(get_args(TlsMode))}")
