"""BSON's values as JSON text: the rules that docs/types/mongodb.md tells, and its test checks.

Most of them are applied while a document is decoded, so that what JSON has no form for arrives as a text or an object.
What has a natural form gets that; the rest gets the object that MongoDB's Extended JSON (version 2) has for it.
"""

from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from bson.binary import UUID_SUBTYPE, Binary
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from qanatix_pipelines.values.json_text import json_text

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # in UTC: nothing is to be told of its zone
_UUID_BYTES = 16
# The Gregorian calendar repeats itself after these.
_CYCLE_YEARS = 400
_CYCLE = timedelta(days=146_097) // timedelta(milliseconds=1)


def bson_text(value: Any) -> str:
    """JSON text of a value that was decoded with `CODEC`."""
    return json_text(value, _left_over)


def _left_over(value: Any) -> Any:
    """The ObjectId in a DBPointer, a type of old, comes as it is. Raises KeyError for what BSON does not have."""
    return _RULES[type(value)](value)


def _date(value: DatetimeMS) -> str:
    """ISO 8601 with milliseconds and Z. Years beyond four digits have a sign and six of them, as in ECMAScript.

    A date is 64 bits of milliseconds, and may lie 292 million years away.
    """
    cycles, rest = divmod(int(value), _CYCLE)
    within = _EPOCH + timedelta(milliseconds=rest)
    year = within.year + cycles * _CYCLE_YEARS
    shown = f"{year:04}" if 0 <= year <= 9999 else f"{year:+07}"  # noqa: PLR2004  # four digits
    return f"{shown}{within.isoformat(timespec='milliseconds')[4:]}Z"


def _binary(value: Binary) -> Any:
    if value.subtype == UUID_SUBTYPE and len(value) == _UUID_BYTES:
        return str(value.as_uuid())
    return {"$binary": {"base64": b64encode(value).decode(), "subType": f"{value.subtype:02x}"}}


def _code(value: Code) -> dict[str, Any]:
    return {"$code": str(value)} | ({} if value.scope is None else {"$scope": value.scope})


def _regex(value: Regex[str]) -> dict[str, Any]:
    flags = "".join(letter for letter, flag in zip("ilmsux", (2, 4, 8, 16, 32, 64), strict=True) if value.flags & flag)
    pattern = value.pattern if isinstance(value.pattern, str) else value.pattern.decode(errors="backslashreplace")
    return {"$regularExpression": {"pattern": pattern, "options": flags}}


_RULES: dict[type, Callable[[Any], Any]] = {
    ObjectId: str,
    DatetimeMS: _date,
    Decimal128: Decimal128.to_decimal,
    Binary: _binary,
    Code: _code,
    Regex: _regex,
    Timestamp: lambda value: {"$timestamp": {"t": value.time, "i": value.inc}},
    DBRef: lambda value: dict(value.as_doc()),
    MinKey: lambda _: {"$minKey": 1},
    MaxKey: lambda _: {"$maxKey": 1},
}


class _Rule(TypeDecoder):
    def __init__(self, bson_type: type) -> None:
        self._type = bson_type

    @property
    def bson_type(self) -> type:
        return self._type

    def transform_bson(self, value: Any) -> Any:
        return _RULES[self._type](value)


# A text that is not UTF-8 keeps its stray bytes as \xff: the server takes such, and one must not end a pull.
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    unicode_decode_error_handler="backslashreplace",
    type_registry=TypeRegistry([_Rule(bson_type) for bson_type in _RULES]),
)
