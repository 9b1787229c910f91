"""SQLite's values, each of which has a type of its own, whatever its column was declared as. docs/types/sqlite.md."""

from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any

from qanatix_pipelines.rejections import OVERSIZED, Fault, Reason
from qanatix_pipelines.sources.documents import Row
from qanatix_pipelines.sources.json_text import json_text
from qanatix_pipelines.sources.key_text import key_text
from qanatix_pipelines.sources.sqlite.frames import BLOB


def fields(names: Sequence[str], values: Sequence[Any] | None, key: int | None) -> Row:
    """A row, as a frame has it, as `documents.Gathering` takes it. `key` is the place of its key."""
    if values is None:
        return {}, None, OVERSIZED
    if _NOT_UTF8 in values:
        return {}, _key(values, key), Fault(Reason.NOT_UTF8, names[values.index(_NOT_UTF8)])
    row = dict(zip(names, [_QUICK[type(value)](value) for value in values], strict=True))
    return row, _key(values, key), None


def _key(values: Sequence[Any], place: int | None) -> str | None:
    if place is None or values[place] is None or values[place] == _NOT_UTF8:
        return None
    return key_text(values[place], str)  # a blob, which equals no text, is a map there


def _blob(value: dict[str, str]) -> str:
    return encode_basestring(value[BLOB])


def _real(value: float) -> str:
    return json_text(value, repr)


_NOT_UTF8: dict[str, str] = {}
_QUICK: dict[type, Any] = {
    type(None): lambda _: "null",
    int: int.__repr__,
    float: _real,
    str: encode_basestring,
    dict: _blob,
}
