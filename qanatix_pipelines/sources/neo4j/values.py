"""Neo4j's values as JSON text, by the rules of docs/types/neo4j.md, which a test checks.

Cypher types each value and not each column, so every value becomes its own text. A row whose only value is a node or a
relationship becomes an entity of its properties. `_labels` or `_type`, `_element_id` and so on stand beside them.
"""

from collections.abc import Sequence
from typing import Any, NoReturn

import neo4j
from neo4j import graph, spatial, time
from neo4j.exceptions import BrokenRecordError
from neo4j.vector import Vector

from qanatix_pipelines.errors import ResultUnusable, SourceFailed
from qanatix_pipelines.rejections import Fault, Reason
from qanatix_pipelines.sources.driver import known
from qanatix_pipelines.sources.json_text import json_text
from qanatix_pipelines.sources.key_text import key_text

with known("neo4j"):
    from neo4j._codec.hydration import BrokenHydrationObject


def fields(record: neo4j.Record, key: str) -> tuple[dict[str, str], str | None, Fault | None]:
    """The JSON text of each column or property of a row, that of its `key`, and the fault if one is unreadable.

    Raises ResultUnusable, SourceFailed.
    """
    names, fault = record.keys(), None
    try:
        plain = _entity_or_value(names[0], record[0]) if len(names) == 1 else _columns(record, names)
    except BrokenRecordError:
        plain, fault = _readable(record, names)
    value = plain.get(key)
    texts = {name: json_text(item, _unknown) for name, item in plain.items()}
    return texts, None if value is None else key_text(value, _json), fault


def _columns(record: neo4j.Record, names: Sequence[str]) -> dict[str, Any]:
    return dict(zip(names, map(_plain, record.values()), strict=True))


def _readable(record: neo4j.Record, names: Sequence[str]) -> tuple[dict[str, Any], Fault | None]:
    """The columns of a row that can be read, and the fault of the first one that cannot.

    The driver has dates of the years 1 to 9999 only, and only time zones that this machine knows.
    """
    plain: dict[str, Any] = {}
    fault = None
    for place, name in enumerate(names):
        try:
            plain[name] = _plain(record[place])
        except BrokenRecordError:
            fault = fault or Fault(Reason.UNREADABLE, name)
    return plain, fault


def _entity_or_value(key: str, value: Any) -> dict[str, Any]:
    """A row of one value. A node or a relationship becomes its properties and facts. Another value is called `key`."""
    if not isinstance(value, graph.Entity):
        return {key: _plain(value)}
    facts: dict[str, Any] = _plain(value)
    properties: dict[str, Any] = facts.pop("properties")
    named = {f"_{name}": fact for name, fact in facts.items()}
    taken = sorted(named.keys() & properties.keys())
    if taken:
        raise ResultUnusable(
            f"An entity that the query returns has a property called {taken[0]!r}, which is what the entity's own fact "
            "is called: return the properties that are wanted by name."
        )
    return named | properties


def _json(value: Any) -> str:
    return json_text(_plain(value), _unknown)


def _plain(value: Any) -> Any:
    """A Cypher value in types that `json_text` takes."""
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return value
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return _plain_class(value)


def _plain_class(value: Any) -> Any:  # noqa: PLR0911  # one case for each of the driver's own classes
    """As `_plain`, of the driver's own classes."""
    match value:
        case graph.Node():
            properties = {key: _plain(item) for key, item in value.items()}
            return {"element_id": value.element_id, "labels": sorted(value.labels), "properties": properties}
        case graph.Relationship():
            # `is None`, for a node without properties is an empty mapping, and false.
            start, end = (None if node is None else node.element_id for node in value.nodes)
            return {
                "element_id": value.element_id,
                "type": value.type,
                "start": start,
                "end": end,
                "properties": {key: _plain(item) for key, item in value.items()},
            }
        case graph.Path():
            return {"nodes": _plain(list(value.nodes)), "relationships": _plain(list(value.relationships))}
        case time.DateTime() | time.Time():
            return _clock_text(value)
        case time.Date() | time.Duration():
            return value.iso_format()
        case spatial.Point():
            names = ("longitude", "latitude", "height") if isinstance(value, spatial.WGS84Point) else ("x", "y", "z")
            return {"srid": value.srid} | dict(zip(names, value, strict=False))
        case Vector():
            return value.to_native()
        case BrokenHydrationObject():  # an unreadable value within another one
            raise BrokenRecordError
        case _:
            return _unknown(value)


def _unknown(_value: object) -> NoReturn:
    raise SourceFailed("The source returned a value of a type that this release does not know.")


def _clock_text(value: Any) -> str:
    """The driver's Time or DateTime as the server's own toString() writes it: RFC 9557, all its nanoseconds."""
    local: str = value.replace(tzinfo=None).iso_format().rstrip("0").removesuffix(".")
    offset = value.utc_offset()
    if offset is None:
        return local
    minutes = int(offset.total_seconds()) // 60
    shown = "{}{:02}:{:02}".format("-" if minutes < 0 else "+", *divmod(abs(minutes), 60)) if minutes else "Z"
    zone = getattr(value.tzinfo, "zone", None)
    return f"{local}{shown}" if zone in (None, "UTC") else f"{local}{shown}[{zone}]"
