"""Where rows come from. Each module of this package is one connector type, called by its name.

Such a module holds a pydantic `Config` for its `connection_config`, and one `Source` under the name `source`. Nothing
else needs to be touched to add one: the API's checks, Dagster's asset, job, partitions and resource follow.
"""

import hashlib
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from qanatix_pipelines.batches import Named, Reading
from qanatix_pipelines.connectors import Watch
from qanatix_pipelines.credentials import REDACTED
from qanatix_pipelines.errors import InvalidConnector, QueryRejected
from qanatix_pipelines.tls import Tls
from qanatix_pipelines.watermarks import Window


class SourceConfig(BaseModel):
    """A connection_config. Unknown keys are refused; nothing of what was given is echoed."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)

    def place(self) -> tuple[object, ...]:
        """Which database this is, and to whom it shows itself: `:last_pull` begins anew where that changes."""
        return (self.model_dump(),)

    def connection(self) -> dict[str, str | int]:
        """What may be shown of it, by name: where it leads and as whom, and nothing that opens anything."""
        return {}

    def protection(self) -> Tls:
        """How far TLS protects the connection, at the least: no server can make it less."""
        return "none"


# What a field lacks, by pydantic's name for it; what is not here is said in pydantic's words.
_PROBLEMS = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number, without quotes",
    "missing": "must be given",
    "string_too_short": "must not be empty",
    "string_type": "must be a text, in quotes",
    "too_short": "must not be empty",
}


@dataclass(frozen=True)
class Place:
    """What may be known of a connection_config without its credentials.

    `digest` is of which database it is, `connection` what may be shown of it, and `tls` what it demands.
    """

    digest: bytes
    connection: dict[str, str | int]
    tls: Tls


class Source(ABC):
    """Reads one database. Made from a checked `Config`; holds no connection between readings."""

    config_type: ClassVar[type[SourceConfig]]
    # What people call the type, and what Dagster does: a kind has an icon there.
    title: ClassVar[str]
    kind: ClassVar[str]
    # Whether the account may have rights that a query could use beyond reading.
    strong_accounts = False
    # What the connector means by its columns: a source whose rows are objects hands these over beside them.
    named = Named()

    @abstractmethod
    def __init__(self, config: Any) -> None: ...

    @classmethod
    @abstractmethod
    def check_query(cls, query: str) -> bool:
        """Whether it asks for `:last_pull`. Connects to nothing.

        Raises QueryRejected if it cannot be a query of this type.
        """

    @classmethod
    def newest(cls, query: str, column: str) -> str:  # noqa: ARG003  # they are for those that can
        """A query for the greatest value of `column` in the result of one that `check_query` passed.

        Raises QueryRejected where there is no such query.
        """
        raise QueryRejected(
            f"is not possible with {cls.title}: give a query instead, that returns one row which differs when the "
            "source has changed"
        )

    @abstractmethod
    def read(self, query: str, *, window: Window, batch_size: int) -> AbstractAsyncContextManager[Reading]:
        """Connect, run `query` read-only in one snapshot, and disconnect when the context ends, however it ends.

        `window` says what `:last_pull` is bound to, by the source's clock; where that is None, to the least value of
        its type. Raises SourceError, here and while batches are read, and AccountTooStrong before the query runs; no
        driver's exception passes.
        """


def connector_types() -> tuple[str, ...]:
    """The names of the types that there are. Imports none of them."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def source_of(connector_type: str) -> type[Source]:
    """Raises InvalidConnector that names the types there are."""
    if connector_type not in connector_types():
        raise InvalidConnector(("connector_type",), f"must be one of {', '.join(connector_types())}")
    source: type[Source] = importlib.import_module(f"{__name__}.{connector_type}").source
    return source


def check_connector(
    connector_type: str, connection_config: Mapping[str, Any], query: str, cursor_column: str | None = None
) -> Place:
    """Which database the connector reads, and how it is connected to. Connects to nothing.

    Raises InvalidConnector for the first field that this type of connector would refuse.
    """
    place = check_config(connector_type, connection_config)
    check_query(connector_type, query, cursor_column)
    return place


def check_config(connector_type: str, connection_config: Mapping[str, Any]) -> Place:
    """As `check_connector`, for the connection_config alone."""
    source = source_of(connector_type)
    for option, value in connection_config.items():
        if isinstance(value, str) and REDACTED in value:
            raise InvalidConnector(("connection_config", option), f"holds {REDACTED}, which hides a secret and is none")
    try:
        config = source.config_type.model_validate(dict(connection_config))
    except ValidationError as error:
        problems = error.errors(include_input=False, include_context=False, include_url=False)
        # An option of another type's tells more than what is missing without it.
        first = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
        location = tuple(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            allowed = ", ".join(source.config_type.model_fields)
            problem = f"is not an option of {connector_type}; its options are: {allowed}"
        else:
            problem = _PROBLEMS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
            problem = problem.replace("Input should be", "must be").replace("String should have", "must have")
        raise InvalidConnector(("connection_config", *location), problem) from None
    digest = hashlib.sha256(repr(config.place()).encode()).digest()
    return Place(digest, config.connection(), config.protection())


def check_query(connector_type: str, query: str, cursor_column: str | None = None) -> None:
    """As `check_connector`, for the query alone, and that `cursor_column` is of use in it."""
    try:
        asks_for_last_pull = source_of(connector_type).check_query(query)
    except QueryRejected as error:
        raise InvalidConnector(("query",), str(error)) from None
    if cursor_column is not None and not asks_for_last_pull:
        raise InvalidConnector(
            ("cursor_column",), "is the column that :last_pull is compared with, but the query does not say :last_pull"
        )


def check_watch(connector_type: str, query: str, watch: Watch | None) -> None:
    """As `check_connector`, for the watch of a connector whose query was checked."""
    if watch is None:
        return
    field = "cursor_column" if watch.query is None else "query"
    try:
        look = look_query(connector_type, query, watch)
        asks_for_last_pull = source_of(connector_type).check_query(look)
    except QueryRejected as error:
        raise InvalidConnector(("watch", field), str(error)) from None
    if watch.query is not None and asks_for_last_pull:
        raise InvalidConnector(("watch", field), "must not say :last_pull: what it returns would change with each pull")


def look_query(connector_type: str, query: str, watch: Watch) -> str:
    """What is asked at each look, in the type's own language. Raises QueryRejected."""
    if watch.query is not None:
        return watch.query
    return source_of(connector_type).newest(query, watch.cursor_column or "")


def open_source(connector_type: str, connection_config: Mapping[str, Any], *, strong_accounts: bool = False) -> Source:
    """A source from a config that `check_connector` passed. Unless they are allowed, it refuses `strong_accounts`."""
    kind = source_of(connector_type)
    source = kind(kind.config_type.model_validate(dict(connection_config)))
    source.strong_accounts = strong_accounts
    return source
