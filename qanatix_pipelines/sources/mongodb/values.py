"""BSON's values as JSON text, by the rules of docs/types/mongodb.md, which a test checks.

A value with a natural form in JSON gets it. Every other value gets its object of MongoDB's Extended JSON (version 2).
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from bson import decode
from bson.binary import UUID_SUBTYPE, Binary
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.errors import BSONError, InvalidBSON
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex
from bson.timestamp import Timestamp

from qanatix_pipelines.sources.json_text import json_text
from qanatix_pipelines.sources.key_text import LIKE_QUOTED, key_text

# What reading raises for a document that breaks BSON's rules.
Unreadable = BSONError

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # in UTC, without a zone: `isoformat` would write one
_UUID_BYTES = 16
_LEAST_BYTES = 5  # of a document: its length, and its end
# Decimal128 has the sign, the exponent, and the digits as one integer. Two bits tell of another layout.
_SIGN_AT, _SPECIAL_AT, _DIGITS_BITS = 127, 125, 113
_DIGITS, _EXPONENT, _EXPONENT_BIAS = 2**_DIGITS_BITS - 1, 2**14 - 1, 6176
_MOST_DIGITS = 10**34 - 1
_EXACT = Context(prec=34)
# Texts that a key of another type is written as, too: an ObjectId and a date.
_DATE = r"[+-]?[0-9]{4,9}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
_LIKE_QUOTED = re.compile(rf"{LIKE_QUOTED}|[0-9a-f]{{24}}|{_DATE}", re.DOTALL)
# The Gregorian calendar repeats itself after so many years.
_CYCLE_YEARS = 400
_CYCLE = timedelta(days=146_097) // timedelta(milliseconds=1)


def bson_text(value: Any) -> str:
    """JSON text of a value that was decoded with `CODEC`."""
    return json_text(value, _unknown, _RULES)


def documents(reply: bytes) -> Iterator[bytes]:
    """The documents of a reply, each in BSON. Raises InvalidBSON if a document's length cannot be true."""
    start = 0
    while start < len(reply):
        size = int.from_bytes(reply[start : start + 4], "little")
        if not _LEAST_BYTES <= size <= len(reply) - start:
            raise InvalidBSON("a document's length")
        yield reply[start : start + size]
        start += size


def fields(document: bytes, key: str) -> tuple[dict[str, str], str | None]:
    """The JSON text of each field of a document, and that of its key. The key is None if there is no such field.

    Raises Unreadable, and RecursionError for a document that is nested too deeply.
    """
    values = decode(document, CODEC)
    return {field: bson_text(value) for field, value in values.items()}, _key(values, key)


def object_text(document: bytes) -> str:
    """The JSON text of a whole document."""
    return bson_text(decode(document, CODEC))


def document_of(answer: bytes | memoryview, most: int) -> dict[str, Any] | None:
    """A server's answer to a command. None if it has `most` bytes or more, or breaks BSON's rules."""
    try:
        return decode(answer, CODEC) if len(answer) < most else None
    except (Unreadable, RecursionError):
        return None


def types_at(value: Any, path: Sequence[str]) -> set[str]:
    """The types that a document has at a path, by MongoDB's names. Null is none, and of a list each item counts."""
    if isinstance(value, list):
        return set().union(*(types_at(item, path) for item in value))
    if path:
        return types_at(value.get(path[0]), path[1:]) if isinstance(value, dict) else set()
    return {_TYPE_NAMES[type(value)]} if type(value) in _TYPE_NAMES else set()


def _key(document: dict[str, Any], key: str) -> str | None:
    value = document.get(key)
    if type(value) is ObjectId:
        return f'"{value}"'
    if value is None:
        # An _id may be null, in one document. In another field, null means that there is no key.
        return '"null"' if key == "_id" and key in document else None
    return _key_text(value)


def _key_text(value: Any) -> str:
    return key_text(value, _other_key, _LIKE_QUOTED)


def _other_key(value: Any) -> str:
    """Bytes are not written as base64 alone, as in the data: a text could be the same."""
    match value:
        case Binary():
            return bson_text(_extended(value))
        case bytes():
            return bson_text(_extended(Binary(value)))
        case Decimal128():
            return _key_text(_decimal(value))
        case DBRef():
            return _key_text(dict(value.as_doc()))
        case _:
            return bson_text(value)


def _unknown(value: Any) -> Any:
    raise TypeError(f"BSON has no {type(value).__name__}")


def _date(value: DatetimeMS) -> str:
    """ISO 8601 with milliseconds and Z. A year beyond four digits has a sign and at least six digits, as in ECMAScript.

    A date is 64 bits of milliseconds, so it may lie 292 million years away.
    """
    cycles, rest = divmod(int(value), _CYCLE)
    within = _EPOCH + timedelta(milliseconds=rest)
    year = within.year + cycles * _CYCLE_YEARS
    shown = f"{year:04}" if 0 <= year <= 9999 else f"{year:+07}"  # noqa: PLR2004  # four digits
    return f"{shown}{within.isoformat(timespec='milliseconds')[4:]}Z"


def _decimal(value: Decimal128) -> Decimal:
    """As `to_decimal`, and many times faster for numbers in the usual layout (IEEE 754-2008, 3.5.2)."""
    bits = int.from_bytes(value.bid, "little")
    digits, exponent = bits & _DIGITS, (bits >> _DIGITS_BITS & _EXPONENT) - _EXPONENT_BIAS
    if bits >> _SPECIAL_AT & 3 == 3 or digits > _MOST_DIGITS:  # noqa: PLR2004  # both bits
        return value.to_decimal()
    number = Decimal(digits).scaleb(exponent, _EXACT)
    return number.copy_negate() if bits >> _SIGN_AT else number


def _binary(value: Binary) -> Any:
    if value.subtype == UUID_SUBTYPE and len(value) == _UUID_BYTES:
        return str(value.as_uuid())
    return _extended(value)


def _extended(value: Binary) -> dict[str, Any]:
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
    Decimal128: _decimal,
    Binary: _binary,
    Code: _code,
    Regex: _regex,
    Timestamp: lambda value: {"$timestamp": {"t": value.time, "i": value.inc}},
    DBRef: lambda value: dict(value.as_doc()),
    MinKey: lambda _: {"$minKey": 1},
    MaxKey: lambda _: {"$maxKey": 1},
}


_TYPE_NAMES: dict[type, str] = {
    DatetimeMS: "date",
    Timestamp: "timestamp",
    str: "string",
    int: "int",
    Int64: "long",
    float: "double",
    Decimal128: "decimal",
    bool: "bool",
    ObjectId: "objectId",
    dict: "object",
}


# The server stores texts that are not UTF-8. Their stray bytes become \xff, so that none of them ends a pull.
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    unicode_decode_error_handler="backslashreplace",
)
# Leaves a server's answer in BSON.
RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
