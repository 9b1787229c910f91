"""What each part of an address must be, for every source. No ValueError shows anything of the address."""

import ipaddress
import unicodedata
from urllib.parse import SplitResult, unquote

MAX_PORT = 65_535


def is_this_machine(host: str) -> bool:
    """Whether the host is loopback, by its name or its address. No name is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_characters(text: str) -> None:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("must not hold control characters or lone surrogates")


def one_host(parts: SplitResult, text: str) -> str:
    """The host of a URI. `text` is the whole URI, because `parts` do not show an empty fragment."""
    if "," in parts.netloc.rpartition("@")[2]:
        raise ValueError("must name one host, not a list")
    if parts.fragment or text.endswith("#"):
        raise ValueError("must not hold a '#'; inside a password it is written %23")
    if "@" in parts.path + parts.query:
        raise ValueError("must hold no '@' after its host; inside a password it is written %40, and / is written %2F")
    if not parts.hostname or "%" in parts.hostname or "/" in parts.hostname:
        raise ValueError("must name one host")
    if parts.port == 0:
        raise ValueError(f"must have a port between 1 and {MAX_PORT}")
    return parts.hostname


def login(parts: SplitResult) -> tuple[str, str]:
    """The user and the password, decoded."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user or not password:
        raise ValueError("must hold both a user and a password")
    return user, password
