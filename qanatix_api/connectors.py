"""Connectors over HTTP: register, show, change, delete."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Body, status
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from qanatix_api import audit
from qanatix_api.auth import needs
from qanatix_api.examples import EXAMPLES
from qanatix_api.failures import problem
from qanatix_api.receipts import PullFailure
from qanatix_api.services import Given
from qanatix_pipelines.connectors import Connector, NewConnector, Watch
from qanatix_pipelines.credentials import REDACTED
from qanatix_pipelines.errors import InvalidConnector
from qanatix_pipelines.keys import KeyRecord, Scope
from qanatix_pipelines.pulls import PullStatus
from qanatix_pipelines.schedules import Schedule
from qanatix_pipelines.sources import check_config, check_connector, check_query, check_watch, connector_types
from qanatix_pipelines.store.connectors import LastPull
from qanatix_pipelines.tls import Tls

router = APIRouter(prefix="/connectors", tags=["connectors"])

Writer = Annotated[KeyRecord, needs(Scope.CONNECTORS_WRITE)]


class ConnectorRequest(NewConnector):
    """A connector to register."""

    connector_type: str = Field(json_schema_extra={"enum": list(connector_types())})


class ConnectorChanges(BaseModel):
    """What is to change of a connector; what is left out stays as it is. Its type cannot change."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, populate_by_name=True)

    name: str | None = None
    vertical: str | None = Field(None, validation_alias=AliasChoices("vertical", "collection"))
    entity_type: str | None = Field(None, validation_alias=AliasChoices("entity_type", "record_type"))
    connection_config: dict[str, Any] | Literal["***REDACTED***"] | None = Field(
        None, repr=False, description=f"All of it. {REDACTED}, as it is shown, leaves it as it is."
    )
    query: str | None = None
    name_column: str | None = None
    id_column: str | None = None
    batch_size: Annotated[int, Field(strict=True)] | None = None
    cursor_column: str | None = None
    overlap: Annotated[int, Field(strict=True)] | None = None
    schedule: Schedule | None = Field(None, description="All of it. Null ends it.")
    watch: Watch | None = Field(None, description="All of it. Null ends it.")


class WatchError(BaseModel):
    """Why the last look at the source failed."""

    code: str
    detail: str


class ConnectorAnswer(BaseModel):
    """A connector. Its connection_config is never shown, but for what `connection` has of it."""

    id: UUID
    name: str
    connector_type: str
    vertical: str
    entity_type: str
    collection: str = Field(description="The same as `vertical`.")
    record_type: str = Field(description="The same as `entity_type`.")
    connection_config: str = Field(REDACTED, examples=[REDACTED])
    connection: dict[str, str | int] | None = Field(
        description=(
            "What of the connection_config is no secret: where it leads, and as whom. Null if it was registered before "
            "this was told, and its connection_config not changed since."
        ),
        examples=[{"host": "db.internal", "port": 5432, "database": "shop", "user": "reader"}],
    )
    tls: Tls | None = Field(
        description=(
            "How pulls are protected on their way, as the connection_config demands it; no server can make it less. "
            "`verified`: encrypted, and the certificate is checked to be this host's. `encrypted`: the certificate is "
            "not, or not whether it is this host's. `none`: neither. Null if it was registered before this was told."
        )
    )
    query: str
    name_column: str | None
    id_column: str | None
    batch_size: int
    cursor_column: str | None
    overlap: int | None
    schedule: Schedule | None
    next_due_at: datetime | None = Field(
        description="When the schedule asks for the next pull. Null without one, and while the connector is paused."
    )
    watch: Watch | None
    watched_at: datetime | None = Field(description="When the source last answered a look.")
    watch_failures: int = Field(description="How many looks have failed since.")
    watch_error: WatchError | None
    paused: bool = Field(description="Whether its schedule and its watch rest.")
    effective_key_column: str | None = Field(
        description=(
            "The column that has the rows' keys: the one that `id_column` names, else what the last completed pull "
            "found. Null if that found none, or if there was none since the query changed."
        )
    )
    effective_name_column: str | None = Field(description="The same for the entities' names, by `name_column`.")
    last_pull_at: datetime | None = Field(description="When the last pull ended, or began if it has not ended yet.")
    last_pull_status: PullStatus | None
    last_pull_id: UUID | None
    last_pull_error: PullFailure | None = Field(
        description="Why the last pull failed or was given up, at `last_pull_at`; null if it did not, or is running."
    )
    created_at: datetime


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    summary="Register a connector",
    responses={422: problem("A field is missing or wrong.")},
)
async def create_connector(
    new: Annotated[ConnectorRequest, Body(openapi_examples=EXAMPLES)],
    given: Given,
    caller: Writer,
    later: BackgroundTasks,
) -> ConnectorAnswer:
    """Keep a database, a query and what its rows are. Nothing is connected to; the credentials are encrypted at once.

    `collection` and `record_type` are accepted for `vertical` and `entity_type`. In the query, `:last_pull` stands for
    the time up to which earlier pulls have seen the source; it is always bound as a parameter.
    """
    place = check_connector(new.connector_type, new.connection_config, new.query, new.cursor_column)
    check_watch(new.connector_type, new.query, new.watch)
    connector = await run_in_threadpool(
        given.store.connectors.add, new, place.digest, connection=place.connection, tls=place.tls
    )
    audit.record(caller, "connector.created", connector.id)
    later.add_task(given.runs.add_partition, connector)
    given.lineage.expect(connector)
    return _answer(connector, None)


