"""What a connector is: a database, a query, and the entity set that the query's rows become."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from qanatix_pipelines.naming import CONNECTORS_KEY_PREFIX


def _printable(text: str) -> str:
    # Category C: control characters, bidirectional overrides, surrogates. A name is shown to people, in logs too.
    if any(unicodedata.category(character).startswith("C") for character in text):
        raise ValueError("must not hold control characters")
    return unicodedata.normalize("NFC", text)


def _not_reserved(text: str) -> str:
    if text == CONNECTORS_KEY_PREFIX:
        raise ValueError(f"must not be {CONNECTORS_KEY_PREFIX!r}, which names the connectors' own assets")
    return text


def _storable(text: str) -> str:
    """PostgreSQL's text holds no NUL, and UTF-8 no half of a surrogate pair, which JSON can spell."""
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not hold NUL characters or lone surrogates")
    return text


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_printable),
]
# A part of an asset's key in Dagster, so only what reads well there.
SetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
Query = Annotated[str, StringConstraints(min_length=1, max_length=100_000), AfterValidator(_storable)]


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


class NewConnector(ConnectorSettings):
    """A connector as it is registered. Its type, and by that its `connection_config` and query, `sources` checks."""

    connection_config: dict[str, Any] = Field(repr=False)


class Connector(ConnectorSettings):
    """A registered connector. It holds no credentials: who needs them asks the store, inside a run.

    `watermark` is what `:last_pull` will be bound to, before the overlap; None until a pull that uses it completes.
    """

    id: UUID
    partition_key: str
    watermark: datetime | None
    created_at: datetime
