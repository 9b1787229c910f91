"""Entities in the vendor's newer words: records, in collections. To be read only."""

import json
from datetime import datetime
from itertools import groupby
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from qanatix_api.auth import needs
from qanatix_api.entities import beginning, page_of, sent
from qanatix_api.failures import problem
from qanatix_api.filters import Cursor, SetOf
from qanatix_api.services import Given
from qanatix_pipelines.errors import NotFound
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.store.entities import Entity

router = APIRouter(tags=["records"], dependencies=[needs(Scope.ENTITIES_READ)])


class RecordAnswer(BaseModel):
    """An entity. Parse its numbers as decimals to keep every digit of the source."""

    id: UUID
    tenant_id: str
    collection: str
    record_type: str
    name: str | None
    source_id: str | None = Field(description="The row's key in its source.")
    connector_id: UUID
    pull_id: UUID = Field(description="The pull that last changed it.")
    created_at: datetime
    updated_at: datetime
    collection_data: dict[str, Any] = Field(description="The row, without the column that became its name.")
    data: dict[str, Any] = Field(description="The same as `collection_data`.")


class RecordPage(BaseModel):
    """A page of records, newest first."""

    items: list[RecordAnswer]
    records: list[RecordAnswer] = Field(description="The same as `items`.")
    cursor: str | None = Field(description="Where the next page begins; null after the last.")
    has_more: bool


class CollectionAnswer(BaseModel):
    """A collection: the record types of one `vertical`."""

    collection: str
    record_types: list[str]
    record_count: int


@router.get("/records", summary="List records", response_model=RecordPage)
def list_records(
    given: Given, of: SetOf, limit: Annotated[int, Query(ge=1, le=100)] = 20, cursor: Cursor = None
) -> Response:
    """The entities, newest first, in newer words. None is skipped or repeated while new ones arrive."""
    found, next_cursor = page_of(given, of, limit, cursor)
    items = ",".join(map(_written, found))
    rest = json.dumps({"cursor": next_cursor, "has_more": next_cursor is not None})
    return sent(f'{{"items":[{items}],"records":[{items}],{rest[1:]}')


@router.get(
    "/records/{record_id}",
    summary="Show a record",
    response_model=RecordAnswer,
    responses={404: problem("There is no such record.")},
)
def get_record(given: Given, record_id: UUID) -> Response:
    """An entity, in newer words."""
    try:
        return sent(_written(given.store.entities.get(record_id)))
    except NotFound:
        raise NotFound("record") from None


@router.get("/collections", summary="List collections")
def list_collections(given: Given) -> list[CollectionAnswer]:
    """The collections that a connector fills or that have a record, by name."""
    return [
        CollectionAnswer(
            collection=name,
            record_types=[one.entity_type for one in sets],
            record_count=sum(one.entities for one in sets),
        )
        for name, sets in (
            (name, list(group)) for name, group in groupby(given.store.entities.sets(), lambda one: one.vertical)
        )
    ]


def _written(entity: Entity) -> str:
    """The record as JSON, with its data as stored."""
    names = {"collection": entity.vertical, "record_type": entity.entity_type}
    return f'{beginning(entity, names)},"collection_data":{entity.data},"data":{entity.data}}}'
