"""HTTP answers for errors: problem details (RFC 9457) that echo no input."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_args
from uuid import UUID

from fastapi import FastAPI, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from qanatix_api import request_ids
from qanatix_api.codes import NO_SUCH_PATH, Code
from qanatix_api.logs import logger
from qanatix_api.refusals import ANSWERED, LookFailed, Refusal
from qanatix_pipelines.conflicts import Conflict, ConnectorChanged, RepeatDiffers
from qanatix_pipelines.errors import (
    InvalidConnector,
    NotFound,
    PullFinished,
    PullInProgress,
    StoreFull,
    StoreUnavailable,
)
from qanatix_pipelines.receipts import PullStatus, Receipt

log = logger(__name__)

PROBLEM_JSON = "application/problem+json"
# A problem's `type` is this and its code. Without a code it is about:blank: the status says all there is.
_KIND = "urn:qanatix:error:"
_EXTRA = "Extra inputs are not permitted"  # pydantic's
_NO_FIELD = "is not a field here: check how it is spelt"
_FIXED = "cannot be changed: register another connector"

# A source's failure is never 502, 503 or 504: clients retry those, and retries of a wrong password lock accounts.
_PULL_STATUS = {
    "query_rejected": status.HTTP_400_BAD_REQUEST,
    "result_unusable": status.HTTP_400_BAD_REQUEST,
    "pull_in_progress": status.HTTP_409_CONFLICT,
    "pull_superseded": status.HTTP_409_CONFLICT,
    "pull_cancelled": status.HTTP_409_CONFLICT,
    "store_full": status.HTTP_507_INSUFFICIENT_STORAGE,
    "store_unavailable": status.HTTP_503_SERVICE_UNAVAILABLE,
    "staging_lost": status.HTTP_503_SERVICE_UNAVAILABLE,
    "pull_not_started": status.HTTP_503_SERVICE_UNAVAILABLE,
    "merge_timeout": status.HTTP_500_INTERNAL_SERVER_ERROR,
    "pull_lost": status.HTTP_500_INTERNAL_SERVER_ERROR,
    "wrong_store": status.HTTP_500_INTERNAL_SERVER_ERROR,
    "pull_broken": status.HTTP_500_INTERNAL_SERVER_ERROR,
}
_CONFLICT_STATUS = {
    ConnectorChanged.code: status.HTTP_412_PRECONDITION_FAILED,
    RepeatDiffers.code: status.HTTP_422_UNPROCESSABLE_CONTENT,
}
_NO_PATH = "There is nothing at this address: check how it is spelt. The paths are listed at /docs."
_COME_AGAIN = {"Retry-After": "5"}
# An answer may repeat a field's name, so that the caller finds it, but no text that could be anything.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


class Fault(BaseModel):
    """What is wrong at one place of a request."""

    loc: list[str | int] = Field(description="The way there, from the top.", examples=[["body", "batch_size"]])
    msg: str
    type: str = Field(description="The kind of fault, for programs.")


class Problem(BaseModel):
    """An error. `detail` is a sentence; for an invalid request it is a list of what is wrong, and where."""

    type: str = Field(
        description=f"The kind of error, as a URI: `{_KIND}` and the code. `about:blank` if there is no code.",
        examples=["about:blank"],
    )
    title: str = Field(description="The kind of error in words, without what is special to this one.")
    status: int = Field(description="The status of the answer.", examples=[404])
    detail: str | list[Fault]
    code: Code | SkipJsonSchema[None] = Field(None, description="The kind of error, for programs.")
    request_id: str


class PullProblem(Problem):
    """An error of a pull. The fields are null if there is no pull."""

    pull_status: PullStatus | None = None
    pull_id: UUID | None = None
    run_id: str | None = Field(None, description="The pull's run in Dagster, if there is one.")


def problem(description: str, model: type[Problem] = Problem) -> dict[str, Any]:
    """An error's entry in the OpenAPI document.

    It names the schema of `model`, which the document has from there. Were it given as FastAPI's `model`, each route of
    each application would build a serializer for each of its errors, and use none.
    """
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"description": description, "content": {PROBLEM_JSON: {"schema": schema}}}


def _sentence(part: Mapping[str, Any], request: Request) -> str:
    if part["type"] == "extra_forbidden" and part["msg"] == _EXTRA:
        place = tuple(part["loc"])
        # `connector_type` is a field of a new connector, but not of a change.
        return _FIXED if place == ("body", "connector_type") else f"{_NO_FIELD}{_taken(request, len(place))}"
    return str(part["msg"]).removeprefix("Value error, ")


def _taken(request: Request, depth: int) -> str:
    """The list of the body's fields, if the unknown field is at their level."""
    body = getattr(request.scope.get("route"), "body_field", None)
    annotation = None if body is None else body.field_info.annotation
    kinds = (annotation, *get_args(annotation))
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return f"; it takes {', '.join(models[0].model_fields)}" if models and depth == len(("body", "field")) else ""


def refusal(
    status_code: int,
    detail: str | list[dict[str, Any]],
    headers: Mapping[str, str] | None = None,
    **facts: str | None,
) -> JSONResponse:
    """The answer for an error. `facts` are further members; of these, `code` decides the kind of error."""
    return JSONResponse(members(status_code, detail, **facts), status_code, headers, PROBLEM_JSON)


def members(status_code: int, detail: str | list[dict[str, Any]], **facts: str | None) -> dict[str, Any]:
    """What such an answer holds."""
    code = facts.get("code")
    return {
        "type": "about:blank" if code is None else _KIND + code,
        "title": HTTPStatus(status_code).phrase if code is None else code.replace("_", " ").capitalize(),
        "status": status_code,
        "detail": detail,
        **facts,
        "request_id": request_ids.current_request_id(),
    }


