"""A postgresql connector's config. We parse its connection URI, and give the driver the parts, never the string.

A driver would accept a DSN that names sockets, files of ours, or more hosts, and would fill gaps from our environment.
So only the parts below are read, and every other one is refused by name. The form is libpq's (PostgreSQL documentation,
34.1.1.2 "Connection URIs"), without lists of hosts and empty parts.
"""

import re
import ssl
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr, field_validator

from qanatix_pipelines.sources.addresses import check_characters, is_this_machine, login, one_host
from qanatix_pipelines.sources.source import SourceConfig
from qanatix_pipelines.tls import Tls

TlsMode = Literal["disable", "require", "verify-ca", "verify-full"]

# An option's name is shown only if it looks like one: it may be a part of a password that was not encoded.
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
    """Raises ValueError with a sentence that shows nothing of `text` but names of options.

    Without `sslmode`, TLS is required, except towards this machine itself. There is no silent fallback to none.
    """
    check_characters(text)  # before the parser, which drops some of them silently
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # The parser's own message shows the part that it cannot read, which may be the password.
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
    """We make the context: given the name of a mode, asyncpg would look for certificates in our home folder."""
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


class Config(SourceConfig):
    """connection_config of a postgresql connector."""

    dsn: SecretStr

    @field_validator("dsn", mode="after")
    @classmethod
    def _readable(cls, dsn: SecretStr) -> SecretStr:
        parse_dsn(dsn.get_secret_value())
        return dsn

    def identity(self) -> tuple[object, ...]:
        dsn = parse_dsn(self.dsn.get_secret_value())
        return dsn.host, dsn.port, dsn.database, dsn.user

    def connection(self) -> dict[str, str | int]:
        dsn = parse_dsn(self.dsn.get_secret_value())
        return {"host": dsn.host, "port": dsn.port, "database": dsn.database, "user": dsn.user}

    def protection(self) -> Tls:
        match parse_dsn(self.dsn.get_secret_value()).tls:
            case "disable":
                return "none"
            case "require" | "verify-ca":  # the certificate may be another host's
                return "encrypted"
            case "verify-full":
                return "verified"
