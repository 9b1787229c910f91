"""Mistakes in a MongoDB query: other tools' placeholders, and options or operators that would be field names."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.places import shown
from qanatix_pipelines.sources.mongodb.extended_json import MAX_DEPTH
from qanatix_pipelines.sources.mongodb.find_options import instead, is_option
from qanatix_pipelines.sources.mongodb.placeholders import LAST_PULL, PLACEHOLDERS, UNTIL
from qanatix_pipelines.sources.slips import is_alike

# Placeholders as other tools write them. Each pattern has one group: the name.
STYLES = (
    r":(\w+)",
    r"%\((\w+)\)[sd]",
    r"\$?\{\{?\s*([\w.]+)\s*\}?\}",
    r"[$@&](\w+)",
    r"<(\w+)>",
    r"%(\w+)%",
)
_WHOLE = re.compile("|".join(rf"\s*{style}\s*" for style in STYLES))
_ORDERED = frozenset(["$gt", "$gte", "$lt", "$lte"])
_COMPARED = frozenset(["gt", "gte", "lt", "lte", "eq", "ne"])


def check_filter(query: str) -> None:
    """As `check_sql`, for a MongoDB query.

    One that is not JSON, or is nested too deeply, passes: `parse_mongo_query` rejects it.
    """
    try:
        given = json.loads(query)
        texts = list(_strings(given, ()))
    except (ValueError, RecursionError):
        return
    if isinstance(given, dict):
        _check_options(given)
        _check_operators(given, ())
    for path, value in texts:
        whole = _WHOLE.fullmatch(value)
        if whole is None or value in PLACEHOLDERS or ("$expr" in path and value.startswith("$")):
            continue
        name = next(filter(None, whole.groups()))
        if path[-1:] == ("$date",) or is_alike(name) or (path and path[-1] in _ORDERED and not value.startswith("$")):
            where = ".".join(map(shown, path))
            raise QueryRejected(
                f'The query has the text "{shown(value)}" at {where}, which is no placeholder: write "{LAST_PULL}" '
                f'for the time of the last pull, or "{UNTIL}" for the end of a window, that alone and in quotes. '
                "Nothing else is bound."
            )
    for path, value in texts:
        if path[-1:] == ("$date",) and value in PLACEHOLDERS:
            raise QueryRejected(
                f'The query has "{value}" within $date: write it alone, such as {{"$gt": "{value}"}}. It is bound as a '
                "date."
            )


def _check_options(given: dict[str, Any]) -> None:
    """Beside a bare filter, an option of `find` would be a field's name, and the query would find nothing."""
    if isinstance(given.get("filter"), dict):
        return
    for key, value in given.items():
        if is_option(key, value):
            raise QueryRejected(f"The query has the key {key}, which would be a field's name. {instead(key)}")


def _check_operators(value: Any, path: tuple[str, ...]) -> None:
    """An operator without its `$` makes its object a plain value, which no field equals."""
    if isinstance(value, list):
        for inner in value:
            _check_operators(inner, path)
    elif isinstance(value, dict):
        of_a_field = path not in ((), ("filter",)) and (not path[-1].startswith("$") or path[-1] == "$not")
        named = next((key for key, inner in value.items() if inner in PLACEHOLDERS), None)
        if of_a_field and value.keys() <= _COMPARED and named is not None:
            place = ".".join(map(shown, path))
            field = json.dumps(f"{path[-1]}.{named}")
            raise QueryRejected(
                f"The query has {named} at {place}.{named}, where it would be a field's name: write the operator "
                f'"${named}". A filter on a field called {named} is written {{{field}: "{value[named]}"}}.'
            )
        for key, inner in value.items():
            _check_operators(inner, (*path, key))


def _strings(value: Any, path: tuple[str, ...], depth: int = 0) -> Iterator[tuple[Sequence[str], str]]:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, (*path, key), depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, path, depth + 1)
    elif isinstance(value, str):
        yield path, value