def unprocessable(problems: Sequence[tuple[Sequence[Any], str, str]]) -> JSONResponse:
    """The 422 answer. Each problem is a path into the request, a sentence, and a type."""
    detail = [
        {"loc": [_shown(part) for part in where], "msg": message, "type": kind} for where, message, kind in problems
    ]
    return refusal(status.HTTP_422_UNPROCESSABLE_CONTENT, detail)


def unavailable(error: StoreUnavailable) -> JSONResponse:
    """The answer if the store does not answer or is full."""
    if isinstance(error, StoreFull):
        return refusal(status.HTTP_507_INSUFFICIENT_STORAGE, str(error), code=error.code)
    return refusal(status.HTTP_503_SERVICE_UNAVAILABLE, str(error), _COME_AGAIN, code=error.code)


def conflict(error: Conflict | PullFinished | PullInProgress) -> JSONResponse:
    """The answer for a request that contradicts an earlier one, or a connector or a pull as it is now."""
    if isinstance(error, PullFinished | PullInProgress):
        return refusal(
            status.HTTP_409_CONFLICT, str(error), code=error.code, pull_id=str(error.pull_id), run_id=error.run_id
        )
    return refusal(_CONFLICT_STATUS.get(error.code, status.HTTP_409_CONFLICT), str(error), code=error.code)


def pull_failure(receipt: Receipt, headers: Mapping[str, str]) -> JSONResponse:
    """The answer for a pull that ended without ingesting."""
    status_code = _PULL_STATUS.get(receipt.error_code or "", status.HTTP_424_FAILED_DEPENDENCY)
    return refusal(
        status_code,
        receipt.error_detail or "",
        {**headers, **(_COME_AGAIN if status_code == status.HTTP_503_SERVICE_UNAVAILABLE else {})},
        code=receipt.error_code,
        pull_status=receipt.status,
        pull_id=str(receipt.id),
        run_id=receipt.run_id,
    )


def install(app: FastAPI) -> None:
    """Install the handlers of this project's errors."""
    _install_refusals(app)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = [(part["loc"], _sentence(part, request), part["type"]) for part in error.errors()]
        for (place, *names), _message, _kind in problems:
            if place == "path":  # a malformed id is the id of nothing
                return _not_found(request, NotFound(names[0].removesuffix("_id")))
        # FastAPI's own answer repeats the input, and the input may be a password.
        return unprocessable(problems)

    @app.exception_handler(InvalidConnector)
    def _invalid_connector(_: Request, error: InvalidConnector) -> JSONResponse:
        return unprocessable([((error.part, *error.field), str(error), "value_error")])

    @app.exception_handler(HTTPException)
    def _refused(request: Request, error: HTTPException) -> Response:
        return _refusal(request, error, _allow(app, request.scope, error))

    @app.exception_handler(NotFound)
    def _not_found(_: Request, error: NotFound) -> JSONResponse:
        return refusal(status.HTTP_404_NOT_FOUND, str(error))

    @app.exception_handler(Conflict)
    @app.exception_handler(PullFinished)
    @app.exception_handler(PullInProgress)
    def _conflict(_: Request, error: Conflict | PullFinished | PullInProgress) -> JSONResponse:
        return conflict(error)

    @app.exception_handler(StoreUnavailable)
    def _unavailable(_: Request, error: StoreUnavailable) -> JSONResponse:
        return unavailable(error)

    @app.exception_handler(Exception)
    def _fault(_: Request, error: Exception) -> JSONResponse:
        log.error("A fault of the API's own: %s. Its traceback follows.", type(error).__name__)
        return refusal(
            status.HTTP_500_INTERNAL_SERVER_ERROR,
            "This is a fault of the API's own; its log says where.",
            {request_ids.HEADER: request_ids.current_request_id()},  # this answer does not pass our middleware
        )


def _install_refusals(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    def _not_done(_: Request, error: Refusal) -> JSONResponse:
        headers = _COME_AGAIN if error.status == status.HTTP_503_SERVICE_UNAVAILABLE else None
        return refusal(error.status, str(error), headers, code=error.code)

    @app.exception_handler(LookFailed)
    def _not_looked(_: Request, error: LookFailed) -> JSONResponse:
        others = {NotFound.code: status.HTTP_404_NOT_FOUND} | {one.code: one.status for one in ANSWERED}
        known = others.get(error.code) or _PULL_STATUS.get(error.code, status.HTTP_424_FAILED_DEPENDENCY)
        return refusal(known, str(error), code=error.code)


def _refusal(request: Request, error: HTTPException, allow: Mapping[str, str]) -> Response:
    """The answer for an error of HTTP's own. OPTIONS, which no route takes, asks for no more than `allow`.

    Only the router raises a 404: what is missing at a path that is there is a NotFound.
    """
    if request.method == "OPTIONS" and allow:
        return Response(status_code=status.HTTP_204_NO_CONTENT, headers=allow)
    if error.status_code == status.HTTP_404_NOT_FOUND:
        return refusal(error.status_code, _NO_PATH, code=NO_SUCH_PATH)
    return refusal(error.status_code, error.detail, {**(error.headers or {}), **allow})


def _allow(app: FastAPI, scope: Scope, error: HTTPException) -> dict[str, str]:
    """The Allow header with all methods of an address. Each is its own route, and Starlette names only one."""
    if error.status_code != status.HTTP_405_METHOD_NOT_ALLOWED:
        return {}
    named = {
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    }
    return {"Allow": ", ".join(sorted(named | {"OPTIONS"} | ({"HEAD"} if "GET" in named else set())))}


def _shown(part: Any) -> Any:
    return part if isinstance(part, int) or _NAME.fullmatch(part) else "..."
