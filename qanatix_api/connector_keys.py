"""Endpoints for connectors by their keys: the names that callers give them, in their own files for example."""

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Path, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from qanatix_api.auth import needs
from qanatix_api.connector_answers import ConnectorAnswer, ConnectorKept
from qanatix_api.connector_requests import ConnectorReplacement, ConnectorRequest
from qanatix_api.connector_tests import ConnectorTestProblem, refused, report_of_changed, report_of_unsaved
from qanatix_api.connectors import WHERE, Writer, kept, place, shown
from qanatix_api.failures import problem
from qanatix_api.preconditions import CHANGED, TAGGED, Condition, IfMatch
from qanatix_api.preferences import Flag
from qanatix_api.registering import change, register
from qanatix_api.services import Given, Services
from qanatix_pipelines.conflicts import ConnectorChanged, KeyTaken
from qanatix_pipelines.connectors import Connector, ConnectorKey
from qanatix_pipelines.credentials import REDACTED
from qanatix_pipelines.errors import InvalidConnector, NotFound
from qanatix_pipelines.keys import KeyRecord, Scope
from qanatix_pipelines.reports import ConnectorTest

router = APIRouter(prefix="/connectors/by-key", tags=["connectors"])

Key = Annotated[str, Path(description="The connector's `key`.", examples=["shop-products"])]


@router.get(
    "/{key}",
    summary="Show a connector by its key",
    dependencies=[needs(Scope.CONNECTORS_READ)],
    responses={200: {"headers": TAGGED}, 404: problem("There is no such connector.")},
)
def get_connector_by_key(given: Given, response: Response, key: Key) -> ConnectorAnswer:
    """One connector, and how its last pull went."""
    return shown(given, response, given.store.connectors.by_key(key))


@router.put(
    "/{key}",
    summary="Register or replace a connector by its key",
    response_model=ConnectorKept,
    responses={
        200: {"description": "The connector was replaced.", "headers": TAGGED},
        201: {"model": ConnectorKept, "description": "The connector was registered.", "headers": TAGGED | WHERE},
        412: CHANGED,
        422: problem("A field is missing or wrong, or the connector did not pass its test.", ConnectorTestProblem),
        424: problem("With `test=true`: the kept credentials cannot be decrypted."),
        500: problem("With `test=true`: the test broke on a fault of ours. Its run in Dagster says where."),
        503: problem("Dagster or the store cannot be reached, or the test's run was lost. Nothing was changed."),
    },
)
async def put_connector(
    *,
    given: Given,
    caller: Writer,
    key: Key,
    whole: ConnectorReplacement,
    condition: IfMatch,
    request: Request,
    response: Response,
    later: BackgroundTasks,
    test: Annotated[
        Flag,
        Query(description="`true` tests the connector first, and registers or replaces it only if no check fails."),
    ] = False,
) -> Any:
    """Register a connector with this key, or replace the one that has it. A field that is left out has its default.

    A replaced connector keeps its id, its entities and its history, and stays paused if it is. For its pulls, the
    effect is that of the same change by PATCH: a `connection_config` gives up a running pull, so send
    `***REDACTED***` to keep it as it is. With `test=true` the kept credentials are tested.
    """
    _check(key)
    if whole.key not in {None, key}:
        raise InvalidConnector(("key",), "must be the key in the address, or be left out")
    while True:
        before = await run_in_threadpool(_of_key, given, key)
        tested = None
        if test:
            tested = await _tested(given, caller, request, before=before, whole=whole, key=key, condition=condition)
            if (refusal := refused(tested, "registered" if before is None else "replaced")) is not None:
                return refusal
        try:
            if before is not None:
                connector = await change(
                    given,
                    caller,
                    later,
                    before,
                    settings=_settings(whole, before),
                    config=whole.connection_config,
                    condition=Condition.of(before) if test else condition,
                )
                return await run_in_threadpool(kept, given, response, connector, tested)
            condition.check_absent()
            connector, _ = await register(given, caller, later, _new(whole, key))
        except (KeyTaken, NotFound):  # another request registered it, or deleted it, meanwhile
            continue
        except ConnectorChanged:  # since it was tested, or since its caller has seen it
            if test and condition.tags is None:
                continue
            raise
        response.status_code = status.HTTP_201_CREATED
        response.headers["Location"] = place(request, connector)
        return await run_in_threadpool(kept, given, response, connector, tested)


async def _tested(
    given: Services,
    caller: KeyRecord,
    request: Request,
    *,
    before: Connector | None,
    whole: ConnectorReplacement,
    key: str,
    condition: Condition,
) -> ConnectorTest:
    """The test of what would be registered, or would replace `before`. Raises what that would raise, before it."""
    if before is None:
        condition.check_absent()
        return await report_of_unsaved(given, caller, request, _new(whole, key))
    condition.check(before)
    settings = _settings(whole, before)
    if whole.connection_config == REDACTED:
        return await report_of_changed(given, caller, request, before, settings)
    return await report_of_unsaved(given, caller, request, _new(whole, key), connector_id=before.id)


def _settings(whole: ConnectorReplacement, before: Connector) -> dict[str, Any]:
    if whole.connector_type != before.connector_type:
        raise InvalidConnector(("connector_type",), "cannot be changed: register another connector")
    return whole.model_dump(exclude={"connection_config", "key"})


def _check(key: str) -> None:
    """Raise InvalidConnector unless it may be a connector's key."""
    try:
        TypeAdapter(ConnectorKey).validate_python(key)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidConnector(("key",), message, part="path") from None


def _of_key(given: Services, key: str) -> Connector | None:
    try:
        return given.store.connectors.by_key(key)
    except NotFound:
        return None


def _new(whole: ConnectorReplacement, key: str) -> ConnectorRequest:
    if whole.connection_config == REDACTED:
        raise InvalidConnector(("connection_config",), "must be an object: no connector has this key yet")
    try:
        return ConnectorRequest.model_validate(whole.model_dump() | {"key": key})
    except ValidationError as error:
        raise RequestValidationError([part | {"loc": ("body", *part["loc"])} for part in error.errors()]) from None
