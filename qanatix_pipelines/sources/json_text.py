"""Python's values as JSON text, for sources whose rows are not typed by column. Each value has one form.

Numbers keep their digits. NaN and the infinities become the strings "NaN", "Infinity" and "-Infinity". Bytes become
base64 (RFC 4648, section 4). Times are ISO 8601, and those with a zone are in UTC with a Z. A duration is ISO 8601 in
days and seconds. A map's keys are sorted, for some sources change their order between two readings.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

Rules = Mapping[type, Callable[[Any], Any]]

_QUOTED = json.encoder.encode_basestring  # json.dumps would make an encoder for each text
_NOT_NUMBERS = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}


def json_text(  # noqa: C901, PLR0911, PLR0912  # one return for each kind of value
    value: Any, other: Callable[[Any], Any], rules: Rules = MappingProxyType({})
) -> str:
    """`value` as JSON.

    `rules` come first: they turn a value of exactly such a type into another one. `other` comes last: it turns a value
    of a type that is not known here into one that is, or raises TypeError.
    """
    kind = type(value)
    if (quick := _QUICK.get(kind)) is not None:
        return quick(value)
    if kind is dict:
        return _object(value, other, rules)
    if kind is list:
        return _array(value, other, rules)
    if (rule := rules.get(kind)) is not None:
        return json_text(rule(value), other, rules)
    match value:
        case str():
            return _QUOTED(value)
        case int():
            return int.__repr__(value)
        case float():
            return _float(value)
        case Mapping():
            return _object(value, other, rules)
        case bytes() | bytearray() | memoryview():
            return f'"{base64.b64encode(value).decode()}"'
        case Sequence():
            return _array(value, other, rules)
        case Decimal():
            return _decimal(value)
        case datetime() | date() | time() | timedelta() | UUID():
            return f'"{plain_text(value)}"'
        case _:
            return json_text(other(value), other, rules)


def plain_text(value: datetime | date | time | timedelta | UUID) -> str:
    """The text of a value for which JSON has no form but a string."""
    match value:
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
        case timedelta():
            sign = "-" if value < timedelta(0) else ""
            length = abs(value)
            seconds = f"{length.seconds}.{length.microseconds:06}" if length.microseconds else str(length.seconds)
            return f"{sign}P{length.days}DT{seconds}S"
        case UUID():
            return str(value)
        case _:
            return value.isoformat()


def _object(value: Mapping[Any, Any], other: Callable[[Any], Any], rules: Rules) -> str:
    items = sorted([(str(key), json_text(item, other, rules)) for key, item in value.items()])
    return "{" + ",".join([f"{_QUOTED(key)}:{item}" for key, item in items]) + "}"


def _array(value: Sequence[Any], other: Callable[[Any], Any], rules: Rules) -> str:
    return "[" + ",".join([json_text(item, other, rules) for item in value]) + "]"


def _float(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else _NOT_NUMBERS[repr(float(value))]


def _decimal(value: Decimal) -> str:
    if value.is_nan():
        return _NOT_NUMBERS["nan"]
    if value.is_infinite():
        return _NOT_NUMBERS["inf" if value > 0 else "-inf"]
    return str(value).replace("E", "e")


# Most values have exactly these types, or are plain dicts and lists. Checking instances takes longer than writing them.
_QUICK: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    str: _QUOTED,
    int: int.__repr__,
    float: _float,
    Decimal: _decimal,
}
