"""Endpoints that list and show entities."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from qanatix_api.auth import needs
from qanatix_api.failures import problem
from qanatix_api.filters import Cursor, SetOf, wrong
from qanatix_api.services import Given
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.store.entities import Entity
from qanatix_pipelines.store.pages import WrongCursor

router = APIRouter(prefix="/entities", tags=["entities"])


class EntityAnswer(BaseModel):
    """An entity: a row of a source. Parse its numbers as decimals to keep every digit of the source."""

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
    vertical_data: dict[str, Any] = Field(description="The row, without the column that became its name.")


class EntityPage(BaseModel):
    items: list[EntityAnswer]
    cursor: str | None = Field(description="Where the next page begins; null after the last.")
    has_more: bool


@router.get("", summary="List entities", response_model=EntityPage, dependencies=[needs(Scope.ENTITIES_READ)])
def list_entities(
    given: Given,
    of: SetOf,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Cursor = None,
) -> Response:
    """Entities, newest first. None is skipped or repeated while new ones arrive."""
    found, next_cursor = page_of(given, of, limit, cursor)
    items = ",".join(_written(entity) for entity in found)
    rest = json.dumps({"cursor": next_cursor, "has_more": next_cursor is not None})
    return sent(f'{{"items":[{items}],{rest[1:]}')


@router.get(
    "/{entity_id}",
    summary="Show an entity",
    response_model=EntityAnswer,
    dependencies=[needs(Scope.ENTITIES_READ)],
    responses={404: problem("There is no such entity.")},
)
def get_entity(given: Given, entity_id: UUID) -> Response:
    """One entity, as its last pull left it."""
    return sent(_written(given.store.entities.get(entity_id)))


def page_of(
    given: Given, of: tuple[str | None, str | None], limit: int, cursor: str | None
) -> tuple[Sequence[Entity], str | None]:
    """A page of entities and the next page's cursor. Raises a RequestValidationError for a wrong cursor."""
    vertical, entity_type = of
    try:
        return given.store.entities.page(vertical=vertical, entity_type=entity_type, limit=limit, cursor=cursor)
    except WrongCursor as error:
        raise wrong("cursor", str(error)) from None


def beginning(entity: Entity, names: dict[str, str]) -> str:
    """The entity as JSON, up to its data, with what its set is called."""
    shown = {
        "id": str(entity.id),
        "tenant_id": entity.tenant,
        **names,
        "name": entity.name,
        "source_id": entity.source_id,
        "connector_id": str(entity.connector_id),
        "pull_id": str(entity.pull_id),
        "created_at": instant(entity.created_at),
        "updated_at": instant(entity.updated_at),
    }
    return json.dumps(shown)[:-1]


def _written(entity: Entity) -> str:
    """The entity as JSON. Its data is sent as stored, because parsing it would lose digits of numbers."""
    names = {
        "vertical": entity.vertical,
        "entity_type": entity.entity_type,
        "collection": entity.vertical,
        "record_type": entity.entity_type,
    }
    return f'{beginning(entity, names)},"vertical_data":{entity.data}}}'


def instant(time: datetime) -> str:
    """A time as answers have it."""
    return time.isoformat().replace("+00:00", "Z")


def sent(text: str) -> Response:
    """An answer that is JSON already."""
    return Response(text, media_type="application/json")
