"""Keys of rows that are typed value by value: one text for what their source compares as equal, and for nothing else.

Both MongoDB and Cypher compare numbers by their value, whatever their type, and nothing of one type with another: 1 is
1.0 and not "1". So a whole number is its digits, and a text stands as it is, unless another type's key is written so:
then it stands in quotes. A map's fields keep their order, by which MongoDB tells two of them apart.
"""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

# A number has its digits up to here: those of 64 bits, and then some.
_WHOLE = 10**19
# Texts that are what a key of another type is written as.
LIKE_ANOTHER = r'-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?|-?Infinity|NaN|true|false|null|["{\[].*'
_LIKE_ANOTHER = re.compile(LIKE_ANOTHER, re.DOTALL)


def key_text(  # noqa: PLR0911  # one return for each kind of value
    value: Any, other: Callable[[Any], str], like_another: re.Pattern[str] = _LIKE_ANOTHER
) -> str:
    """JSON text of a key. `other` writes what is no text, number, truth, map or list.

    `like_another` are the texts that stand in quotes.
    """
    match value:
        case str():
            return _quoted(value, like_another)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return int.__repr__(value)
        case float() | Decimal():
            return _number(value)
        case dict():
            items = (f"{encode_basestring(key)}:{key_text(v, other, like_another)}" for key, v in value.items())
            return "{" + ",".join(items) + "}"
        case list():
            return "[" + ",".join(key_text(item, other, like_another) for item in value) + "]"
        case _:
            return other(value)


def _quoted(text: str, like_another: re.Pattern[str]) -> str:
    quoted = encode_basestring(text)
    return encode_basestring(quoted) if like_another.fullmatch(text) else quoted


def _number(value: float | Decimal) -> str:
    if not math.isfinite(value):
        return '"NaN"' if math.isnan(value) else '"Infinity"' if math.copysign(1, value) > 0 else '"-Infinity"'
    if -_WHOLE < value < _WHOLE and value == (whole := int(value)):
        return str(whole)
    # A double is equal to a decimal only where the decimal is just that binary fraction.
    if isinstance(value, float) or (abs(value) < Decimal("1e308") and Decimal(float(value)) == value):
        return repr(float(value))
    return f'{{"$numberDecimal":"{value.normalize()}"}}'.replace("E", "e")
