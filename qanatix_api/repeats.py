"""Repeated requests: one with the Idempotency-Key of an earlier one gets its answer and is not done again."""

import asyncio
import base64
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic.json_schema import SkipJsonSchema
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qanatix_api.auth import key_of
from qanatix_api.failures import conflict, unavailable, unprocessable
from qanatix_api.logs import logger
from qanatix_pipelines.conflicts import Conflict
from qanatix_pipelines.errors import StoreUnavailable
from qanatix_pipelines.keys import KeyRecord
from qanatix_pipelines.store.answers import Answers, Begun, Sent
from qanatix_pipelines.store.drafts import DraftStore

log = logger(__name__)

HEADER = "Idempotency-Key"
REPEATED = "Idempotent-Replayed"
# How long a request may take, beside the wait for a pull.
SLACK_SECONDS = 120
SWEEP_SECONDS = 60
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WRONG = "must be 1 to 255 visible ASCII characters, and be sent once"
# With these nothing was done. The request may be corrected, and sent again with the same key.
_REFUSED = frozenset({401, 403, 404, 405, 409, 412, 415, 422, 429})
# The headers of an answer that has rows: those that a test or a dry run shows live no longer than it.
NOT_KEPT = {"Cache-Control": "no-store"}
# The others tell of one request, or of the connection.
_KEPT_HEADERS = frozenset({b"content-type", b"etag", b"location", b"preference-applied", b"retry-after"})


class Repeats:
    """ASGI middleware behind `Bodies`, which hands on each body in one message.

    `keyed` makes a digest under a secret key: a request may hold credentials.
    """

    def __init__(
        self, app: ASGIApp, *, answers: Answers, keyed: Callable[..., bytes], pull_wait_seconds: float
    ) -> None:
        self._app, self._answers, self._keyed = app, answers, keyed
        self._longest = timedelta(seconds=pull_wait_seconds + SLACK_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).getlist(HEADER) if scope["type"] == "http" else []
        caller = key_of(scope)
        if not given or scope["method"] != "POST" or caller is None:
            await self._app(scope, receive, send)
            return
        if len(given) > 1 or not _KEY.fullmatch(given[0]):
            await unprocessable([(("header", "idempotency_key"), _WRONG, "value_error")])(scope, receive, send)
            return
        whole = [await receive()]
        sent = self._sent(caller, given[0], scope, whole[0].get("body", b""))
        answers = self._answers.of(caller.tenant)
        try:
            begun = await run_in_threadpool(answers.begin, sent, self._longest)
        except Conflict as error:
            await conflict(error)(scope, receive, send)
            return
        except StoreUnavailable as error:
            await unavailable(error)(scope, receive, send)
            return
        if isinstance(begun, dict):
            await _again(begun)(scope, receive, send)
            return

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._first(_Answer(answers, begun, send), scope, replay)

    async def _first(self, answer: "_Answer", scope: Scope, receive: Receive) -> None:
        try:
            await self._app(scope, receive, answer.send)
        finally:
            await answer.give_up()

    def _sent(self, caller: KeyRecord, key: str, scope: Scope, body: bytes) -> Sent:
        asked = (scope["method"].encode(), scope["path"].encode(), scope["query_string"], body)
        return Sent(caller.id, self._keyed(b"Idempotency-Key", key.encode()), self._keyed(*asked))


class _Answer:
    """The answer to a first request. It is kept before its last part is sent, so that a repeat cannot miss it."""

    def __init__(self, answers: Answers, begun: Begun, send: Send) -> None:
        self._answers, self._begun, self._send = answers, begun, send
        self._parts: list[Message] = []
        self._settled = False

    async def send(self, message: Message) -> None:
        self._parts.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._settle()
            for part in self._parts:
                await self._send(part)

    async def give_up(self) -> None:
        """Forget the request, unless it has its answer."""
        if not self._settled:
            await self._note(self._answers.drop, self._begun)

    async def _settle(self) -> None:
        status = self._parts[0]["status"]
        headers = Headers(raw=self._parts[0]["headers"])
        if status >= 500 or status in _REFUSED or "no-store" in headers.get("Cache-Control", ""):  # noqa: PLR2004
            await self.give_up()
        else:
            kept = {
                "status": status,
                "headers": [
                    [name.decode("latin-1"), value.decode("latin-1")]
                    for name, value in self._parts[0]["headers"]
                    if name.lower() in _KEPT_HEADERS
                ],
                "body": base64.b64encode(b"".join(part.get("body", b"") for part in self._parts[1:])).decode(),
            }
            await self._note(self._answers.keep, self._begun, kept)
        self._settled = True

    async def _note(self, write: Callable[..., None], *what: Any) -> None:
        try:
            await run_in_threadpool(write, *what)
        except StoreUnavailable as error:  # a repeat is told that this request is in progress, until that lapses
            log.warning("The answer to a request with an Idempotency-Key was not kept: %s", error)


def _again(kept: dict[str, Any]) -> Response:
    answer = Response(base64.b64decode(kept["body"]), kept["status"])
    answer.raw_headers.extend((name.encode("latin-1"), value.encode("latin-1")) for name, value in kept["headers"])
    answer.headers[REPEATED] = "true"
    return answer


async def _documented(
    _idempotency_key: Annotated[
        str | SkipJsonSchema[None],
        Header(
            alias=HEADER,
            pattern="^[!-~]{1,255}$",
            description=(
                "Any text of yours, such as a UUID, that is new for each request. A repeat with it gets the first "
                "answer for 24 hours."
            ),
        ),
    ] = None,
) -> None:
    """The header, for the OpenAPI document: the middleware reads it."""


# The dependencies of each route of a POST.
REPEATABLE = [Depends(_documented)]


async def sweep(*kept: Answers | DraftStore) -> None:
    """Delete what is too old, at once and then now and then, until it is cancelled."""
    while True:
        for one in kept:
            try:
                await run_in_threadpool(one.sweep)
            except StoreUnavailable as error:
                log.warning("Old answers were not deleted: %s", error)
        await asyncio.sleep(SWEEP_SECONDS)


def has_key(request: Request) -> bool:
    """Whether the caller tells repeats by an Idempotency-Key."""
    return HEADER in request.headers
