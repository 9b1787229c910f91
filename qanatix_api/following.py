"""A pull as a program elsewhere follows it over REST: asked for, and looked at until it has ended."""

import time
from collections.abc import Iterator
from typing import Any, Self
from uuid import UUID

import httpx2
from pydantic import ValidationError

from qanatix_api.receipts import PullReceipt
from qanatix_pipelines.errors import QanatixError

LOOK_SECONDS = 0.25
# For one answer; and for the API to come back while a pull is followed.
ANSWER_SECONDS = 30
PATIENCE_SECONDS = 120
_SHOWN_CHARACTERS = 500


class NoReceipt(QanatixError):
    """The API gave no receipt. Says why in a sentence or two, without anything of the key."""


def address(text: str) -> str:
    """Where an API is, without the path that is every API's. Raises ValueError, which repeats nothing: a URL may hold a
    password.
    """
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        raise ValueError("This is no URL.") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ValueError("A URL as http://127.0.0.1:8000 is needed, without a user, a password or a query.")
    return str(url).rstrip("/").removesuffix("/api/v1")


class Api:
    """An API at an `address`, asked with a key. Every method raises NoReceipt."""

    def __init__(self, url: str, key: str) -> None:
        self.pulls_url = f"{url}/api/v1/pulls"
        self._url = url
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx2.Client(headers=headers, timeout=ANSWER_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def begin(self, connector_id: UUID, *, full_refresh: bool = False) -> tuple[PullReceipt, httpx2.URL]:
        """Ask for a pull, or join the connector's live one: its receipt, and where that is found from then on."""
        try:
            answer = self._client.post(
                f"{self._url}/api/v1/connectors/{connector_id}/pull",
                params={"wait": "false"},
                json={"full_refresh": full_refresh},
            )
        except httpx2.ConnectError:
            raise self._away() from None
        except httpx2.RequestError:
            raise NoReceipt(f"The API at {self._url} gave no answer. It may have begun the pull.") from None
        where = answer.url.join(answer.headers.get("Location", ""))
        if (where.scheme, where.host, where.port) != (answer.url.scheme, answer.url.host, answer.url.port):
            raise NoReceipt("The API says that the receipt is on another host, which is not given the key.")
        return self._receipt(answer, 202), where

    def follow(self, receipt: PullReceipt, where: httpx2.URL) -> Iterator[PullReceipt]:
        """The receipt as it is, again and again, the last time when the pull has ended."""
        yield receipt
        while receipt.status.live:
            time.sleep(LOOK_SECONDS)
            receipt = self._receipt(self._look(where), 200)
            yield receipt

    def _look(self, where: httpx2.URL) -> httpx2.Response:
        """An answer. Waits for an API that is away, or has been asked too often, for as long as PATIENCE_SECONDS."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            pause = 1
            try:
                answer = self._client.get(where)
            except httpx2.RequestError:
                if time.monotonic() > deadline:
                    raise self._away() from None
            else:
                if answer.status_code not in (429, 503) or time.monotonic() > deadline:
                    return answer
                pause = _come_again(answer)
            time.sleep(pause)

    def _receipt(self, answer: httpx2.Response, expected: int) -> PullReceipt:
        if answer.status_code != expected:
            raise NoReceipt(_refusal(answer))
        try:
            return PullReceipt.model_validate_json(answer.content)
        except ValidationError:
            raise NoReceipt(f"What answers at {self._url} is not this release's API.") from None

    def _away(self) -> NoReceipt:
        return NoReceipt(f"The API at {self._url} cannot be reached.")


def _come_again(answer: httpx2.Response) -> int:
    """After how many seconds."""
    said = answer.headers.get("Retry-After", "")
    return min(max(int(said), 1), PATIENCE_SECONDS) if said.isdecimal() and len(said) < len("86400") else 1


def _refusal(answer: httpx2.Response) -> str:
    """Why there is no receipt."""
    match answer.status_code:
        case 401:
            return "The API knows no such key as is in QANATIX_API_KEY; or it was revoked, or has ended."
        case 403:
            return f"The key in QANATIX_API_KEY is not allowed to. {_detail(answer)}"
        case 404:
            return f"Not found: {_detail(answer)}"
        case 422:
            return f"The API does not take this request. {_detail(answer)}"
        case 429:
            return f"The API was asked too often: come again in {_come_again(answer)} seconds."
        case status:
            return f"The API answered {status}. {_detail(answer)}"


def _detail(answer: httpx2.Response) -> str:
    """What an answer says is wrong, fit for a terminal; and the code, where it has one."""
    try:
        body: Any = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "detail" not in body:
        return "What answers there is no QANATIX API."
    detail = body["detail"]
    if isinstance(detail, list):
        detail = "; ".join(str(problem.get("msg")) for problem in detail if isinstance(problem, dict))
    told = f"{detail} ({body['code']})" if body.get("code") else str(detail)
    return "".join(letter if letter.isprintable() else "?" for letter in told[:_SHOWN_CHARACTERS])
