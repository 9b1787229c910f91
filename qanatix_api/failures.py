"""Every error as an answer: its status, and a body `{"detail": ..., "request_id": ...}` that echoes no value."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args
from uuid import UUID

from fastapi import FastAPI, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from qanatix_api import request_ids
from qanatix_api.logs import logger
from qanatix_pipelines.errors import (
    InvalidConnector,
    NotFound,
    PullFinished,
    PullInProgress,
    StoreFull,
    StoreUnavailable,
)
from qanatix_pipelines.pulls import Pull, PullStatus

log = logger(__name__)

_EXTRA = "Extra inputs are not permitted"  # pydantic's
_NO_FIELD = "is not a field here: check how it is spelt"
_FIXED = "cannot be changed: register another connector"

# A source's failure is never 502, 503 or 504: clients repeat those, and repeating a wrong password locks accounts.
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
    "pull_broken": status.HTTP_500_INTERNAL_SERVER_ERROR,
}
_COME_AGAIN = {"Retry-After": "5"}
# A field's name may stand in an answer, so that its sender finds it; text that could be anything may not.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


class Problem(BaseModel):
    """An error. `detail` is a sentence, or for a request that is wrong a list of what is wrong where."""

    detail: str | list[dict[str, Any]]
    code: str | None = Field(None, description="Which error it is, for programs; of a pull's and of the store's.")
    request_id: str


class PullProblem(Problem):
    """An error of a pull's, where there is a pull."""

    status: PullStatus | None = None
    pull_id: UUID | None = None
    run_id: str | None = Field(None, description="The pull's run in Dagster, if there is one.")


def problem(description: str, model: type[Problem] = Problem) -> dict[str, Any]:
    """An error's entry in the OpenAPI document."""
    return {"model": model, "description": description}


def _sentence(part: Mapping[str, Any], request: Request) -> str:
    if part["type"] == "extra_forbidden" and part["msg"] == _EXTRA:
        place = tuple(part["loc"])
        # Only where it may not change is it a field too many.
        return _FIXED if place == ("body", "connector_type") else f"{_NO_FIELD}{_taken(request, len(place))}"
    return str(part["msg"]).removeprefix("Value error, ")


def _taken(request: Request, depth: int) -> str:
    """The fields of the request's body, for one that stands beside them."""
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
    """An error's answer."""
    body = {"detail": detail, **facts, "request_id": request_ids.current_request_id()}
    return JSONResponse(body, status_code, headers)


def unprocessable(problems: Sequence[tuple[Sequence[Any], str, str]]) -> JSONResponse:
    """The answer to a request that is wrong: where, a sentence, and of which kind, for each thing that is."""
    detail = [
        {"loc": [_shown(part) for part in where], "msg": message, "type": kind} for where, message, kind in problems
    ]
    return refusal(status.HTTP_422_UNPROCESSABLE_CONTENT, detail)


def unavailable(error: StoreUnavailable) -> JSONResponse:
    """The answer where the store is away, or full."""
    if isinstance(error, StoreFull):
        return refusal(status.HTTP_507_INSUFFICIENT_STORAGE, str(error), code=error.code)
    return refusal(status.HTTP_503_SERVICE_UNAVAILABLE, str(error), _COME_AGAIN, code=error.code)


def pull_failure(receipt: Pull, headers: Mapping[str, str]) -> JSONResponse:
    """The answer for a pull that ended without ingesting, with these headers."""
    status_code = _PULL_STATUS.get(receipt.error_code or "", status.HTTP_424_FAILED_DEPENDENCY)
    return refusal(
        status_code,
        receipt.error_detail or "",
        {**headers, **(_COME_AGAIN if status_code == status.HTTP_503_SERVICE_UNAVAILABLE else {})},
        code=receipt.error_code,
        status=receipt.status,
        pull_id=str(receipt.id),
        run_id=receipt.run_id,
    )


def install(app: FastAPI) -> None:
    """Teach `app` to answer this project's errors."""

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = [(part["loc"], _sentence(part, request), part["type"]) for part in error.errors()]
        for (place, *names), _message, _kind in problems:
            if place == "path":  # text that is no id names nothing
                return _not_found(request, NotFound(names[0].removesuffix("_id")))
        # FastAPI's own answer repeats the input, and the input may be a password.
        return unprocessable(problems)

    @app.exception_handler(InvalidConnector)
    def _invalid_connector(_: Request, error: InvalidConnector) -> JSONResponse:
        return unprocessable([(("body", *error.field), str(error), "value_error")])

    @app.exception_handler(HTTPException)
    def _refused(request: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, error.detail, {**(error.headers or {}), **_allow(app, request.scope, error)})

    @app.exception_handler(NotFound)
    def _not_found(_: Request, error: NotFound) -> JSONResponse:
        return refusal(status.HTTP_404_NOT_FOUND, str(error))

    @app.exception_handler(PullFinished)
    @app.exception_handler(PullInProgress)
    def _conflict(_: Request, error: PullFinished | PullInProgress) -> JSONResponse:
        return refusal(
            status.HTTP_409_CONFLICT, str(error), code=error.code, pull_id=str(error.pull_id), run_id=error.run_id
        )

    @app.exception_handler(StoreUnavailable)
    def _unavailable(_: Request, error: StoreUnavailable) -> JSONResponse:
        return unavailable(error)

    @app.exception_handler(Exception)
    def _fault(_: Request, error: Exception) -> JSONResponse:
        log.error("A fault of the API's own: %s. Its traceback follows.", type(error).__name__)
        return refusal(
            status.HTTP_500_INTERNAL_SERVER_ERROR,
            "This is a fault of the API's own; its log says where.",
            {request_ids.HEADER: request_ids.current_request_id()},  # it is answered outside of our middleware
        )


def _allow(app: FastAPI, scope: Scope, error: HTTPException) -> dict[str, str]:
    """Which methods an address takes: each of them is a route of its own, and Starlette tells but one's."""
    if error.status_code != status.HTTP_405_METHOD_NOT_ALLOWED:
        return {}
    taken = [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.routes)
    ]
    return {"Allow": ", ".join(taken)}


def _shown(part: Any) -> Any:
    return part if isinstance(part, int) or _NAME.fullmatch(part) else "..."
