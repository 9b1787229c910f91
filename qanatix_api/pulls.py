"""Endpoints that start, list, show and cancel pulls."""

import asyncio
import time
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from qanatix_api import audit
from qanatix_api.auth import needs
from qanatix_api.comparisons import DryRunAnswer, DryRunPending
from qanatix_api.dry_runs import begin_dry_run
from qanatix_api.failures import PullProblem, problem, pull_failure
from qanatix_api.filters import Cursor, Since, Trigger, wrong
from qanatix_api.listening import Waiting
from qanatix_api.preferences import APPLIED, Patience, read_patience
from qanatix_api.receipts import PullAnswer, PullPage, PullReceipt, RejectedRow, RejectedRowPage
from qanatix_api.repeats import REPEATABLE, REPEATED, has_key
from qanatix_api.services import Given, Services
from qanatix_pipelines.errors import PullFinished, PullNotStarted
from qanatix_pipelines.extents import NEW_ROWS, Extent
from qanatix_pipelines.keys import KeyRecord, Scope
from qanatix_pipelines.receipts import PullStatus, Receipt
from qanatix_pipelines.sources import check_extent
from qanatix_pipelines.store.history import WantedPulls
from qanatix_pipelines.store.pages import WrongCursor

router = APIRouter(tags=["pulls"])

Puller = Annotated[KeyRecord, needs(Scope.PULLS_RUN)]
Reader = Annotated[KeyRecord, needs(Scope.CONNECTORS_READ)]
LOOK_AGAIN_SECONDS = 1
# A caller that does not wait for the pull still learns that Dagster is away, if that shows within this time.
LAUNCH_SECONDS = 5

_LOCATION = {
    "Location": {"description": "Where to poll the receipt.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait before polling it.", "schema": {"type": "integer"}},
}
_PREFERENCE_APPLIED = {APPLIED: {"description": "What of `Prefer` was applied.", "schema": {"type": "string"}}}


class PullRequest(Extent):
    """How to pull."""

    dry_run: Annotated[bool, Field(strict=True)] = Field(
        False,
        description=(
            "Only say what the pull would do. Nothing is ingested, and `:last_pull` stays where it is. The answer has "
            "rows, so this also needs the scope `connectors:write`."
        ),
    )

    @property
    def extent(self) -> Extent:
        """How much of the source is asked for."""
        return Extent.model_validate(self.model_dump(include=set(Extent.model_fields)))


@router.post(
    "/connectors/{connector_id}/pull",
    summary="Pull a connector",
    dependencies=REPEATABLE,
    response_model=PullAnswer | DryRunAnswer,
    responses={
        200: {"headers": _PREFERENCE_APPLIED},
        202: {
            "model": PullReceipt | DryRunPending,
            "description": "The pull, or the dry run, continues; the answer does not wait any longer.",
            "headers": _LOCATION | _PREFERENCE_APPLIED,
        },
        400: problem("The source rejected the query, or its result cannot become entities.", PullProblem),
        404: problem("There is no such connector."),
        409: problem(
            "The pull was cancelled, or its connector was changed or deleted; or a pull is in progress that does not "
            "read what this one asks for.",
            PullProblem,
        ),
        424: problem("The source cannot be reached, refuses the login, or failed.", PullProblem),
        500: problem(
            "The pull failed by a fault of ours, its runs died three times, or Dagster uses another store. The run's "
            "log says more.",
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

    Each pull is a run in Dagster. While one is in progress a second request that asks for the same joins it and gets
    its result. A pull whose run dies is begun again, up to three times. A pull that fails ingests nothing and does not
    move `:last_pull`; neither does one with `since` or `limit`.

    If your connection is cut off while you wait, ask again: within 60 seconds of the pull's end you get its outcome.

    If the pull is not waited for, the answer is 202 with its receipt and the address to poll.

    With `dry_run` nothing is ingested: the answer says what a pull would do.
    """
    arrived = time.monotonic()
    extent = NEW_ROWS if asked is None else asked.extent
    connector = await run_in_threadpool(given.store.connectors.get, connector_id)
    if extent.partial:
        await run_in_threadpool(check_extent, connector, extent)
    if asked is not None and asked.dry_run:
        return await begin_dry_run(given, caller, request, connector, extent=extent, patience=patience)
    # A caller that tells repeats by an Idempotency-Key means a new pull by a new key.
    receipt, created = await run_in_threadpool(
        given.store.pulls.queue, connector_id, extent, repeats=not has_key(request)
    )
    told = {} if receipt.status.live else {REPEATED: "true"}
    if receipt.status.live:
        audit.record(caller, "connector.pulled", connector_id, receipt.id)
    seconds, longest = patience.seconds, given.settings.pull_wait_seconds
    async with Waiting(request, given.store.history, receipt.id) as waiting:
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
        await waiting.hear(receipt)
    accepted = receipt.status.live or (seconds == 0 and receipt.error_code != PullNotStarted.code)
    applied = patience.applied(longest, accepted=accepted) | told
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
    cursor: Cursor = None,
) -> PullPage:
    """Pulls, newest first. None is skipped or repeated while others begin."""
    given.store.connectors.get(connector_id)
    return _page(given, caller, WantedPulls(connector_id, status), limit, cursor)


@router.get("/pulls", summary="List pulls")
def list_all_pulls(
    *,
    given: Given,
    caller: Reader,
    status: Annotated[PullStatus | None, Query()] = None,
    connector_id: Annotated[UUID | None, Query()] = None,
    trigger: Annotated[Trigger | None, Query()] = None,
    since: Since = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Cursor = None,
) -> PullPage:
    """Pulls of all connectors, also of deleted ones, newest first. None is skipped or repeated while others begin."""
    return _page(given, caller, WantedPulls(connector_id, status, trigger, since), limit, cursor)


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
    cursor: Cursor = None,
) -> RejectedRowPage:
    """The first 1,000 rows that could not become entities, in the order of the source; the receipt counts all.

    They are kept for a connector's last ten pulls that rejected any, and until it is deleted: `kept` says how many are
    kept, `total` how many were rejected. A pull that did not complete has none.
    """
    total = given.store.pulls.get(pull_id).records_rejected
    try:
        found, next_cursor = given.store.rejections.page(pull_id, limit=limit, cursor=cursor)
    except WrongCursor as error:
        raise wrong("cursor", str(error)) from None
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
    dependencies=REPEATABLE,
    response_model=PullReceipt,
    responses={
        200: {"description": "It is cancelled, and its run has ended."},
        202: {
            "model": PullReceipt,
            "description": "It is cancelled and ingests nothing, but its run has not ended yet.",
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


def _accepted(receipt: Receipt, caller: KeyRecord, request: Request, headers: dict[str, str]) -> Response:
    where = {
        "Location": request.app.url_path_for("get_pull", pull_id=receipt.id),
        "Retry-After": str(LOOK_AGAIN_SECONDS),
    }
    told = PullReceipt.of(receipt, caller).model_dump_json()
    return Response(told, status.HTTP_202_ACCEPTED, headers | where, media_type="application/json")


def _page(given: Services, caller: KeyRecord, wanted: WantedPulls, limit: int, cursor: str | None) -> PullPage:
    try:
        found, next_cursor = given.store.history.page(wanted, limit=limit, cursor=cursor)
    except WrongCursor as error:
        raise wrong("cursor", str(error)) from None
    items = [PullReceipt.of(receipt, caller) for receipt in found]
    return PullPage(items=items, cursor=next_cursor, has_more=next_cursor is not None)
