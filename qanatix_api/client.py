"""An HTTP client of the API, which tests connectors, starts pulls, and polls a receipt until its pull has ended."""

import json
import time
from collections.abc import Iterator
from typing import Any, Self, TypeVar
from uuid import UUID

import httpx2
from pydantic import BaseModel, ValidationError

from qanatix_api.receipts import PullReceipt
from qanatix_api.watermarks import WatermarkAnswer
from qanatix_pipelines.errors import QanatixError
from qanatix_pipelines.extents import NEW_ROWS, Extent

POLL_SECONDS = 0.25
# How long to wait for one answer, and for an API that is away while a pull is followed.
ANSWER_SECONDS = 30
TEST_SECONDS = 60
PATIENCE_SECONDS = 120
_SHOWN_CHARACTERS = 500

_Model = TypeVar("_Model", bound=BaseModel)


class NoReceipt(QanatixError):
    """The API did not answer what was asked. The message says why, in a sentence or two, and has no part of the key."""


def address(text: str) -> str:
    """The base URL of an API, without `/api/v1`.

    Raises ValueError for anything else. Its message does not repeat the URL, which may have a password.
    """
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        raise ValueError("This is no URL.") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ValueError("A URL as http://127.0.0.1:8000 is needed, without a user, a password or a query.")
    return str(url).rstrip("/").removesuffix("/api/v1")


