"""A mysql connector's config: each part of the server's address is an option."""

import ipaddress
import re
import ssl
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from qanatix_pipelines.sources.addresses import check_characters, is_this_machine
from qanatix_pipelines.sources.source import SourceConfig
from qanatix_pipelines.tls import Tls

_NAME = re.compile(r"[\w.-]+")  # in any alphabet


def _plain(text: str) -> str:
    check_characters(text)
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host(text: str) -> str:
    if not _NAME.fullmatch(text) and not _is_address(text):
        raise ValueError("must be a host's name or an address, and nothing more: the port and the user have options")
    try:
        text.encode("idna")  # as the resolver will
    except UnicodeError:
        raise ValueError("must be a host's name or an address") from None
    return text


def _plain_secret(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise ValueError("must not be empty")
    check_characters(secret.get_secret_value())
    return secret


Text = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_plain)]
Host = Annotated[Text, AfterValidator(_host)]
Secret = Annotated[SecretStr, AfterValidator(_plain_secret)]


def tls_context(protection: Tls) -> ssl.SSLContext | None:
    """We make the context: the driver's verifies nothing unless a certificate authority is named."""
    if protection == "none":
        return None
    context = ssl.create_default_context()
    if protection != "verified":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_PROTECTIONS: dict[str, Tls] = {"disabled": "none", "required": "encrypted", "verify": "verified"}


class Config(SourceConfig):
    """connection_config of a mysql connector. Without `tls`, TLS is required, except towards this machine itself."""

    host: Host
    port: Annotated[int, Field(ge=1, le=65_535)] = 3306
    user: Text
    password: Secret
    database: Text
    tls: Literal["disabled", "required", "verify"] | None = None

    def identity(self) -> tuple[object, ...]:
        return self.host, self.port, self.database, self.user

    def connection(self) -> dict[str, str | int]:
        return {"host": self.host, "port": self.port, "database": self.database, "user": self.user}

    def protection(self) -> Tls:
        if self.tls is None:
            return "none" if is_this_machine(self.host) else "encrypted"
        return _PROTECTIONS[self.tls]