@router.get("", summary="List connectors", dependencies=[needs(Scope.CONNECTORS_READ)])
def list_connectors(given: Given) -> list[ConnectorAnswer]:
    """All connectors, oldest first."""
    last = given.store.connectors.last_pulls()
    return [_answer(connector, last.get(connector.id)) for connector in given.store.connectors.list()]


@router.get(
    "/{connector_id}",
    summary="Show a connector",
    dependencies=[needs(Scope.CONNECTORS_READ)],
    responses={404: problem("There is no such connector.")},
)
def get_connector(given: Given, connector_id: UUID) -> ConnectorAnswer:
    """One connector, and how its last pull went."""
    connectors = given.store.connectors
    return _answer(connectors.get(connector_id), connectors.last_pulls(connector_id).get(connector_id))


@router.patch(
    "/{connector_id}",
    summary="Change a connector",
    responses={404: problem("There is no such connector."), 422: problem("A field is wrong.")},
)
async def change_connector(
    given: Given, caller: Writer, connector_id: UUID, changes: ConnectorChanges, later: BackgroundTasks
) -> ConnectorAnswer:
    """Change what is given. Nothing is connected to.

    A change of what is read, or of what its rows become, gives up a running pull (it ingests nothing), and the next
    pull reads everything. A new password for the same user gives up a running pull only. Any other change takes
    effect with the next pull.
    """
    kept = await run_in_threadpool(given.store.connectors.get, connector_id)
    settings = changes.model_dump(exclude_unset=True)
    config = settings.pop("connection_config", REDACTED)
    if config is None:
        raise InvalidConnector(("connection_config",), "must be an object; leave it out to keep it as it is")
    place = None if config == REDACTED else check_config(kept.connector_type, config)
    told: dict[str, Any] = (
        {} if place is None else {"place": place.digest, "connection": place.connection, "tls": place.tls}
    )
    live = await run_in_threadpool(given.store.pulls.live, connector_id)
    try:
        wanted = Connector.model_validate(kept.model_dump() | settings)
        check_query(wanted.connector_type, wanted.query, wanted.cursor_column)
        check_watch(wanted.connector_type, wanted.query, wanted.watch)
        # It may find another change made meanwhile, with which this one does not go together.
        changed = await run_in_threadpool(
            given.store.connectors.change, connector_id, settings, None if place is None else config, **told
        )
    except ValidationError as error:
        raise RequestValidationError([part | {"loc": ("body", *part["loc"])} for part in error.errors()]) from None
    audit.record(caller, "connector.changed", connector_id)
    given.lineage.expect(changed)
    if live is not None and live.run_id is not None and changed.generation != kept.generation:
        later.add_task(given.runs.terminate, live.run_id)
    last = await run_in_threadpool(given.store.connectors.last_pulls, connector_id)
    return _answer(changed, last.get(connector_id))


@router.delete(
    "/{connector_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    summary="Delete a connector",
    responses={404: problem("There is no such connector.")},
)
async def delete_connector(given: Given, caller: Writer, connector_id: UUID) -> None:
    """Forget a connector and its credentials. A running pull is given up and ingests nothing. Entities stay.

    Its partition leaves Dagster's grid within a minute or so, or with the last backfill that names it.
    """
    live = await run_in_threadpool(given.store.pulls.live, connector_id)
    removing = run_in_threadpool(given.store.connectors.remove, connector_id)
    if live is None or live.run_id is None:
        await removing
    else:
        # At once, for the pull's final transaction may hold SQLite's only lock until its run is stopped.
        await asyncio.gather(removing, given.runs.terminate(live.run_id))
    audit.record(caller, "connector.deleted", connector_id)


def _answer(connector: Connector, last: LastPull | None) -> ConnectorAnswer:
    return ConnectorAnswer(
        **connector.model_dump(include=set(ConnectorAnswer.model_fields)),
        collection=connector.vertical,
        record_type=connector.entity_type,
        watch_error=(
            None
            if connector.watch_error_code is None
            else WatchError(code=connector.watch_error_code, detail=connector.watch_error_detail or "")
        ),
        effective_key_column=(None if last is None else last.roles.key) or connector.id_column,
        effective_name_column=(None if last is None else last.roles.name) or connector.name_column,
        last_pull_at=None if last is None else last.at,
        last_pull_status=None if last is None else last.status,
        last_pull_id=None if last is None else last.id,
        last_pull_error=None if last is None else PullFailure.of(last),
    )
