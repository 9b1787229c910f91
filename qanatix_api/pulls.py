"""Pulls over HTTP: ask for one, look at them, cancel one."""

import asyncio
import time
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from qanatix_api import audit
from qanatix_api.auth import needs
from qanatix_api.failures import PullProblem, problem, pull_failure
from qanatix_api.preferences import APPLIED, Patience, read_patience
from qanatix_api.receipts import PullAnswer, PullPage, PullReceipt, RejectedRow, RejectedRowPage
from qanatix_api.services import Given
from qanatix_pipelines.errors import PullFinished, PullNotStarted
from qanatix_pipelines.keys import KeyRecord, Scope
from qanatix_pipelines.pulls import Pull, PullStatus

router = APIRouter(tags=["pulls"])

Puller = Annotated[KeyRecord, needs(Scope.PULLS_RUN)]
Reader = Annotated[KeyRecord, needs(Scope.CONNECTORS_READ)]
LOOK_AGAIN_SECONDS = 1
# Who does not wait for the pull is still told where Dagster is away, if that shows at once.
LAUNCH_SECONDS = 5

_LOCATION = {
    "Location": {"description": "Where the receipt is, as it goes on.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds after which to look there.", "schema": {"type": "integer"}},
}
_PREFERENCE_APPLIED = {APPLIED: {"description": "What of `Prefer` decided the answer.", "schema": {"type": "string"}}}


class PullRequest(BaseModel):
    """How to pull."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    full_refresh: Annotated[bool, Field(strict=True)] = Field(
        False, description="Read everything, as on a first pull. It also finds what changed without a later time."
    )


@router.post(
    "/connectors/{connector_id}/pull",
    summary="Pull a connector",
    response_model=PullAnswer,
    responses={
        200: {"headers": _PREFERENCE_APPLIED},
        202: {
            "model": PullReceipt,
            "description": "It is not waited for any longer, and goes on.",
            "headers": _LOCATION | _PREFERENCE_APPLIED,
        },
        400: problem("The source rejected the query, or its result cannot become entities.", PullProblem),
        404: problem("There is no such connector."),
        409: problem(
            "The pull was cancelled, or its connector changed or deleted; or everything is to be read again, but a "
            "pull that does not is in progress.",
            PullProblem,
        ),
        424: problem("The source cannot be reached, refuses the login, or failed.", PullProblem),
        500: problem(
            "The pull broke on a fault of its own, or its runs were stopped three times; its run says where, or when.",
            PullProblem,
        ),
        503: problem("Dagster or the store cannot be reached. Nothing was pulled.", PullProblem),
        507: problem("The store's disk is full. Nothing was pulled.", PullProblem),
    },
)
async def pull_connector(
    *,
    given: Given,
    caller: Puller,
    connector_id: UUID,
    request: Request,
    later: BackgroundTasks,
    patience: Annotated[Patience, Depends(read_patience)],
    asked: PullRequest | None = None,
) -> Any:
    """Run the connector's query in its database and ingest the rows that are new or changed; answer when it is done.

    Each pull is a run in Dagster. While one is in progress a second request joins it and gets its result. A pull whose
    run dies is begun again, up to three times. A pull that fails ingests nothing and does not move `:last_pull`.

    A pull that is not waited for is answered 202 with its receipt, and with where to find that later.
    """
    arrived = time.monotonic()
    full_refresh = asked is not None and asked.full_refresh
    connector = await run_in_threadpool(given.store.connectors.get, connector_id)
    receipt, created = await run_in_threadpool(given.store.pulls.queue, connector_id, full_refresh=full_refresh)
    audit.record(caller, "connector.pulled", connector_id, receipt.id)
    seconds, longest = patience.seconds, given.settings.pull_wait_seconds
    if created:
        beginning = asyncio.create_task(given.runs.begin(receipt, connector))
        await asyncio.wait({beginning}, timeout=LAUNCH_SECONDS if seconds == 0 else seconds)
        if beginning.done():
            receipt = beginning.result()
            if receipt.error_code == PullNotStarted.code:
                given.lineage.revive()
        else:
            later.add_task(asyncio.wait, {beginning})
    if receipt.status.live:
        left = longest if seconds is None else min(longest, max(0, seconds - (time.monotonic() - arrived)))
        receipt = await given.runs.wait(receipt, left)
    accepted = receipt.status.live or (seconds == 0 and receipt.error_code != PullNotStarted.code)
    applied = patience.applied(longest, accepted=accepted)
    if accepted:
        return _accepted(receipt, caller, request, applied)
    if receipt.error_code is not None:
        return pull_failure(receipt, applied)
    return Response(PullAnswer.of(receipt, caller).model_dump_json(), headers=applied, media_type="application/json")


@router.get(
    "/connectors/{connector_id}/pulls",
    summary="List a connector's pulls",
    responses={404: problem("There is no such connector.")},
)
def list_pulls(
    *,
    given: Given,
    caller: Reader,
    connector_id: UUID,
    status: Annotated[PullStatus | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> PullPage:
    """The newest first. No pull is skipped or given twice while others begin."""
    given.store.connectors.get(connector_id)
    try:
        found, next_cursor = given.store.pulls.page(connector_id, status=status, limit=limit, cursor=cursor)
    except ValueError as error:
        raise RequestValidationError([{"loc": ("query", "cursor"), "msg": str(error), "type": "value_error"}]) from None
    items = [PullReceipt.of(receipt, caller) for receipt in found]
    return PullPage(items=items, cursor=next_cursor, has_more=next_cursor is not None)


@router.get(
    "/pulls/{pull_id}",
    summary="Show a pull",
    responses={404: problem("There is no such pull.")},
)
def get_pull(given: Given, caller: Reader, pull_id: UUID) -> PullReceipt:
    """One pull's receipt. It outlives its connector."""
    return PullReceipt.of(given.store.pulls.get(pull_id), caller)


