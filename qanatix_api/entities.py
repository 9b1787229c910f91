"""Entities over HTTP: what was ingested."""

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from qanatix_api.auth import needs
from qanatix_api.failures import problem
from qanatix_api.services import Given
from qanatix_pipelines.connectors import SetName
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.store.entities import Entity

router = APIRouter(prefix="/entities", tags=["entities"])


class EntityAnswer(BaseModel):
    """An entity: a row of a source. Read its numbers as decimals to keep every digit that the source gave."""

    id: UUID
    tenant_id: str
    vertical: str
    entity_type: str
    collection: str = Field(description="The same as `vertical`.")
    record_type: str = Field(description="The same as `entity_type`.")
    name: str | None
    source_id: str | None = Field(description="The row's key in its source.")
    connector_id: UUID
    pull_id: UUID = Field(description="The pull that last changed it.")
    created_at: datetime
    updated_at: datetime
    vertical_data: dict[str, Any] = Field(description="The row, less the column that became its name.")


class EntityPage(BaseModel):
    items: list[EntityAnswer]
    cursor: str | None = Field(description="Where the next page begins; null after the last.")
    has_more: bool


@router.get("", summary="List entities", response_model=EntityPage, dependencies=[needs(Scope.ENTITIES_READ)])
def list_entities(
    given: Given,
    vertical: Annotated[SetName | None, Query()] = None,
    entity_type: Annotated[SetName | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """The newest first. No entity is skipped or given twice while others arrive."""
    try:
        found, next_cursor = given.store.entities.page(
            vertical=vertical, entity_type=entity_type, limit=limit, cursor=cursor
        )
    except ValueError as error:
        raise RequestValidationError([{"loc": ("query", "cursor"), "msg": str(error), "type": "value_error"}]) from None
    items = ",".join(_written(entity) for entity in found)
    rest = json.dumps({"cursor": next_cursor, "has_more": next_cursor is not None})
    return _json(f'{{"items":[{items}],{rest[1:]}')


@router.get(
    "/{entity_id}",
    summary="Show an entity",
    response_model=EntityAnswer,
    dependencies=[needs(Scope.ENTITIES_READ)],
    responses={404: problem("There is no such entity.")},
)
def get_entity(given: Given, entity_id: UUID) -> Response:
    return _json(_written(given.store.entities.get(entity_id)))


def _written(entity: Entity) -> str:
    """The entity as JSON. Its data goes out as it is stored: read and written again, numbers would lose digits."""
    shown = {
        "id": str(entity.id),
        "tenant_id": entity.tenant,
        "vertical": entity.vertical,
        "entity_type": entity.entity_type,
        "collection": entity.vertical,
        "record_type": entity.entity_type,
        "name": entity.name,
        "source_id": entity.source_id,
        "connector_id": str(entity.connector_id),
        "pull_id": str(entity.pull_id),
        "created_at": _instant(entity.created_at),
        "updated_at": _instant(entity.updated_at),
    }
    return f'{json.dumps(shown)[:-1]},"vertical_data":{entity.data}}}'


def _instant(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")
