"""Endpoints that register, list, show, change and delete connectors."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Body, Depends, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool

from qanatix_api import audit
from qanatix_api.auth import needs
from qanatix_api.connector_answers import ConnectorAnswer, ConnectorKept
from qanatix_api.connector_requests import ConnectorChanges, ConnectorRequest
from qanatix_api.connector_tests import ConnectorTestProblem, refused, report_of_unsaved, warnings_of
from qanatix_api.examples import EXAMPLES
from qanatix_api.failures import problem
from qanatix_api.filters import NEXT, Cursor, read_wanted, tell_next, wrong
from qanatix_api.preconditions import CHANGED, TAGGED, IfMatch, set_tag
from qanatix_api.preferences import Flag
from qanatix_api.registering import alike, change, register
from qanatix_api.repeats import REPEATABLE, REPEATED, has_key
from qanatix_api.services import Given, Services
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.credentials import REDACTED
from qanatix_pipelines.keys import KeyRecord, Scope
from qanatix_pipelines.reports import ConnectorTest
from qanatix_pipelines.store.connector_lists import Wanted
from qanatix_pipelines.store.pages import WrongCursor

router = APIRouter(prefix="/connectors", tags=["connectors"])

Writer = Annotated[KeyRecord, needs(Scope.CONNECTORS_WRITE)]
# How long the removal of a connector may take before its run is stopped all the same.
REMOVE_SECONDS = 2
WHERE: dict[str, Any] = {"Location": {"description": "Its address.", "schema": {"type": "string"}}}


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Register a connector",
    response_model=ConnectorKept,
    dependencies=REPEATABLE,
    responses={
        201: {"headers": TAGGED | WHERE},
        409: problem("Another connector has this key."),
        422: problem("A field is missing or wrong, or the connector did not pass its test.", ConnectorTestProblem),
        503: problem("Dagster or the store cannot be reached, or the test's run was lost. Nothing was created."),
    },
)
async def create_connector(
    *,
    new: Annotated[ConnectorRequest, Body(openapi_examples=EXAMPLES)],
    given: Given,
    caller: Writer,
    request: Request,
    response: Response,
    later: BackgroundTasks,
    test: Annotated[
        Flag, Query(description="`true` tests the connector first, and creates it only if no check fails.")
    ] = False,
) -> Any:
    """Register a database, a query, and the entity set of its rows. The credentials are encrypted at once. The API
    itself does not connect to the database: `POST /connectors/test` and `test=true` have a run in Dagster do it.

    `collection` and `record_type` are accepted for `vertical` and `entity_type`. In the query, `:last_pull` stands for
    the time up to which earlier pulls have read the source. It is always bound as a parameter.

    Without an Idempotency-Key, an equal request within 60 seconds is a repeat: it is answered with the connector that
    the first one registered, unless that was changed or deleted meanwhile.
    """
    tested = await report_of_unsaved(given, caller, request, new) if test else None
    if tested is not None and (refusal := refused(tested)) is not None:
        return refusal
    sent = None if has_key(request) else alike(given, caller, new)
    connector, created = await register(given, caller, later, new, sent)
    if not created:
        response.headers[REPEATED] = "true"
    response.headers["Location"] = place(request, connector)
    return await run_in_threadpool(kept, given, response, connector, tested)


@router.get(
    "",
    summary="List connectors",
    dependencies=[needs(Scope.CONNECTORS_READ)],
    responses={200: {"headers": NEXT}},
)
def list_connectors(
    *,
    given: Given,
    request: Request,
    response: Response,
    wanted: Annotated[Wanted, Depends(read_wanted)],
    limit: Annotated[int | None, Query(ge=1, le=100, description="The length of a page. Without it: all.")] = None,
    cursor: Cursor = None,
) -> list[ConnectorAnswer]:
    """The connectors that have all of the given values, oldest first. With `limit`, the header Link names the next
    page.
    """
    if cursor is not None and limit is None:
        raise wrong("cursor", "needs a limit beside it")
    try:
        found, next_cursor = given.store.connectors.page(wanted, limit, cursor)
    except WrongCursor as error:
        raise wrong("cursor", str(error)) from None
    tell_next(request, response, next_cursor)
    last = given.store.connectors.last_pulls(*(connector.id for connector in found) if limit else ())
    return [ConnectorAnswer.of(connector, last.get(connector.id)) for connector in found]


@router.get(
    "/{connector_id}",
    summary="Show a connector",
    dependencies=[needs(Scope.CONNECTORS_READ)],
    responses={200: {"headers": TAGGED}, 404: problem("There is no such connector.")},
)
def get_connector(given: Given, response: Response, connector_id: UUID) -> ConnectorAnswer:
    """One connector, and how its last pull went."""
    return shown(given, response, given.store.connectors.get(connector_id))


@router.patch(
    "/{connector_id}",
    summary="Change a connector",
    responses={
        200: {"headers": TAGGED},
        404: problem("There is no such connector."),
        409: problem("Another connector has this key."),
        412: CHANGED,
        422: problem("A field is wrong."),
    },
)
async def change_connector(
    *,
    given: Given,
    caller: Writer,
    connector_id: UUID,
    changes: ConnectorChanges,
    condition: IfMatch,
    response: Response,
    later: BackgroundTasks,
) -> ConnectorKept:
    """Change the given fields. The API does not connect to the database. The body may be sent as
    `application/merge-patch+json`, too.

    If the change decides which rows are read, or what they become, a running pull is given up (it ingests nothing) and
    the next pull reads everything. A new password for the same user only gives up a running pull. Any other change
    takes effect with the next pull.
    """
    before = await run_in_threadpool(given.store.connectors.get, connector_id)
    settings = changes.model_dump(exclude_unset=True)
    config = settings.pop("connection_config", REDACTED)
    changed = await change(given, caller, later, before, settings=settings, config=config, condition=condition)
    return await run_in_threadpool(kept, given, response, changed)


@router.delete(
    "/{connector_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a connector",
    responses={404: problem("There is no such connector."), 412: CHANGED},
)
async def delete_connector(given: Given, caller: Writer, connector_id: UUID, condition: IfMatch) -> None:
    """Delete a connector and its credentials. A running pull is given up and ingests nothing. Entities stay.

    Its partition leaves Dagster's grid within a minute or so, or with the last backfill that names it.
    """
    condition.check(await run_in_threadpool(given.store.connectors.get, connector_id))
    live = await run_in_threadpool(given.store.pulls.live, connector_id)
    removing = asyncio.create_task(run_in_threadpool(given.store.connectors.remove, connector_id, condition.check))
    # First, for a run that is stopped earlier writes that its pull was cancelled. But the pull's final transaction may
    # hold SQLite's only lock until its run is stopped.
    await asyncio.wait({removing}, timeout=REMOVE_SECONDS)
    if live is not None and live.run_id is not None and (not removing.done() or removing.exception() is None):
        await given.runs.terminate(live.run_id)
    await removing
    audit.record(caller, "connector.deleted", connector_id)


def shown(given: Services, response: Response, connector: Connector) -> ConnectorAnswer:
    """The answer that shows a connector, with its ETag."""
    set_tag(response, connector)
    return ConnectorAnswer.of(connector, given.store.connectors.last_pulls(connector.id).get(connector.id))


def kept(
    given: Services, response: Response, connector: Connector, tested: ConnectorTest | None = None
) -> ConnectorKept:
    """The same for one that was registered or changed just now. `tested` is the test that it passed before that."""
    warnings = warnings_of(given, connector, connector.id, tested)
    return ConnectorKept(**dict(shown(given, response, connector)), warnings=warnings)


def place(request: Request, connector: Connector) -> str:
    """The connector's address."""
    return str(request.app.url_path_for("get_connector", connector_id=connector.id))
