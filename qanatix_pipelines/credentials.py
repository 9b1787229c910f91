"""Credentials at rest: Fernet (AES-128-CBC with HMAC-SHA256), rotated by MultiFernet, bound to connector and tenant."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from qanatix_pipelines.errors import CredentialsUnreadable
from qanatix_pipelines.tenants import DEFAULT, Tenant

# What an API's answer shows in the place of a connection_config.
REDACTED = "***REDACTED***"


class CredentialCipher:
    """Encrypts with the first key, decrypts with any.

    Fernet itself binds a token to nothing, so the connector's id and tenant are sealed in beside the config: a token
    that was moved to another row of the database, or whose row was given to another tenant, does not decrypt there.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        fernets = [Fernet(key) for key in keys]
        self._first = fernets[0]
        self._fernet = MultiFernet(fernets)

    def encrypt(self, tenant: Tenant, connector_id: UUID, config: dict[str, Any]) -> str:
        sealed = json.dumps({"v": 2, "tenant": tenant, "connector_id": str(connector_id), "config": config})
        return self._fernet.encrypt(sealed.encode()).decode()

    def decrypt(self, tenant: Tenant, connector_id: UUID, token: str) -> dict[str, Any]:
        """The config that `encrypt` was given. Raises CredentialsUnreadable."""
        try:
            sealed = json.loads(self._fernet.decrypt(token.encode()))
        except InvalidToken:
            raise CredentialsUnreadable from None
        # The first version was from before there were tenants.
        if (sealed.get("tenant", DEFAULT), sealed["connector_id"]) != (tenant, str(connector_id)):
            raise CredentialsUnreadable
        config: dict[str, Any] = sealed["config"]
        return config

    def seal(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def resealed(self, token: str) -> str | None:
        """The token under the first key, whichever of the keys made it: itself if that did, None if none did."""
        with suppress(InvalidToken):
            self._first.decrypt(token.encode())
            return token
        try:
            return self._fernet.rotate(token.encode()).decode()
        except InvalidToken:
            return None
