"""Query parameters by which lists are filtered and paged."""

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field

from qanatix_api.preferences import Flag
from qanatix_api.times import Time
from qanatix_pipelines.connectors import ConnectorKey, Name, SetName
from qanatix_pipelines.receipts import PullStatus
from qanatix_pipelines.sources import connector_types
from qanatix_pipelines.store.connector_lists import Wanted

Cursor = Annotated[str | None, Query(max_length=200, description="Where a page begins, as the page before says.")]
# Who asks for pulls, as receipts tell it.
Trigger = Literal["api", "schedule", "watch", "ui", "backfill", "sensor", "automation", "re-execution", "dagster"]
_Type = Annotated[str, Field(json_schema_extra={"enum": list(connector_types())})]
_SAME = "The same as `{}`."


def wrong(name: str, sentence: str) -> RequestValidationError:
    """The error of a query parameter."""
    return RequestValidationError([{"loc": ("query", name), "msg": sentence, "type": "value_error"}])


async def read_set(
    vertical: Annotated[SetName | None, Query()] = None,
    entity_type: Annotated[SetName | None, Query()] = None,
    collection: Annotated[SetName | None, Query(description=_SAME.format("vertical"))] = None,
    record_type: Annotated[SetName | None, Query(description=_SAME.format("entity_type"))] = None,
) -> tuple[str | None, str | None]:
    """The vertical and the entity type, in either pair of words. Both words of a pair must say the same."""
    return (
        _agreed("collection", collection, "vertical", vertical),
        _agreed("record_type", record_type, "entity_type", entity_type),
    )


SetOf = Annotated[tuple[str | None, str | None], Depends(read_set)]


async def read_wanted(
    *,
    of: SetOf,
    connector_type: Annotated[_Type | None, Query()] = None,
    name: Annotated[Name | None, Query(description="The whole name.")] = None,
    key: Annotated[ConnectorKey | None, Query()] = None,
    status: Annotated[PullStatus | None, Query(description="Of the connector's last pull.")] = None,
    paused: Annotated[Flag | None, Query()] = None,
) -> Wanted:
    """Which connectors to list."""
    if connector_type is not None and connector_type not in connector_types():
        raise wrong("connector_type", f"must be one of {', '.join(connector_types())}")
    vertical, entity_type = of
    return Wanted(connector_type, vertical, entity_type, name, key, paused, status)


def tell_next(request: Request, response: Response, cursor: str | None) -> None:
    """Name the next page in the header Link (RFC 8288), for lists whose body has no room for it."""
    if cursor is not None:
        given = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        response.headers["Link"] = f'<{request.url.path}?{urlencode([*given, ("cursor", cursor)])}>; rel="next"'


NEXT: dict[str, Any] = {
    "Link": {"description": 'The next page, as `rel="next"`, if there is one.', "schema": {"type": "string"}}
}
Since = Annotated[Time | None, Query(description="Asked for at this time or later.")]


def _agreed(newer: str, given: str | None, older: str, same: str | None) -> str | None:
    if given is not None and same is not None and given != same:
        raise wrong(newer, f"must be the same as {older}, if both are given")
    return same if given is None else given
