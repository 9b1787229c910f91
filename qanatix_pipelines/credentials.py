"""Credentials at rest: Fernet (AES-128-CBC with HMAC-SHA256), rotated by MultiFernet, bound to owner and tenant."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from qanatix_pipelines.errors import CredentialsUnreadable
from qanatix_pipelines.tenants import DEFAULT, Tenant

# What the API's answers show instead of a connection_config.
REDACTED = "***REDACTED***"

# What a token is: a connector's credentials, or what is asked of a draft or answered to it. It is the name under which
# the owner's id stands in the token.
Purpose = Literal["connector_id", "draft_asked", "draft_answer"]


class CredentialCipher:
    """Encrypts with the first key, decrypts with any.

    Fernet does not bind a token to its owner, so the owner's id and tenant are encrypted together with the config. The
    owner is a connector or a draft. A token that is copied to another owner's row, or to another column of it, or whose
    row is given to another tenant, is refused.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        fernets = [Fernet(key) for key in keys]
        self._first = fernets[0]
        self._fernet = MultiFernet(fernets)

    def encrypt(self, tenant: Tenant, owner_id: UUID, config: dict[str, Any], purpose: Purpose = "connector_id") -> str:
        sealed = json.dumps({"v": 2, "tenant": tenant, purpose: str(owner_id), "config": config})
        return self._fernet.encrypt(sealed.encode()).decode()

    def decrypt(self, tenant: Tenant, owner_id: UUID, token: str, purpose: Purpose = "connector_id") -> dict[str, Any]:
        """The config that `encrypt` was given. Raises CredentialsUnreadable."""
        try:
            sealed = json.loads(self._fernet.decrypt(token.encode()))
        except InvalidToken:
            raise CredentialsUnreadable from None
        # Version 1 is older than tenants: its tokens belong to the default tenant.
        if (sealed.get("tenant", DEFAULT), sealed.get(purpose)) != (tenant, str(owner_id)):
            raise CredentialsUnreadable
        config: dict[str, Any] = sealed["config"]
        return config

    def seal(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def resealed(self, token: str) -> str | None:
        """The token encrypted under the first key: itself if it already is, None if none of the keys made it."""
        with suppress(InvalidToken):
            self._first.decrypt(token.encode())
            return token
        try:
            return self._fernet.rotate(token.encode()).decode()
        except InvalidToken:
            return None
