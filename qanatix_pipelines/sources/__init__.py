"""Where rows come from. Each package in here is one connector type, called by its name; a module serves several.

Such a package holds a pydantic `Config` for its `connection_config`, and one `Source` under the name `source`. Nothing
else needs to be touched to add one: the API's checks, Dagster's asset, job, partitions and resource follow.
"""

import hashlib
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qanatix_pipelines.connectors import ConnectorSettings, Watch
from qanatix_pipelines.credentials import REDACTED
from qanatix_pipelines.errors import InvalidConnector, QueryRejected
from qanatix_pipelines.extents import Extent
from qanatix_pipelines.sources.source import Asked, OfFiles, Source, SourceIdentity
from qanatix_pipelines.watermarks import Watermark

# What is wrong with a field, by pydantic's name for it. Other problems are told in pydantic's words.
_PROBLEMS = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number, without quotes",
    "missing": "must be given",
    "string_too_short": "must not be empty",
    "string_type": "must be a text, in quotes",
    "too_short": "must not be empty",
}


def connector_types() -> tuple[str, ...]:
    """The names of all types. Imports none of them."""
    return _packages(*__path__)


@cache  # to look into a folder takes longer than all other checks of a connector
def _packages(*folders: str) -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(folders) if module.ispkg))


def source_of(connector_type: str) -> type[Source]:
    """The source class of a type. Raises InvalidConnector, which names all types, if there is no such type."""
    if connector_type not in connector_types():
        raise InvalidConnector(("connector_type",), f"must be one of {', '.join(connector_types())}")
    source: type[Source] = importlib.import_module(f"{__name__}.{connector_type}").source
    return source


def check_connector(
    connector_type: str, connection_config: Mapping[str, Any], query: str, cursor_column: str | None = None
) -> SourceIdentity:
    """Which database the connector reads, and how it is connected to. Connects to nothing.

    Raises InvalidConnector for the first field that this type of connector would refuse.
    """
    identity = check_config(connector_type, connection_config)
    check_query(connector_type, query, cursor_column)
    return identity


def check_config(connector_type: str, connection_config: Mapping[str, Any]) -> SourceIdentity:
    """As `check_connector`, for the connection_config alone."""
    source = source_of(connector_type)
    for option, value in connection_config.items():
        if isinstance(value, str) and REDACTED in value:
            raise InvalidConnector(("connection_config", option), f"holds {REDACTED}, which hides a secret and is none")
    try:
        config = source.config_type.model_validate(dict(connection_config))
    except ValidationError as error:
        problems = error.errors(include_input=False, include_context=False, include_url=False)
        # An unknown option tells more than the options that are missing.
        first = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
        location = tuple(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            allowed = ", ".join(source.config_type.model_fields)
            problem = f"is not an option of {connector_type}; its options are: {allowed}"
        else:
            problem = _PROBLEMS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
            problem = problem.replace("Input should be", "must be").replace("String should have", "must have")
        raise InvalidConnector(("connection_config", *location), problem) from None
    digest = hashlib.sha256(repr(config.identity()).encode()).digest()
    return SourceIdentity(digest, config.connection(), config.protection())


def check_query(connector_type: str, query: str, cursor_column: str | None = None) -> None:
    """As `check_connector`, for the query alone. A `cursor_column` needs a query with `:last_pull`."""
    asked = _asked(connector_type, query)
    if cursor_column is not None and not asked.last_pull:
        raise InvalidConnector(
            ("cursor_column",), "is the column that :last_pull is compared with, but the query does not say :last_pull"
        )


def uses_watermark(connector: ConnectorSettings) -> bool:
    """Whether the connector's query says `:last_pull`. Raises InvalidConnector if it cannot be a query any more."""
    return _asked(connector.connector_type, connector.query).last_pull


def check_extent(connector: ConnectorSettings, extent: Extent) -> None:
    """Raise InvalidConnector for the first field of `extent` that the connector's query or cursor does not have."""
    if extent.since is not None:
        check_watermark(connector, "since", extent.since)
    if extent.until is None:
        return
    check_watermark(connector, "until", extent.until)
    if not _asked(connector.connector_type, connector.query).until:
        raise InvalidConnector(("until",), "needs a query that says :until, as in updated_at <= :until")


def check_watermark(connector: ConnectorSettings, field: str, value: Watermark | None) -> None:
    """Raise InvalidConnector unless `value` may be the connector's `:last_pull`; it is the request's `field`."""
    if not uses_watermark(connector):
        raise InvalidConnector((field,), "needs a query that says :last_pull: without it, every pull reads everything")
    if value is not None and isinstance(value, int) is not (connector.cursor_column is not None):
        raise InvalidConnector(
            (field,),
            "must be a time: the connector has no cursor_column"
            if isinstance(value, int)
            else "must be an integer, as those in the connector's cursor_column",
        )


def check_watch(connector_type: str, query: str, watch: Watch | None) -> None:
    """As `check_connector`, for the watch of a connector whose query was checked."""
    if watch is None:
        return
    field = "cursor_column" if watch.query is None else "query"
    try:
        look = look_query(connector_type, query, watch)
        asked = source_of(connector_type).check_query(look)
    except QueryRejected as error:
        raise InvalidConnector(("watch", field), str(error)) from None
    if watch.query is not None and asked.last_pull:
        raise InvalidConnector(("watch", field), "must not say :last_pull: what it returns would change with each pull")


def look_query(connector_type: str, query: str, watch: Watch) -> str:
    """The query of each look, in the type's own language. Raises QueryRejected."""
    if watch.query is not None:
        return watch.query
    return source_of(connector_type).newest(query, watch.cursor_column or "")


def open_source(
    connector_type: str,
    connection_config: Mapping[str, Any],
    *,
    strong_accounts: bool = False,
    folders: Sequence[Path] = (),
) -> Source:
    """A source from a config that `check_connector` passed.

    Unless they are allowed, it refuses `strong_accounts`. One that is a file is read only in one of the `folders`.
    """
    kind = source_of(connector_type)
    source = kind(kind.config_type.model_validate(dict(connection_config)))
    source.strong_accounts = strong_accounts
    if isinstance(source, OfFiles):
        source.folders = folders
    return source


def _asked(connector_type: str, query: str) -> Asked:
    """What a query asks for. Raises InvalidConnector if it cannot be one."""
    try:
        return source_of(connector_type).check_query(query)
    except QueryRejected as error:
        raise InvalidConnector(("query",), str(error)) from None
