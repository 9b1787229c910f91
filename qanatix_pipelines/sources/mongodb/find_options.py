"""Options of MongoDB's `find` and `aggregate` that a pull does not take, and what to write instead of each."""

import json
import re
from collections.abc import Callable
from typing import Any

from qanatix_pipelines.sources.mongodb.extended_json import LONGEST_SHOWN, plain_number, shown

_INDEX = re.compile(r".+_-?1")  # the name that MongoDB gives to an index
_NO_PIPELINE = "A pull runs no pipeline: write the filter alone"


def is_order(value: Any) -> bool:
    """Whether it can be a sort or a projection: an object of fields, each 1, 0 or -1."""
    return isinstance(value, dict) and all(plain_number(item) in (1, 0, -1) for item in value.values())


def _is_count(value: Any) -> bool:
    number = plain_number(value)
    return isinstance(number, (int, float)) and not isinstance(number, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_hint(value: Any) -> bool:
    return (bool(value) and is_order(value)) or (isinstance(value, str) and _INDEX.fullmatch(value) is not None)


def _is_collation(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("locale"), str)


def _is_query(value: Any) -> bool:
    return isinstance(value, dict) and not any(key.startswith("$") for key in value)


def _is_pipeline(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


# For each option: the shape of its value, and what to write instead.
_OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "limit": (_is_count, "A pull has no limit: leave it out"),
    "skip": (_is_count, "A pull has no skip: leave it out"),
    "hint": (_is_hint, "A pull has no hint: leave it out"),
    "collation": (_is_collation, "A pull has no collation: leave it out"),
    "query": (_is_query, 'What it finds is written {"filter": {...}}'),
    "pipeline": (_is_pipeline, _NO_PIPELINE),
    "aggregate": (_is_text, _NO_PIPELINE),
    "find": (_is_text, "The collection is named in connection_config: write the filter alone"),
}


def is_option(key: str, value: Any) -> bool:
    """Whether the key is the name of an option, and the value has the shape that this option takes."""
    return key in _OPTIONS and _OPTIONS[key][0](value)


def instead(key: str) -> str:
    """What to write instead of an option, and how to write a filter on a field of the same name."""
    advice = f"{_OPTIONS[key][1]}. " if key in _OPTIONS else ""
    field = json.dumps(key[:LONGEST_SHOWN])
    return f'{advice}A filter on a field called {shown(key)} is written {{"filter": {{{field}: ...}}}}.'
