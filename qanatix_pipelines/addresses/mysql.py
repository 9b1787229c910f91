"""The parts of a MySQL server's address, which a connection_config gives one by one."""

import ipaddress
import re
import ssl
from typing import Annotated

from pydantic import AfterValidator, SecretStr, StringConstraints

from qanatix_pipelines.addresses.parts import check_characters
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
    """A context of our own: the driver's does not verify where no certificate authority is named."""
    if protection == "none":
        return None
    context = ssl.create_default_context()
    if protection != "verified":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
