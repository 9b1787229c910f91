"""API keys: `sk_live_` and 64 hexadecimal digits, shown once, kept only as a keyed hash.

The digits are the key's id (8), its secret (48 digits, 192 bits) and a checksum (8 digits, CRC-32 of all before it). By
the checksum a mistyped key is refused without a query to the store, and secret scanners recognize a leaked key.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from qanatix_pipelines.tenants import Tenant

PREFIX = "sk_live_"
KEY_ID = re.compile("[0-9a-f]{8}")
_SHAPE = re.compile(rf"{PREFIX}([0-9a-f]{{8}})([0-9a-f]{{48}})([0-9a-f]{{8}})")


@dataclass(frozen=True)
class ApiKey:
    """A key as its owner holds it."""

    id: str
    text: str = field(repr=False)

    def digest(self, pepper: bytes) -> bytes:
        """HMAC-SHA256 under the pepper: useless to a reader of the store. 192 random bits need no slow hash."""
        return hmac.digest(pepper, self.text.encode(), hashlib.sha256)


class Scope(StrEnum):
    """What a key allows."""

    CONNECTORS_READ = "connectors:read"
    CONNECTORS_WRITE = "connectors:write"
    PULLS_RUN = "pulls:run"
    ENTITIES_READ = "entities:read"
    ADMIN = "admin"  # API keys themselves, and all the others


# The vendor's words for scopes, and what they mean here.
OTHER_SCOPES: Mapping[str, frozenset[Scope]] = {
    "ingest": frozenset({Scope.CONNECTORS_READ, Scope.CONNECTORS_WRITE, Scope.PULLS_RUN}),
    "upload": frozenset({Scope.CONNECTORS_READ, Scope.CONNECTORS_WRITE, Scope.PULLS_RUN}),
    "entities": frozenset({Scope.ENTITIES_READ}),
    "records": frozenset({Scope.ENTITIES_READ}),
}


# The scopes of a key for which none were given: everything but the administration of keys.
USUAL_SCOPES = frozenset(Scope) - {Scope.ADMIN}


@dataclass(frozen=True)
class KeyRecord:
    """A key as the store keeps it. `last_used_at` is exact to the minute."""

    id: str
    tenant: Tenant
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def lacks(self, needed: frozenset[Scope]) -> frozenset[Scope]:
        """Which of these scopes it has not. `admin` implies all."""
        return frozenset() if Scope.ADMIN in self.scopes else needed - self.scopes

    def is_valid(self, at: datetime) -> bool:
        """Whether it is neither revoked nor expired at that time."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


def new_key(key_id: str | None = None) -> ApiKey:
    """A key with a new secret, and a new id unless one is given."""
    key_id = key_id or secrets.token_hex(4)
    body = PREFIX + key_id + secrets.token_hex(24)
    return ApiKey(id=key_id, text=body + _checksum(body))


def parse_key(text: str) -> ApiKey | None:
    """The key of this text, or None if the text is not a well-formed key."""
    match = _SHAPE.fullmatch(text)
    if match is None or _checksum(text[:-8]) != match[3]:
        return None
    return ApiKey(id=match[1], text=text)


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
