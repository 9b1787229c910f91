"""BSON's values as JSON text: the rules that docs/types/mongodb.md tells, and its test checks.

What has a natural form gets that; the rest gets the object that MongoDB's Extended JSON (version 2) has for it.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
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
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from qanatix_pipelines.values.json_text import json_text
from qanatix_pipelines.values.key_text import LIKE_QUOTED, key_text

# What a document that breaks BSON's rules is read with.
Unreadable = BSONError

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # in UTC: nothing is to be told of its zone
_UUID_BYTES = 16
_LEAST_BYTES = 5  # of a document: its length, and its end
# Decimal128: the sign, then the exponent, then the digits as one integer; or two bits that say that it is otherwise.
_SIGN_AT, _SPECIAL_AT, _DIGITS_BITS = 127, 125, 113
_DIGITS, _EXPONENT, _EXPONENT_BIAS = 2**_DIGITS_BITS - 1, 2**14 - 1, 6176
_MOST_DIGITS = 10**34 - 1
_EXACT = Context(prec=34)
# An ObjectId, and a date.
_DATE = r"[+-]?[0-9]{4,9}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
_LIKE_QUOTED = re.compile(rf"{LIKE_QUOTED}|[0-9a-f]{{24}}|{_DATE}", re.DOTALL)
# The Gregorian calendar repeats itself after these.
_CYCLE_YEARS = 400
_CYCLE = timedelta(days=146_097) // timedelta(milliseconds=1)


def bson_text(value: Any) -> str:
    """JSON text of a value that was decoded with `CODEC`."""
    return json_text(value, _unknown, _RULES)


def documents(reply: bytes) -> Iterator[bytes]:
    """The documents of a reply, each in BSON. Raises InvalidBSON where their lengths are not those that they say."""
    start = 0
    while start < len(reply):
        size = int.from_bytes(reply[start : start + 4], "little")
        if not _LEAST_BYTES <= size <= len(reply) - start:
            raise InvalidBSON("a document's length")
        yield reply[start : start + size]
        start += size


def fields(document: bytes, key: str) -> tuple[dict[str, str], str | None]:
    """The JSON text of each field of a document, and that of its key; None where it has no such field.

    Raises Unreadable, and RecursionError where it is nested deeper than we can follow.
    """
    values = decode(document, CODEC)
    return {field: bson_text(value) for field, value in values.items()}, _key(values, key)


def object_text(document: bytes) -> str:
    """The JSON text of a whole document."""
    return bson_text(decode(document, CODEC))


def _key(document: dict[str, Any], key: str) -> str | None:
    value = document.get(key)
    if type(value) is ObjectId:
        return f'"{value}"'
    if value is None:
        # One document may have an _id that is null; of another field it says that there is no key.
        return '"null"' if key == "_id" and key in document else None
    return _key_text(value)


def _key_text(value: Any) -> str:
    return key_text(value, _other_key, _LIKE_QUOTED)


def _other_key(value: Any) -> str:
    """Bytes are not written as in the data: many a text could be that."""
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
    """ISO 8601 with milliseconds and Z. Years beyond four digits have a sign and six of them, as in ECMAScript.

    A date is 64 bits of milliseconds, and may lie 292 million years away.
    """
    cycles, rest = divmod(int(value), _CYCLE)
    within = _EPOCH + timedelta(milliseconds=rest)
    year = within.year + cycles * _CYCLE_YEARS
    shown = f"{year:04}" if 0 <= year <= 9999 else f"{year:+07}"  # noqa: PLR2004  # four digits
    return f"{shown}{within.isoformat(timespec='milliseconds')[4:]}Z"


def _decimal(value: Decimal128) -> Decimal:
    """As `to_decimal`, many times faster for a number whose digits are where most have them (IEEE 754-2008, 3.5.2)."""
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


# A text that is not UTF-8 keeps its stray bytes as \xff: the server takes such, and one must not end a pull.
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    unicode_decode_error_handler="backslashreplace",
)
