"""Bearer keys: who may call, and what they may do."""

import asyncio
from typing import Annotated, Any

from fastapi import Request, Security, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from qanatix_api.failures import refusal, unavailable
from qanatix_api.logs import logger
from qanatix_pipelines import keys
from qanatix_pipelines.errors import StoreUnavailable
from qanatix_pipelines.keys import KeyRecord
from qanatix_pipelines.store.keys import KeyStore, is_use_due

log = logger(__name__)

_bearer = HTTPBearer(auto_error=False, bearerFormat="sk_live_...", description="A key from `qanatix keys create`.")
_STATE = "qanatix_key"
_NEEDED = "This needs an API key: Authorization: Bearer sk_live_..."


class Uses:
    """Keeps when keys were last used. No caller waits for it: a merge may hold SQLite's only lock for long."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._waiting: set[str] = set()
        self._writing: asyncio.Task[None] | None = None

    def note(self, key: KeyRecord) -> None:
        if is_use_due(key):
            self._waiting.add(key.id)
            if self._writing is None or self._writing.done():
                self._writing = asyncio.create_task(self._write())

    async def finish(self) -> None:
        """Wait until what was noted is kept."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._waiting:
            try:
                await run_in_threadpool(self._store.note_use, self._waiting.pop())
            except StoreUnavailable as error:
                log.warning("The last use of an API key was not kept: %s", error)


class Authentication:
    """ASGI middleware: below `prefix` nothing is answered, nor a body read, without a valid key.

    One answer for every way in which a key can be wrong, so that none is told from another.
    """

    def __init__(self, app: ASGIApp, *, store: KeyStore, uses: Uses, prefix: str) -> None:
        self._app, self._store, self._uses, self._prefix = app, store, uses, prefix

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
            self._uses.note(key)
            scope.setdefault("state", {})[_STATE] = key
        await self._app(scope, receive, send)

    def _find(self, authorizations: list[str]) -> KeyRecord | None:
        scheme, _, text = authorizations[0].partition(" ") if len(authorizations) == 1 else ("", "", "")
        return self._store.find(text.strip()) if scheme.lower() == "bearer" else None


def allowed(
    request: Request,
    needed: SecurityScopes,
    _documented: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> KeyRecord:
    """The caller's key, that `Authentication` found, if it has the scopes that a route needs."""
    key = getattr(request.state, _STATE, None)
    if not isinstance(key, KeyRecord):  # a route that stands elsewhere than below its prefix
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, _NEEDED, {"WWW-Authenticate": "Bearer"})
    check_scopes(key, frozenset(map(keys.Scope, needed.scopes)))
    return key


def needs(scope: keys.Scope) -> Any:
    """A dependency: a key with this scope."""
    return Security(allowed, scopes=[scope.value])


def check_scopes(key: KeyRecord, needed: frozenset[keys.Scope]) -> None:
    """Refuse a key that lacks one of these scopes: 403, and which."""
    missing = sorted(needed - key.scopes)
    if missing:
        names = ", ".join(missing)
        raise HTTPException(
            status.HTTP_403_FORBIDDEN,
            f"This needs an API key with the scope {names}.",
            {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{" ".join(missing)}"'},
        )


def _unauthorized() -> JSONResponse:
    return refusal(status.HTTP_401_UNAUTHORIZED, _NEEDED, {"WWW-Authenticate": "Bearer"})