@router.get(
    "/pulls/{pull_id}/rejections",
    summary="List the rows that a pull rejected",
    dependencies=[needs(Scope.ENTITIES_READ)],
    responses={404: problem("There is no such pull.")},
)
def list_rejections(
    given: Given,
    pull_id: UUID,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> RejectedRowPage:
    """The first 1,000 rows that could not become entities, in the order of the source; the receipt counts all.

    They are kept for a connector's last ten pulls that rejected any, and until it is deleted: `kept` says how many are,
    `total` how many there were. There are none of a pull that did not complete.
    """
    total = given.store.pulls.get(pull_id).records_rejected
    try:
        found, next_cursor = given.store.rejections.page(pull_id, limit=limit, cursor=cursor)
    except ValueError as error:
        raise RequestValidationError([{"loc": ("query", "cursor"), "msg": str(error), "type": "value_error"}]) from None
    return RejectedRowPage(
        items=list(map(RejectedRow.of, found)),
        kept=given.store.rejections.kept(pull_id),
        total=total,
        cursor=next_cursor,
        has_more=next_cursor is not None,
    )


@router.post(
    "/pulls/{pull_id}/cancel",
    summary="Cancel a pull",
    response_model=PullReceipt,
    responses={
        200: {"description": "It is cancelled, and its run has ended."},
        202: {
            "model": PullReceipt,
            "description": "It is cancelled and ingests nothing; its run has not been seen to end yet.",
            "headers": _LOCATION,
        },
        404: problem("There is no such pull."),
        409: problem("It has completed or failed already.", PullProblem),
    },
)
async def cancel_pull(given: Given, caller: Puller, pull_id: UUID, request: Request) -> Any:
    """End a pull, the query in its source and its run in Dagster. It ingests nothing and does not move `:last_pull`.

    To cancel it once more does no harm.
    """
    before = await run_in_threadpool(given.store.pulls.get, pull_id)
    receipt = await given.runs.cancel(before) if before.status.live else before
    if receipt.status is not PullStatus.CANCELLED:
        raise PullFinished(receipt.id, receipt.run_id, receipt.status)
    if before.status.live:
        audit.record(caller, "pull.cancelled", pull_id, pull_id)
    if await given.runs.ended(receipt):
        return PullReceipt.of(receipt, caller)
    return _accepted(receipt, caller, request, {})


def _accepted(receipt: Pull, caller: KeyRecord, request: Request, headers: dict[str, str]) -> Response:
    where = {
        "Location": request.app.url_path_for("get_pull", pull_id=receipt.id),
        "Retry-After": str(LOOK_AGAIN_SECONDS),
    }
    told = PullReceipt.of(receipt, caller).model_dump_json()
    return Response(told, status.HTTP_202_ACCEPTED, headers | where, media_type="application/json")