class Client:
    """A client of the API at the base URL `url`, with an API key. Every method raises NoReceipt."""

    def __init__(self, url: str, key: str) -> None:
        self.pulls_url = f"{url}/api/v1/pulls"
        self._url = url
        headers = {"Authorization": f"Bearer {key}"}
        self._client = httpx2.Client(headers=headers, timeout=ANSWER_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def begin(self, connector_id: UUID, extent: Extent = NEW_ROWS) -> tuple[PullReceipt, httpx2.URL]:
        """Start a pull, or join the connector's live one. Returns its receipt and the URL to poll."""
        answer, where = self._begun(connector_id, extent)
        return self._receipt(answer, 202), where

    def begin_dry_run(self, connector_id: UUID, extent: Extent = NEW_ROWS) -> httpx2.URL:
        """Start a dry run. Returns the URL to poll."""
        answer, where = self._begun(connector_id, extent, dry_run=True)
        if answer.status_code != httpx2.codes.ACCEPTED:
            raise NoReceipt(_refusal(answer))
        return where

    def dry_run(self, where: httpx2.URL) -> str:
        """The answer of a dry run, as JSON, once it has ended."""
        while (answer := self._poll(where)).status_code == httpx2.codes.ACCEPTED:
            time.sleep(POLL_SECONDS)
        if answer.status_code != httpx2.codes.OK:
            raise NoReceipt(_refusal(answer))
        return answer.text

    def end_dry_run(self, where: httpx2.URL) -> None:
        """End a dry run that nobody waits for any more."""
        try:
            self._client.delete(where)
        except httpx2.RequestError:
            raise self._away() from None

    def _begun(self, connector_id: UUID, extent: Extent, **how: bool) -> tuple[httpx2.Response, httpx2.URL]:
        try:
            answer = self._client.post(
                f"{self._url}/api/v1/connectors/{connector_id}/pull",
                params={"wait": "false"},
                json=extent.model_dump(mode="json", exclude_defaults=True) | how,
            )
        except httpx2.ConnectError:
            raise self._away() from None
        except httpx2.RequestError:
            raise NoReceipt(f"The API at {self._url} gave no answer. It may have begun the pull.") from None
        where = answer.url.join(answer.headers.get("Location", ""))
        if (where.scheme, where.host, where.port) != (answer.url.scheme, answer.url.host, answer.url.port):
            raise NoReceipt("The API says that the receipt is on another host, which is not given the key.")
        return answer, where

    def follow(self, receipt: PullReceipt, where: httpx2.URL) -> Iterator[PullReceipt]:
        """The receipt, polled every POLL_SECONDS. The last one is that of the ended pull."""
        yield receipt
        while receipt.status.live:
            time.sleep(POLL_SECONDS)
            receipt = self._receipt(self._poll(where), 200)
            yield receipt

    def watermark(self, connector_id: UUID) -> WatermarkAnswer:
        """A connector's watermark."""
        return self._watermark("GET", connector_id)

    def set_watermark(self, connector_id: UUID, value: str | int | None) -> WatermarkAnswer:
        """Have the next pull begin there; with None it reads everything. Returns the watermark as it is then."""
        return self._watermark("PUT", connector_id, json={"value": value})

    def _watermark(self, method: str, connector_id: UUID, **body: Any) -> WatermarkAnswer:
        url = f"{self._url}/api/v1/connectors/{connector_id}/watermark"
        try:
            answer = self._client.request(method, url, **body)
        except httpx2.RequestError:
            raise self._away() from None
        return self._read(WatermarkAnswer, answer, 200)

    def test(self, connector: UUID | dict[str, Any], rows: int) -> str:
        """The report of a test, as JSON: of the connector with this id, or of one with this body."""
        which = "" if isinstance(connector, dict) else f"/{connector}"
        try:
            answer = self._client.post(
                f"{self._url}/api/v1/connectors{which}/test",
                params={"rows": rows},
                content=json.dumps(connector, default=str) if isinstance(connector, dict) else None,
                headers={"Content-Type": "application/json"},
                timeout=TEST_SECONDS,
            )
        except httpx2.ConnectError:
            raise self._away() from None
        except httpx2.RequestError:
            raise NoReceipt(f"The API at {self._url} gave no answer.") from None
        if answer.status_code != httpx2.codes.OK:
            raise NoReceipt(_refusal(answer))
        return answer.text

    def _poll(self, where: httpx2.URL) -> httpx2.Response:
        """The answer. Retries for up to PATIENCE_SECONDS while the API is away or answers 429 or 503."""
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
        return self._read(PullReceipt, answer, expected)

    def _read(self, model: type[_Model], answer: httpx2.Response, expected: int) -> _Model:
        if answer.status_code != expected:
            raise NoReceipt(_refusal(answer))
        try:
            return model.model_validate_json(answer.content)
        except ValidationError:
            raise NoReceipt(f"What answers at {self._url} is not this release's API.") from None

    def _away(self) -> NoReceipt:
        return NoReceipt(f"The API at {self._url} cannot be reached.")


def _come_again(answer: httpx2.Response) -> int:
    """How many seconds to wait, by `Retry-After`."""
    said = answer.headers.get("Retry-After", "")
    return min(max(int(said), 1), PATIENCE_SECONDS) if said.isdecimal() and len(said) < len("86400") else 1


def _refusal(answer: httpx2.Response) -> str:
    """Why there is no receipt."""
    match answer.status_code:
        case 401:
            return "The API knows no such key as is in QANATIX_API_KEY; or it was revoked, or has ended."
        case 403:
            detail = _detail(answer)
            return f"The key in QANATIX_API_KEY was refused: {detail[:1].lower()}{detail[1:]}"
        case 404:
            return f"Not found: {_detail(answer)}"
        case 422:
            return f"The API does not take this request. {_detail(answer)}"
        case 429:
            return f"The API was asked too often: come again in {_come_again(answer)} seconds."
        case status:
            return f"The API answered {status}. {_detail(answer)}"


def _detail(answer: httpx2.Response) -> str:
    """The detail of an error answer, printable in a terminal, with its code if it has one."""
    try:
        body: Any = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "detail" not in body:
        return "What answers there is no QANATIX API."
    detail = body["detail"]
    if isinstance(detail, list):
        detail = "; ".join(_fault(problem) for problem in detail if isinstance(problem, dict))
    told = f"{detail} ({body['code']})" if body.get("code") else str(detail)
    return "".join(letter if letter.isprintable() else "?" for letter in told[:_SHOWN_CHARACTERS])


def _fault(problem: dict[str, Any]) -> str:
    """What is wrong with a request at one place, after the name of the field. `loc` begins with the request's part."""
    loc = problem.get("loc")
    field = ".".join(map(str, loc[1:])) if isinstance(loc, list) else ""
    return f"{field}: {problem.get('msg')}" if field else str(problem.get("msg"))
