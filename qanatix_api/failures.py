"""Every error as an answer: which status it is, and a body `{"detail": ...}` that echoes nothing of the request."""

import logging
from typing import Any

from fastapi import FastAPI, Request, status
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from qanatix_pipelines.errors import (
    InvalidConnector,
    NotFound,
    OrchestratorUnavailable,
    PullInProgress,
    StoreFull,
    StoreUnavailable,
)
from qanatix_pipelines.pulls import Pull

log = logging.getLogger(__name__)

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
    "pull_lost": status.HTTP_500_INTERNAL_SERVER_ERROR,
    "pull_broken": status.HTTP_500_INTERNAL_SERVER_ERROR,
}
RETRY_SECONDS = 5


class Problem(BaseModel):
    """An error. `detail` is a sentence, or for a request that is wrong a list of what is wrong where."""

    detail: str | list[dict[str, Any]]


def problem(description: str) -> dict[str, Any]:
    """An error's entry in the OpenAPI document."""
    return {"model": Problem, "description": description}


def pull_failure(receipt: Pull) -> JSONResponse:
    """The answer for a pull that ended without ingesting."""
    body = {
        "detail": receipt.error_detail,
        "code": receipt.error_code,
        "status": receipt.status,
        "pull_id": str(receipt.id),
        "run_id": receipt.run_id,
    }
    return JSONResponse(body, _PULL_STATUS.get(receipt.error_code or "", status.HTTP_424_FAILED_DEPENDENCY))


def install(app: FastAPI) -> None:
    """Teach `app` to answer this project's errors."""

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = [(part["loc"], part["msg"], part["type"]) for part in error.errors()]
        for (place, *names), _message, _kind in problems:
            if place == "path":  # text that is no id names nothing
                return _not_found(_, NotFound(names[0].removesuffix("_id")))
        # FastAPI's own answer repeats the input, and the input may be a password.
        return _unprocessable(problems)

    @app.exception_handler(InvalidConnector)
    def _invalid_connector(_: Request, error: InvalidConnector) -> JSONResponse:
        return _unprocessable([(("body", *error.field), str(error), "value_error")])

    @app.exception_handler(NotFound)
    def _not_found(_: Request, error: NotFound) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status.HTTP_404_NOT_FOUND)

    @app.exception_handler(PullInProgress)
    def _in_progress(_: Request, error: PullInProgress) -> JSONResponse:
        body = {"detail": str(error), "code": error.code, "pull_id": str(error.pull_id)}
        return JSONResponse(body, status.HTTP_409_CONFLICT)

    @app.exception_handler(StoreFull)
    def _full(_: Request, error: StoreFull) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status.HTTP_507_INSUFFICIENT_STORAGE)

    @app.exception_handler(OrchestratorUnavailable)
    @app.exception_handler(StoreUnavailable)
    def _unavailable(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse(
            {"detail": str(error)},
            status.HTTP_503_SERVICE_UNAVAILABLE,
            headers={"Retry-After": str(RETRY_SECONDS)},
        )

    @app.exception_handler(Exception)
    def _fault(_: Request, _error: Exception) -> JSONResponse:
        return JSONResponse(
            {"detail": "This is a fault of the API's own; its log says where."}, status.HTTP_500_INTERNAL_SERVER_ERROR
        )


def _unprocessable(problems: list[tuple[Any, str, str]]) -> JSONResponse:
    detail = [{"loc": list(where), "msg": message, "type": kind} for where, message, kind in problems]
    return JSONResponse({"detail": detail}, status.HTTP_422_UNPROCESSABLE_CONTENT)
