"""A request's body is read as a whole and checked before the application sees it: small, and JSON in UTF-8."""

import asyncio
import codecs
import re

from fastapi import status
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qanatix_api import strict_json
from qanatix_api.failures import refusal, unprocessable

MAX_BYTES = 64 * 1024
ARRIVAL_SECONDS = 10

_WITH_BODY = ("POST", "PUT", "PATCH")
_JSON = re.compile(r'application/json\s*(;\s*charset\s*=\s*("?)utf-?8\2\s*)?', re.IGNORECASE)
# A change may be sent as a merge patch (RFC 7396), too. Its objects are taken whole all the same.
_CHANGE = re.compile(_JSON.pattern.replace("/json", r"/(?:merge-patch\+)?json"), re.IGNORECASE)
_TAKEN = "The body must be JSON in UTF-8, sent as application/json and not compressed."


class Refused(Exception):
    """The request is not passed on; `answer` is the response."""

    def __init__(self, answer: JSONResponse) -> None:
        self.answer = answer
        super().__init__()


class Bodies:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _WITH_BODY:
            await self._app(scope, receive, send)
            return
        try:
            body = await _arrived(receive)
            if body:
                check(Headers(scope=scope), body, _CHANGE if scope["method"] == "PATCH" else _JSON)
        except Refused as refused:
            await refused.answer(scope, receive, send)
            return
        except ConnectionAbortedError:
            return  # the client is gone
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)


def check(headers: Headers, body: bytes, media_type: re.Pattern[str] = _JSON) -> None:
    """Raise Refused unless the body is JSON that the API accepts, and sent as such."""
    plain = headers.get("Content-Encoding", "identity").lower() == "identity"
    if not plain or not media_type.fullmatch(",".join(headers.getlist("Content-Type"))) or _is_wide(body):
        raise Refused(refusal(status.HTTP_415_UNSUPPORTED_MEDIA_TYPE, _TAKEN))
    if body.strip() == b"null":  # it would be taken for no body, which generated clients cannot be told of
        raise Refused(unprocessable([(("body",), "must not be null: leave the body out where none is needed", "json")]))
    try:
        strict_json.check(body.decode())
    except UnicodeDecodeError:
        raise Refused(refusal(status.HTTP_400_BAD_REQUEST, "The body must be JSON in UTF-8.")) from None
    except strict_json.NotJson as error:
        raise Refused(refusal(status.HTTP_400_BAD_REQUEST, str(error))) from None
    except strict_json.NotTaken as error:
        raise Refused(unprocessable([(("body", *error.path), str(error), "json")])) from None


async def _arrived(receive: Receive) -> bytes:
    """The whole body. Its length is counted, whatever the headers say. Raises Refused, or ConnectionAbortedError."""
    body = bytearray()
    try:
        async with asyncio.timeout(ARRIVAL_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionAbortedError
                body += message.get("body", b"")
                if len(body) > MAX_BYTES:
                    raise Refused(
                        refusal(
                            status.HTTP_413_CONTENT_TOO_LARGE, f"The body must not be longer than {MAX_BYTES} bytes."
                        )
                    )
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise Refused(
            refusal(
                status.HTTP_408_REQUEST_TIMEOUT,
                f"The body must arrive within {ARRIVAL_SECONDS} seconds.",
                {"Connection": "close"},
            )
        ) from None


def _is_wide(body: bytes) -> bool:
    """Whether it is UTF-16 or UTF-32: it has a byte order mark, or a zero byte next to the first (ASCII) character."""
    return len(body) > len(codecs.BOM_UTF16) and (
        body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or 0 in body[:2]
    )
