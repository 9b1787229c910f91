"""Dry runs over REST: one that takes longer than its request is polled, and its answer stays for ten minutes."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response, status
from fastapi.concurrency import run_in_threadpool

from qanatix_api import audit
from qanatix_api.auth import check_scopes, needs
from qanatix_api.comparisons import DryRunAnswer, DryRunPending, written
from qanatix_api.failures import problem
from qanatix_api.preferences import Patience
from qanatix_api.refusals import DryRunGone
from qanatix_api.repeats import NOT_KEPT
from qanatix_api.services import Given, Services
from qanatix_pipelines.comparisons import Comparison
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import NotFound
from qanatix_pipelines.extents import Extent
from qanatix_pipelines.keys import KeyRecord, Scope
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.drafts import LIFETIME

router = APIRouter(tags=["pulls"])

Writer = Annotated[KeyRecord, needs(Scope.CONNECTORS_WRITE)]
LOOK_AGAIN_SECONDS = 1
_NONE = problem(
    "There is no such connector. Or (`dry_run_gone`) the dry run was deleted, its time is over, or it never was."
)
_FAILURES: dict[int | str, dict[str, Any]] = {
    400: problem("The source rejected the query, or its result cannot become entities."),
    404: _NONE,
    424: problem("The source cannot be reached, refuses the login, or failed."),
    500: problem("The dry run broke on a fault of ours, or its run was ended. The run's log says more."),
    503: problem("Dagster or the store cannot be reached."),
}
_LOCATION = {
    "Location": {"description": "Where to poll it.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait before polling it.", "schema": {"type": "integer"}},
}


async def begin_dry_run(
    given: Services, caller: KeyRecord, request: Request, connector: Connector, *, extent: Extent, patience: Patience
) -> Response:
    """The answer to a pull that is only tried. Raises as `Looks.ask_on`, and a 403 without the scope for rows."""
    check_scopes(caller, frozenset({Scope.CONNECTORS_WRITE}))
    source = await run_in_threadpool(given.store.connectors.source_of, connector.id)
    audit.record(caller, "connector.dry_run", connector.id)
    longest = given.settings.pull_wait_seconds
    dry_run_id, result = await given.looks.ask_on(
        request,
        "dry_run",
        extent.model_dump(mode="json"),
        connector_id=connector.id,
        source=source,
        seconds=longest if patience.seconds is None else min(longest, patience.seconds),
        lifetime=_lifetime(given.settings),
    )
    applied = patience.applied(longest, accepted=result is None)
    return _told(request, connector.id, dry_run_id, result, applied)


@router.get(
    "/connectors/{connector_id}/dry-runs/{dry_run_id}",
    summary="Collect the answer of a dry run",
    response_model=DryRunAnswer,
    responses=_FAILURES | {202: {"model": DryRunPending, "description": "It goes on.", "headers": _LOCATION}},
)
async def get_dry_run(given: Given, caller: Writer, connector_id: UUID, dry_run_id: UUID, request: Request) -> Response:
    """What a pull would do, once the dry run has ended. The answer is kept for ten minutes, unless you DELETE it."""
    del caller
    await run_in_threadpool(given.store.connectors.get, connector_id)
    try:
        result = await given.looks.result(dry_run_id, "dry_run", connector_id)
    except NotFound:
        raise DryRunGone from None
    return _told(request, connector_id, dry_run_id, result, {})


@router.delete(
    "/connectors/{connector_id}/dry-runs/{dry_run_id}",
    summary="End a dry run",
    status_code=status.HTTP_204_NO_CONTENT,
    responses={404: _NONE},
)
async def delete_dry_run(given: Given, caller: Writer, connector_id: UUID, dry_run_id: UUID) -> None:
    """End the dry run, its query and its run in Dagster, and forget its answer."""
    del caller
    await run_in_threadpool(given.store.connectors.get, connector_id)
    try:
        await given.looks.drop(dry_run_id, "dry_run", connector_id)
    except NotFound:
        raise DryRunGone from None


def _told(
    request: Request, connector_id: UUID, dry_run_id: UUID, result: dict[str, Any] | None, headers: dict[str, str]
) -> Response:
    if result is not None:
        answer = written(Comparison.model_validate(result), dry_run_id, connector_id)
        return Response(answer, headers=headers | NOT_KEPT, media_type="application/json")
    where = {
        "Location": request.app.url_path_for("get_dry_run", connector_id=connector_id, dry_run_id=dry_run_id),
        "Retry-After": str(LOOK_AGAIN_SECONDS),
    }
    pending = DryRunPending(status="running", dry_run_id=dry_run_id, connector_id=connector_id)
    return Response(pending.model_dump_json(), status.HTTP_202_ACCEPTED, headers | where, media_type="application/json")


def _lifetime(settings: Settings) -> timedelta:
    """How long a dry run may take, with the start of its run."""
    return timedelta(seconds=settings.pull_seconds + settings.merge_seconds) + LIFETIME
