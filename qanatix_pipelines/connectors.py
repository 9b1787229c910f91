"""What a connector is: a database, a query, and the entity set that the query's rows become."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from qanatix_pipelines.naming import CONNECTORS_KEY_PREFIX
from qanatix_pipelines.schedules import Schedule
from qanatix_pipelines.tenants import Tenant
from qanatix_pipelines.tls import Tls
from qanatix_pipelines.watermarks import OVERLAP_COUNT, OVERLAP_SECONDS, Watermark

NAME_LENGTH = 200
MIN_OVERLAP_SECONDS = 2
MAX_OVERLAP = 1_000_000_000_000
MIN_WATCH_SECONDS = 30
MAX_WATCH_SECONDS = 86_400
# They turn the text that follows around, in a log too (Unicode Standard Annex 9, section 2).
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """A name for people to read: composed (NFC), without blanks around it or anything unseen in it."""
    name = unicodedata.normalize("NFC", text).strip()
    if any(
        character in _DIRECTIONS or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name
    ):
        raise ValueError("must not hold control characters or lone surrogates")
    if not 0 < len(name) <= NAME_LENGTH:
        raise ValueError(f"must have 1 to {NAME_LENGTH} characters")
    return name


def _not_reserved(text: str) -> str:
    if text == CONNECTORS_KEY_PREFIX:
        raise ValueError(f"must not be {CONNECTORS_KEY_PREFIX!r}, which names the connectors' own assets")
    return text


def _storable(text: str) -> str:
    """PostgreSQL's text holds no NUL, and UTF-8 no half of a surrogate pair, which JSON can spell."""
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not hold NUL characters or lone surrogates")
    return text


Name = Annotated[str, AfterValidator(printable)]
# A part of an asset's key in Dagster, so only what reads well there.
SetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
Query = Annotated[str, StringConstraints(min_length=1, max_length=100_000), AfterValidator(_storable)]


class Watch(BaseModel):
    """How to tell cheaply that a source has changed: it is looked at `every_seconds`, and pulled if it has.

    What is compared is the first row of `query`, or the greatest value that `cursor_column` has in the connector's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    query: Query | None = None
    cursor_column: ColumnName | None = None
    every_seconds: Annotated[int, Field(strict=True, ge=MIN_WATCH_SECONDS, le=MAX_WATCH_SECONDS)] = 60

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.query is None) == (self.cursor_column is None):
            raise ValueError("must have a query or a cursor_column, and not both")
        return self


class ConnectorSettings(BaseModel):
    """What a caller says of a connector, but for its credentials."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, populate_by_name=True)

    name: Name
    connector_type: Annotated[str, StringConstraints(max_length=40)]
    vertical: Annotated[SetName, AfterValidator(_not_reserved)] = Field(
        validation_alias=AliasChoices("vertical", "collection")
    )
    entity_type: SetName = Field(validation_alias=AliasChoices("entity_type", "record_type"))
    query: Query
    name_column: ColumnName | None = None
    id_column: ColumnName | None = None
    batch_size: Annotated[int, Field(strict=True, ge=1, le=50_000)] = 5000
    cursor_column: ColumnName | None = None
    overlap: Annotated[int, Field(strict=True, ge=0, le=MAX_OVERLAP)] | None = None
    schedule: Schedule | None = None
    watch: Watch | None = None

    @field_validator("overlap", mode="after")
    @classmethod
    def _whole_seconds(cls, overlap: int | None, others: ValidationInfo) -> int | None:
        # A DATETIME without a fraction is rounded: to the second, and up as well as down.
        if overlap is not None and others.data.get("cursor_column") is None and overlap < MIN_OVERLAP_SECONDS:
            raise ValueError(f"must be at least {MIN_OVERLAP_SECONDS} seconds where the cursor is a time")
        return overlap

    @property
    def effective_overlap(self) -> int:
        """Seconds, or a count where `cursor_column` names an integer."""
        if self.overlap is not None:
            return self.overlap
        return OVERLAP_SECONDS if self.cursor_column is None else OVERLAP_COUNT


class NewConnector(ConnectorSettings):
    """A connector as it is registered. Its type, and by that its `connection_config` and query, `sources` checks."""

    connection_config: dict[str, Any] = Field(repr=False)


class Connector(ConnectorSettings):
    """A registered connector. It holds no credentials: who needs them asks the store, inside a run or for a look.

    `tls` is what they demand, and `connection` what may be shown of them; each is None if they were kept by a release
    that did not tell it yet.

    `watermark` is what `:last_pull` will be bound to, less the overlap; None until a pull that uses it completes. It
    was read at `watermark_at`, by the store's clock. `generation` counts the changes that make a running pull void.

    `next_due_at` is when its schedule asks for the next pull; None without one, and while it is `paused`. `watched_at`
    is when its watch last got an answer; since then it failed `watch_failures` times, the last time for
    `watch_error_code` and `watch_error_detail`.
    """

    id: UUID
    tenant: Tenant
    partition_key: str
    generation: int
    watermark: Watermark | None
    watermark_at: datetime | None
    created_at: datetime
    connection: dict[str, str | int] | None = None
    tls: Tls | None = None
    paused: bool = False
    next_due_at: datetime | None = None
    watched_at: datetime | None = None
    watch_failures: int = 0
    watch_error_code: str | None = None
    watch_error_detail: str | None = None
