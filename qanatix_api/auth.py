"""Bearer keys: who may call."""

from typing import Annotated

from fastapi import Depends, Request, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from qanatix_api.failures import refusal, unavailable
from qanatix_pipelines.errors import StoreUnavailable
from qanatix_pipelines.keys import KeyRecord
from qanatix_pipelines.store.keys import KeyStore

_bearer = HTTPBearer(auto_error=False, bearerFormat="sk_live_...", description="A key from `qanatix keys create`.")
_STATE = "qanatix_key"
_NEEDED = "This needs an API key: Authorization: Bearer sk_live_..."


class Authentication:
    """ASGI middleware: below `prefix` nothing is answered, nor a body read, without a valid key.

    One answer for every way in which a key can be wrong, so that none is told from another.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyStore, prefix: str) -> None:
        self._app, self._keys, self._prefix = app, keys, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")).startswith(self._prefix):
            try:
                key = await run_in_threadpool(self._find, Headers(scope=scope).getlist("Authorization"))
            except StoreUnavailable as error:
                await unavailable(error)(scope, receive, send)
                return
            if key is None:
                await _unauthorized()(scope, receive, send)
                return
            scope.setdefault("state", {})[_STATE] = key
        await self._app(scope, receive, send)

    def _find(self, authorizations: list[str]) -> KeyRecord | None:
        scheme, _, text = authorizations[0].partition(" ") if len(authorizations) == 1 else ("", "", "")
        return self._keys.find(text.strip()) if scheme.lower() == "bearer" else None


def authenticated(
    request: Request, _documented: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> KeyRecord:
    """The caller's key, that `Authentication` found."""
    key = getattr(request.state, _STATE, None)
    if not isinstance(key, KeyRecord):  # a route that stands elsewhere than below its prefix
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, _NEEDED, {"WWW-Authenticate": "Bearer"})
    return key


def _unauthorized() -> JSONResponse:
    return refusal(status.HTTP_401_UNAUTHORIZED, _NEEDED, {"WWW-Authenticate": "Bearer"})
