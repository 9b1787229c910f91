"""Endpoints that show and set a connector's watermark, which `:last_pull` is made of."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from qanatix_api import audit
from qanatix_api.auth import needs
from qanatix_api.connectors import Writer
from qanatix_api.failures import PullProblem, problem
from qanatix_api.services import Given
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import InvalidConnector
from qanatix_pipelines.extents import GivenWatermark
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.sources import check_watermark, uses_watermark
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.watermarks import Watermark
from qanatix_pipelines.windows import next_last_pull

router = APIRouter(prefix="/connectors/{connector_id}/watermark", tags=["connectors"])

# A source's clock may be wrong by hours, and its zone be another one. No row is stamped after this.
FUTURE = timedelta(days=1)
_NOT_THERE: dict[int | str, dict[str, Any]] = {404: problem("There is no such connector.")}


class Kind(StrEnum):
    TIME = "time"
    INTEGER = "integer"


class NewWatermark(BaseModel):
    """Where the next pull is to begin."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, json_schema_extra={"required": ["value"]})

    # It has a default only so that we say what it must be if it is left out.
    value: GivenWatermark | None = Field(
        None,
        description=(
            "A time with its zone, or an integer where the connector has a `cursor_column`. The next pull reads from "
            "here, less the overlap. Null: it reads everything."
        ),
        examples=["2026-01-31T00:00:00Z"],
    )


class WatermarkAnswer(BaseModel):
    """A connector's watermark: up to where its pulls have read its source."""

    connector_id: UUID
    kind: Kind = Field(description="What `:last_pull` is: an `integer` where the connector has a `cursor_column`.")
    used: bool = Field(description="Whether the query says `:last_pull`. Otherwise each pull reads everything.")
    value: Watermark | None = Field(
        description=(
            "A time of the source's own clock: what it showed when the last pull had seen everything, or since when "
            "the oldest transaction was open then. Or the greatest value of the `cursor_column`. Null before a pull "
            "that uses `:last_pull` has completed."
        ),
        examples=["2026-01-31T00:00:00Z"],
    )
    read_at: datetime | None = Field(
        description=(
            "When the source was read up to the value, by the store's clock. Null without a value, and if it was set "
            "by hand."
        )
    )
    set_at: datetime | None = Field(
        description="When the value was set by hand, by the store's clock. Null if a pull has read up to it since."
    )
    source_clock: datetime | None = Field(
        description=(
            "What the source's clock showed at `read_at`. If the value is well before this, a transaction was open so "
            "long. Null without `read_at`."
        ),
        examples=["2026-01-31T00:00:00Z"],
    )
    overlap: int = Field(description="What is taken off for the next pull: seconds, or a count.", examples=[300])
    next_last_pull: Watermark | None = Field(
        description=(
            "What the next pull binds `:last_pull` to: the value less the overlap. A value later than what the "
            "source's clock showed at `read_at` counts as that. It is an earlier time if the source's clock was set "
            "back meanwhile. Null: the least value of its type, which everything is greater than."
        ),
        examples=["2026-01-30T23:55:00Z"],
    )

    @classmethod
    def of(cls, connector: Connector) -> Self:
        integer = connector.cursor_column is not None
        by_hand = connector.source_clock is None  # a pull keeps what the source's clock showed
        return cls(
            connector_id=connector.id,
            kind=Kind.INTEGER if integer else Kind.TIME,
            used=uses_watermark(connector),
            value=connector.watermark,
            read_at=None if by_hand else connector.watermark_at,
            set_at=connector.watermark_at if by_hand else None,
            source_clock=connector.source_clock,
            overlap=connector.effective_overlap,
            next_last_pull=next_last_pull(connector, now()),
        )


@router.get(
    "",
    summary="Show a connector's watermark",
    dependencies=[needs(Scope.CONNECTORS_READ)],
    responses=_NOT_THERE,
)
def get_watermark(given: Given, connector_id: UUID) -> WatermarkAnswer:
    """Up to where the source was read, and what the next pull makes of it."""
    return WatermarkAnswer.of(given.store.connectors.get(connector_id))


@router.put(
    "",
    summary="Set a connector's watermark",
    responses={**_NOT_THERE, 409: problem("A pull is in progress, which would move the watermark.", PullProblem)},
)
def put_watermark(given: Given, caller: Writer, connector_id: UUID, new: NewWatermark) -> WatermarkAnswer:
    """Have the next pull read from here, less the overlap; with null it reads everything. Nothing is pulled now.

    Entities stay as they are: what is read again and has not changed is a duplicate. Rows that are skipped by a later
    value are not read until they change.
    """
    if "value" not in new.model_fields_set:
        raise InvalidConnector(
            ("value",), "must be given: a time or an integer, or null to have the next pull read everything"
        )

    def check(connector: Connector) -> None:
        check_watermark(connector, "value", new.value)
        if isinstance(new.value, datetime) and new.value > datetime.now(UTC) + FUTURE:
            raise InvalidConnector(("value",), "must not lie more than a day in the future")

    changed = given.store.watermarks.put(connector_id, new.value, check)
    audit.record(caller, "connector.watermark_set", connector_id)
    return WatermarkAnswer.of(changed)
