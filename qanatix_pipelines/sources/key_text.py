"""Keys of rows whose values each have their own type. Two keys have one text exactly if their source calls them equal.

MongoDB and Cypher compare numbers by value, whatever their type: 1 equals 1.0. Values of different types are never
equal: 1 is not "1". So a whole number is written as its digits. A text is written as it is, unless a key of another
type would be written the same: then it stands in quotes. A map's fields keep their order, for MongoDB compares it.
"""

import re
from collections.abc import Callable
from decimal import Context, Decimal
from json.encoder import encode_basestring
from typing import Any

# Whole numbers below this are written in digits. It is more than 64 bits hold.
_WHOLE = 10**19
# Texts that look like a key of another type: first those that JSON writes bare, then those that it writes in quotes.
_LIKE_BARE = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?|true|false|null|[{\[].*", re.DOTALL)
LIKE_QUOTED = r'-?Infinity|NaN|".*'
_LIKE_QUOTED = re.compile(LIKE_QUOTED, re.DOTALL)

# A Decimal128 has 34 digits. Python's own context keeps 28.
_EXACT = Context(prec=34)


def key_text(value: Any, other: Callable[[Any], str], like_quoted: re.Pattern[str] = _LIKE_QUOTED) -> str:
    """JSON text of a key. `other` writes a value that is no text, number, truth, map or list.

    `like_quoted` matches texts that a value of another type may be written as: they are put in quotes.
    """
    if isinstance(value, str) and _LIKE_BARE.fullmatch(value):
        return encode_basestring(encode_basestring(value))
    return _within(value, other, like_quoted)


def _within(  # noqa: PLR0911  # one return for each kind of value
    value: Any, other: Callable[[Any], str], like_quoted: re.Pattern[str]
) -> str:
    match value:
        case str():
            quoted = encode_basestring(value)
            return encode_basestring(quoted) if like_quoted.fullmatch(value) else quoted
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return int.__repr__(value)
        case float() | Decimal():
            return _number(value)
        case dict():
            items = (f"{encode_basestring(key)}:{_within(v, other, like_quoted)}" for key, v in value.items())
            return "{" + ",".join(items) + "}"
        case list():
            return "[" + ",".join(_within(item, other, like_quoted) for item in value) + "]"
        case _:
            return other(value)


def _number(value: float | Decimal) -> str:
    # `math` would turn a decimal into a double, where most decimals are infinite and some NaNs are refused.
    exact = value if isinstance(value, Decimal) else Decimal(value)
    if exact.is_nan():
        return '"NaN"'
    if exact.is_infinite():
        return '"Infinity"' if value > 0 else '"-Infinity"'
    if -_WHOLE < value < _WHOLE and value == (whole := int(value)):
        return str(whole)
    # A double equals a decimal only if the decimal is exactly that binary fraction.
    if isinstance(value, float) or (abs(value) < Decimal("1e308") and Decimal(float(value)) == value):
        return repr(float(value))
    return f'{{"$numberDecimal":"{_EXACT.normalize(value)}"}}'.replace("E", "e")
