"""Bearer keys: who may call."""

from typing import Annotated

from fastapi import Depends, HTTPException, Request, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from qanatix_pipelines.keys import KeyRecord

_bearer = HTTPBearer(auto_error=False, bearerFormat="sk_live_...", description="A key from `qanatix keys create`.")


def authenticated(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> KeyRecord:
    """The caller's key. One answer for every way in which it can be wrong, so that none is told from another."""
    key = None if credentials is None else request.app.state.keys.find(credentials.credentials)
    if not isinstance(key, KeyRecord):
        raise HTTPException(
            status.HTTP_401_UNAUTHORIZED,
            "This needs an API key: Authorization: Bearer sk_live_...",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return key
