"""A neo4j connector's config. We read its URI ourselves, so that the driver talks Bolt to one server only."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, ValidationInfo, field_validator

from qanatix_pipelines.sources.addresses import MAX_PORT, is_this_machine
from qanatix_pipelines.sources.source import SourceConfig
from qanatix_pipelines.tls import Tls

_URI = re.compile(r"[a-zA-Z0-9+]+://(?P<host>[a-zA-Z0-9._-]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{1,5}))?")


def bolt_uri(text: str) -> str:
    """The URI to connect to. `neo4j` becomes `bolt`, for a routing table would name hosts that nobody registered."""
    scheme = text.partition("://")[0].lower()
    if scheme not in ("bolt", "bolt+s", "neo4j", "neo4j+s"):
        raise ValueError("must begin with bolt+s://, neo4j+s://, bolt:// or neo4j://")
    if "@" in text:
        raise ValueError("must not hold a user or a password: they are options of their own")
    parts = _URI.fullmatch(text)
    if parts is None:
        raise ValueError("must be a scheme, one host and perhaps a port, and nothing more: bolt+s://db.internal:7687")
    port = int(parts["port"] or 7687)
    if not 0 < port <= MAX_PORT:
        raise ValueError(f"must have a port between 1 and {MAX_PORT}")
    return f"{scheme.replace('neo4j', 'bolt')}://{parts['host']}:{port}"


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text


_Text = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]


class Config(SourceConfig):
    """connection_config of a neo4j connector. `uri` is kept as `bolt_uri` returns it."""

    uri: Annotated[str, AfterValidator(bolt_uri)]
    user: _Text
    password: SecretStr = Field(min_length=1)
    database: _Text
    tls: Literal["verify", "disabled"] | None = Field(None, validate_default=True)

    @field_validator("tls", mode="after")
    @classmethod
    def _never_given_up_silently(cls, tls: str | None, info: ValidationInfo) -> str:
        """Only 'disabled' does without TLS towards another machine, for `bolt` is what everybody writes."""
        scheme, _, address = info.data.get("uri", "bolt://localhost:").partition("://")
        if scheme == "bolt+s" and tls == "disabled":
            raise ValueError("is 'disabled', but the uri's scheme asks for TLS: leave it out, or begin with bolt://")
        plain = scheme == "bolt" and is_this_machine(address.rpartition(":")[0].strip("[]"))
        return tls or ("disabled" if plain else "verify")

    def identity(self) -> tuple[object, ...]:
        return self.uri.partition("://")[2], self.database, self.user

    def connection(self) -> dict[str, str | int]:
        host, port = self.address
        return {"host": host, "port": port, "database": self.database, "user": self.user}

    @property
    def address(self) -> tuple[str, int]:
        """The host, without brackets, and the port."""
        host, _, port = self.uri.partition("://")[2].rpartition(":")
        return host.strip("[]"), int(port)

    def protection(self) -> Tls:
        return "verified" if self.tls == "verify" else "none"
