"""How the document shows requests with a connector's fields: exactly, where the checks are made by the sources."""

from functools import cache
from typing import Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, Field, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from qanatix_pipelines.connectors import ConnectorSettings
from qanatix_pipelines.credentials import REDACTED
from qanatix_pipelines.pairs import know_pairs
from qanatix_pipelines.sources import connector_types, source_of
from qanatix_pipelines.sources.source import SourceConfig


def by_type(request: type[BaseModel], schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """One schema for each connector_type, which has the type's own connection_config."""
    if get_origin(request.model_fields["connector_type"].annotation) is Literal:
        return handler(schema)
    choices = {name: _of_type(request, name).__pydantic_core_schema__ for name in connector_types()}
    told = {"title": request.__name__, "description": request.__doc__}
    return told | handler(core_schema.tagged_union_schema(choices, discriminator="connector_type"))


def as_changes(changes: type[BaseModel], schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
    """Each field as a new connector takes it, with its limits, and null only where a connector may have none."""
    shown = handler.resolve_ref_schema(handler(schema))
    registered = handler(_in_place(ConnectorSettings))["properties"]
    configs = core_schema.union_schema([_config(name).__pydantic_core_schema__ for name in connector_types()])
    for name, field in changes.model_fields.items():
        taken = registered.get(name)
        if name == "connection_config":
            taken = {"anyOf": [*handler(configs)["anyOf"], {"type": "string", "const": REDACTED}]}
        if taken is not None:
            told = {} if field.description is None else {"description": field.description}
            shown["properties"][name] = {key: value for key, value in taken.items() if key != "default"} | told
    know_pairs(shown)
    return shown


def _in_place(model: type[BaseModel]) -> CoreSchema:
    """A model's schema without its name: by that it would become a component, which nothing refers to."""
    core: dict[str, Any] = dict(model.__pydantic_core_schema__)
    whole = core["schema"] if core["type"] == "definitions" else core
    bare = {name: value for name, value in whole.items() if name != "ref"}
    return cast("CoreSchema", bare if whole is core else core | {"schema": bare})


@cache
def _of_type(request: type[BaseModel], connector_type: str) -> type[BaseModel]:
    others = [
        kind for kind in get_args(request.model_fields["connection_config"].annotation) if get_origin(kind) is Literal
    ]
    fields: dict[str, Any] = {
        "connector_type": (Literal[connector_type], ...),
        "connection_config": (Union[(_config(connector_type), *others)], Field(repr=False)),
    }
    name = f"{connector_type.capitalize()}{request.__name__}"
    return create_model(name, __base__=request, __doc__=request.__doc__, **fields)


@cache
def _config(connector_type: str) -> type[SourceConfig]:
    """The type's connection_config, under a name that no other type's has."""
    own = source_of(connector_type).config_type
    return create_model(f"{connector_type.capitalize()}Config", __base__=own, __doc__=own.__doc__)
