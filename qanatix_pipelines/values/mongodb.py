"""BSON's values as JSON text: the rules that docs/types/mongodb.md tells, and its test checks.

What has a natural form gets that; the rest gets the object that MongoDB's Extended JSON (version 2) has for it.
"""

from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from bson.binary import UUID_SUBTYPE, Binary
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
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
# Decimal128: the sign, then the exponent, then the digits as one integer; or two bits that say that it is otherwise.
_SIGN_AT, _SPECIAL_AT, _DIGITS_BITS = 127, 125, 113
_DIGITS, _EXPONENT, _EXPONENT_BIAS = 2**_DIGITS_BITS - 1, 2**14 - 1, 6176
_MOST_DIGITS = 10**34 - 1
_EXACT = Context(prec=34)
# The Gregorian calendar repeats itself after these.
_CYCLE_YEARS = 400
_CYCLE = timedelta(days=146_097) // timedelta(milliseconds=1)


def bson_text(value: Any) -> str:
    """JSON text of a value that was decoded with `CODEC`."""
    return json_text(value, _unknown, _RULES)


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
