"""Bearer keys: who may call, and what they may do."""

import asyncio
from typing import Annotated, Any

from fastapi import Depends, Request, Security, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as HttpScope

from qanatix_api.failures import refusal, unavailable
from qanatix_api.logs import logger
from qanatix_api.rates import Allowance, Rates
from qanatix_pipelines.errors import StoreUnavailable
from qanatix_pipelines.keys import KeyRecord, Scope
from qanatix_pipelines.store.keys import KeyStore, is_use_due

log = logger(__name__)

_bearer = HTTPBearer(auto_error=False, bearerFormat="sk_live_...", description="A key from `qanatix keys create`.")
_STATE = "qanatix_key"
_NEEDED = "This needs a valid API key: Authorization: Bearer sk_live_..."


class Uses:
    """Notes the last use of keys, in the background: a merge may hold SQLite's only lock for long."""

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
        """Wait until all uses are written."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._waiting:
            try:
                await run_in_threadpool(self._store.note_use, self._waiting.pop())
            except StoreUnavailable as error:
                log.warning("The last use of an API key was not kept: %s", error)


class Authentication:
    """ASGI middleware: below `prefix` no body is read without a valid key that is within its rate limit.

    The answer is the same for every way in which a key can be wrong, so that it does not tell which one it is.
    """

    def __init__(self, app: ASGIApp, *, store: KeyStore, uses: Uses, rates: Rates, prefix: str) -> None:
        self._app, self._store, self._uses, self._rates, self._prefix = app, store, uses, rates, prefix

    async def __call__(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        # A browser asks by OPTIONS, without a key, what a page may send. No route is reached by it.
        if scope["type"] != "http" or scope["method"] == "OPTIONS" or not path.startswith(self._prefix):
            await self._app(scope, receive, send)
            return
        try:
            key = await run_in_threadpool(self._find, Headers(scope=scope).getlist("Authorization"))
        except StoreUnavailable as error:
            await unavailable(error)(scope, receive, send)
            return
        if key is None:
            # Only failures count per address, so a valid key is never limited by others at its address.
            allowance = self._rates.failure((scope.get("client") or ("nowhere",))[0])
            refused = _unauthorized(allowance) if allowance.granted else _too_many(allowance)
            await refused(scope, receive, send)
            return
        allowance = self._rates.request(key.id, scope["method"], path)
        if not allowance.granted:
            await _too_many(allowance)(scope, receive, send)
            return
        self._uses.note(key)
        scope.setdefault("state", {})[_STATE] = key

        async def send_with_allowance(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(allowance.headers())
            await send(message)

        await self._app(scope, receive, send_with_allowance)

    def _find(self, authorizations: list[str]) -> KeyRecord | None:
        scheme, _, text = authorizations[0].partition(" ") if len(authorizations) == 1 else ("", "", "")
        return self._store.find(text.strip()) if scheme.lower() == "bearer" else None


def key_of(scope: HttpScope) -> KeyRecord | None:
    """The caller's key, as `Authentication` found it. None outside of its prefix."""
    key: KeyRecord | None = scope.get("state", {}).get(_STATE)
    return key


async def caller(request: Request) -> KeyRecord:
    """The caller's key, as `Authentication` found it."""
    key = key_of(request.scope)
    if key is None:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, _NEEDED, {"WWW-Authenticate": "Bearer"})
    return key


async def allowed(
    key: Annotated[KeyRecord, Depends(caller)],
    needed: SecurityScopes,
    _documented: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> KeyRecord:
    """The caller's key, if it has the scopes that a route needs."""
    check_scopes(key, frozenset(map(Scope, needed.scopes)))
    return key


def needs(scope: Scope) -> Any:
    """A FastAPI dependency that requires a key with this scope."""
    return Security(allowed, scopes=[scope.value])


def check_scopes(key: KeyRecord, needed: frozenset[Scope]) -> None:
    """Raise a 403 that names the missing scopes, if the key lacks any of `needed`."""
    missing = sorted(key.lacks(needed))
    if missing:
        names = ", ".join(missing)
        raise HTTPException(
            status.HTTP_403_FORBIDDEN,
            f"This needs an API key with the scope {names}.",
            {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{" ".join(missing)}"'},
        )


def _unauthorized(allowance: Allowance) -> JSONResponse:
    return refusal(status.HTTP_401_UNAUTHORIZED, _NEEDED, {"WWW-Authenticate": "Bearer"} | allowance.headers())


def _too_many(allowance: Allowance) -> JSONResponse:
    return refusal(
        status.HTTP_429_TOO_MANY_REQUESTS,
        f"At most {allowance.limit} such requests a minute are answered; try again in {allowance.reset} s.",
        allowance.headers(),
    )
