"""A small client that sends what the vendor's Python SDK was seen to send: its calls, defaults, deadline and retries.

None of the SDK's code is in here.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any

import httpx2

TIMEOUT_SECONDS = 30
TRIES = 3
RETRIED = (429, 502, 503, 504)
LONGEST_WAIT = 8
_HEADERS = {"Content-Type": "application/json", "User-Agent": "qanatix-python/0.1.0"}  # also where there is no body


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: dict[str, Any] | None = None


class Refused(Exception):
    def __init__(self, status_code: int, detail: object) -> None:
        self.status_code, self.detail = status_code, detail
        super().__init__(f"{status_code}: {detail}")


def create_connector(*, schedule: str | None = None, **fields: Any) -> Call:
    body = {"name_column": "name", "batch_size": 1000} | fields | ({} if schedule is None else {"schedule": schedule})
    return Call("POST", "/connectors", body)


def list_connectors() -> Call:
    return Call("GET", "/connectors")


def pull_connector(connector_id: str) -> Call:
    return Call("POST", f"/connectors/{connector_id}/pull")


def delete_connector(connector_id: str) -> Call:
    return Call("DELETE", f"/connectors/{connector_id}")


def create_key(name: str, scopes: list[str], *, expires_at: str | None = None) -> Call:
    optional = {} if expires_at is None else {"expires_at": expires_at}
    return Call("POST", "/auth/keys", {"name": name, "scopes": scopes} | optional)


def list_keys() -> Call:
    return Call("GET", "/auth/keys")


def rotate_key(key_id: str) -> Call:
    return Call("POST", f"/auth/keys/{key_id}/rotate")


def revoke_key(key_id: str) -> Call:
    return Call("DELETE", f"/auth/keys/{key_id}")


class Client:
    """Waits between tries with `sleep`."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._settings = _settings(url, key, timeout)
        self._sleep = sleep

    def __call__(self, call: Call) -> Any:
        with httpx2.Client(**self._settings) as client:
            tries = _tries()
            try:
                wait = next(tries)
                while True:
                    self._sleep(wait)
                    try:
                        answer: httpx2.Response | httpx2.TransportError = client.request(
                            call.method, f"/api/v1{call.path}", json=call.body
                        )
                    except httpx2.TransportError as error:
                        answer = error
                    wait = tries.send(answer)
            except StopIteration as done:
                return done.value


class AsyncClient:
    """The same, without blocking its loop."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout: float = TIMEOUT_SECONDS,  # the driver's, not this call's
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._settings = _settings(url, key, timeout)
        self._sleep = sleep

    async def __call__(self, call: Call) -> Any:
        async with httpx2.AsyncClient(**self._settings) as client:
            tries = _tries()
            wait = next(tries)
            while True:
                await self._sleep(wait)
                try:
                    answer: httpx2.Response | httpx2.TransportError = await client.request(
                        call.method, f"/api/v1{call.path}", json=call.body
                    )
                except httpx2.TransportError as error:
                    answer = error
                try:
                    wait = tries.send(answer)
                except StopIteration as done:
                    return done.value


def _settings(url: str, key: str, timeout: float) -> dict[str, Any]:
    return {"base_url": url, "headers": _HEADERS | {"Authorization": f"Bearer {key}"}, "timeout": timeout}


def _tries() -> Generator[float, httpx2.Response | httpx2.TransportError, Any]:
    """How long to wait before each try, given what the last one brought. Returns what the caller gets."""
    wait = 0.0
    for number in range(TRIES):
        answer = yield wait
        wait = min(2.0**number, LONGEST_WAIT)
        if isinstance(answer, httpx2.Response):
            if answer.status_code not in RETRIED:
                break
            wait = float(answer.headers.get("Retry-After", wait))  # no date is understood
    if isinstance(answer, httpx2.TransportError):
        raise answer
    return _told(answer)


def _told(answer: httpx2.Response) -> Any:
    if answer.is_success:
        return None if answer.status_code == httpx2.codes.NO_CONTENT else answer.json()
    raise Refused(answer.status_code, answer.json().get("detail"))  # only an object is understood
