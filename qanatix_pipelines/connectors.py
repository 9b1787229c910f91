"""What a connector is: a database, a query, and the entity set that the query's rows become."""

import re
import unicodedata
from datetime import datetime
from functools import partial
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
    WithJsonSchema,
    field_validator,
    model_validator,
)

from qanatix_pipelines.naming import CONNECTORS_KEY_PREFIX
from qanatix_pipelines.pairs import AGREED, know_pairs, one_word_each
from qanatix_pipelines.schedules import GivenSchedule
from qanatix_pipelines.tenants import Tenant
from qanatix_pipelines.tls import Tls
from qanatix_pipelines.watermarks import OVERLAP_COUNT, OVERLAP_SECONDS, Watermark

NAME_LENGTH = 200
KEY_LENGTH = 100
MIN_OVERLAP_SECONDS = 2
MAX_OVERLAP = 1_000_000_000_000
MIN_WATCH_SECONDS = 30
MAX_WATCH_SECONDS = 86_400
# They reverse the text that follows, also in a log (Unicode Standard Annex 9, section 2).
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Categories of characters that show nothing by themselves: formats such as U+200B, blanks, marks, what is not assigned.
_UNSEEN = frozenset({"Cf", "Cn", "Co", "Mn", "Me", "Zs"})
# Letters and symbols that are blank all the same: Hangul's fillers, and Braille without dots.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def printable(text: str) -> str:
    """A name for people to read: in NFC, without surrounding blanks. Raises ValueError.

    Control characters, line and paragraph separators, lone surrogates and marks of direction are refused. So is a name
    of which nothing can be seen.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if any(
        character in _DIRECTIONS or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name
    ):
        raise ValueError("must not hold control characters or lone surrogates")
    if not 0 < len(name) <= NAME_LENGTH:
        raise ValueError(f"must have 1 to {NAME_LENGTH} characters")
    if not any(map(_visible, name)):
        raise ValueError("must have a character that can be seen")
    return name


def _visible(character: str) -> bool:
    return character not in _BLANK and unicodedata.category(character) not in _UNSEEN


def _plain(text: str, longest: int) -> str:
    if not re.fullmatch(_plain_schema(longest)["pattern"], text):
        raise ValueError(
            f"must be 1 to {longest} of letters, digits, `_`, `.` and `-`, and begin with a letter or a digit"
        )
    return text


def _plain_schema(longest: int) -> dict[str, str]:
    return {"type": "string", "pattern": f"^[A-Za-z0-9][A-Za-z0-9_.-]{{0,{longest - 1}}}$"}


def _not_reserved(text: str) -> str:
    if text == CONNECTORS_KEY_PREFIX:
        raise ValueError(f"must not be {CONNECTORS_KEY_PREFIX!r}, which names the connectors' own assets")
    return text


def _storable(text: str) -> str:
    """PostgreSQL's text cannot hold NUL, nor UTF-8 a lone surrogate; JSON can spell both."""
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not hold NUL characters or lone surrogates")
    return text


Name = Annotated[
    str, AfterValidator(printable), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": NAME_LENGTH})
]
# It is a part of an asset key in Dagster, so only characters that read well there are allowed.
SetName = Annotated[str, AfterValidator(partial(_plain, longest=63)), WithJsonSchema(_plain_schema(63))]
# A connector's own name in the caller's files, and a part of an address.
ConnectorKey = Annotated[
    str, AfterValidator(partial(_plain, longest=KEY_LENGTH)), WithJsonSchema(_plain_schema(KEY_LENGTH))
]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
Query = Annotated[str, StringConstraints(min_length=1, max_length=100_000), AfterValidator(_storable)]


class Watch(BaseModel):
    """How to tell cheaply that a source has changed. It is checked `every_seconds` and pulled if it has changed.

    A check compares the first row of `query`, or the greatest value of `cursor_column` in the connector's own query.
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
    """What a caller sets of a connector, without its credentials."""

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, populate_by_name=True, json_schema_extra=know_pairs
    )

    name: Name
    key: ConnectorKey | None = None
    connector_type: Annotated[str, StringConstraints(max_length=40)]
    vertical: Annotated[SetName, AfterValidator(_not_reserved), AGREED] = Field(
        validation_alias=AliasChoices("vertical", "collection")
    )
    entity_type: Annotated[SetName, AGREED] = Field(validation_alias=AliasChoices("entity_type", "record_type"))
    query: Query
    name_column: ColumnName | None = None
    id_column: ColumnName | None = None
    batch_size: Annotated[int, Field(strict=True, ge=1, le=50_000)] = 5000
    cursor_column: ColumnName | None = None
    overlap: Annotated[int, Field(strict=True, ge=0, le=MAX_OVERLAP)] | None = None
    schedule: GivenSchedule | None = None
    watch: Watch | None = None

    _one_word = model_validator(mode="before")(one_word_each)

    @field_validator("overlap", mode="after")
    @classmethod
    def _whole_seconds(cls, overlap: int | None, others: ValidationInfo) -> int | None:
        # A DATETIME without a fraction is rounded to the second, up or down.
        if overlap is not None and others.data.get("cursor_column") is None and overlap < MIN_OVERLAP_SECONDS:
            raise ValueError(f"must be at least {MIN_OVERLAP_SECONDS} seconds where the cursor is a time")
        return overlap

    @property
    def effective_overlap(self) -> int:
        """In seconds, or a count if `cursor_column` names an integer."""
        if self.overlap is not None:
            return self.overlap
        return OVERLAP_SECONDS if self.cursor_column is None else OVERLAP_COUNT


class NewConnector(ConnectorSettings):
    """A connector as it is registered. `sources` checks its type, `connection_config` and query."""

    connection_config: dict[str, Any] = Field(repr=False)


class Connector(ConnectorSettings):
    """A registered connector. It holds no credentials: a run or a watch's check asks the store for them.

    `tls` is what the credentials demand, and `connection` what may be shown of them. Each is None if an older release
    stored the credentials without it.

    `key` is the caller's name for it, unique for its tenant. `version` counts its callers' changes from 1.

    `watermark`, less the overlap, is what `:last_pull` is bound to; None until a pull that uses it completes. It was
    read at `watermark_at`, by the store's clock, when the source's clock showed `source_clock`; None if it was set by
    hand. `generation` counts the changes that make a running pull void.

    `next_due_at` is when its schedule asks for the next pull; None without a schedule or while `paused`. `watched_at`
    is when the source last answered its watch. Since then `watch_failures` checks have failed, the last one with
    `watch_error_code` and `watch_error_detail`.
    """

    id: UUID
    tenant: Tenant
    partition_key: str
    generation: int
    watermark: Watermark | None
    watermark_at: datetime | None
    created_at: datetime
    source_clock: datetime | None = None
    version: int = 1
    connection: dict[str, str | int] | None = None
    tls: Tls | None = None
    paused: bool = False
    next_due_at: datetime | None = None
    watched_at: datetime | None = None
    watch_failures: int = 0
    watch_error_code: str | None = None
    watch_error_detail: str | None = None
