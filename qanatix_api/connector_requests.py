"""What callers send of a connector: a new one, or the changes of one."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from qanatix_api.connector_schemas import as_changes, by_type
from qanatix_pipelines.connectors import ConnectorKey, ConnectorSettings, Name, NewConnector, SetName, Watch
from qanatix_pipelines.credentials import REDACTED
from qanatix_pipelines.pairs import AGREED, one_word_each
from qanatix_pipelines.schedules import GivenSchedule

# An unsaved connector need not name an entity set.
NO_SET = "unsaved"


class ConnectorRequest(NewConnector):
    """A connector to register."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return by_type(cls, schema, handler)


class ConnectorDraft(ConnectorRequest):
    """A connector to test. It need not have a name, nor an entity set."""

    name: Name = "Unsaved"
    vertical: Annotated[SetName, AGREED] = Field(NO_SET, validation_alias=AliasChoices("vertical", "collection"))
    entity_type: Annotated[SetName, AGREED] = Field(NO_SET, validation_alias=AliasChoices("entity_type", "record_type"))


class ConnectorReplacement(ConnectorSettings):
    """A whole connector, which is registered, or replaces the one with its key. The type cannot change."""

    key: ConnectorKey | None = Field(None, description="May be left out, since the address has it.")
    connection_config: dict[str, Any] | Literal["***REDACTED***"] = Field(
        repr=False, description=f"{REDACTED}, as answers show it, keeps the old one."
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return by_type(cls, schema, handler)


class ConnectorChanges(BaseModel):
    """The fields to change. A field that is left out keeps its value. The type cannot change."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, populate_by_name=True)
    _one_word = model_validator(mode="before")(one_word_each)

    name: str | None = None
    key: str | None = Field(None, description="The new key. Null removes it.")
    vertical: Annotated[str | None, AGREED] = Field(None, validation_alias=AliasChoices("vertical", "collection"))
    entity_type: Annotated[str | None, AGREED] = Field(
        None, validation_alias=AliasChoices("entity_type", "record_type")
    )
    connection_config: dict[str, Any] | Literal["***REDACTED***"] | None = Field(
        None, repr=False, description=f"The whole new object. {REDACTED}, as answers show it, keeps the old one."
    )
    query: str | None = None
    name_column: str | None = None
    id_column: str | None = None
    batch_size: Annotated[int, Field(strict=True)] | None = None
    cursor_column: str | None = None
    overlap: Annotated[int, Field(strict=True)] | None = None
    schedule: GivenSchedule | None = Field(None, description="The whole new schedule. Null removes it.")
    watch: Watch | None = Field(None, description="The whole new watch. Null removes it.")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return as_changes(cls, schema, handler)
