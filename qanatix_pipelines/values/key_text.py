"""Keys of rows that are typed value by value: one text for what their source compares as equal, and for nothing else.

Both MongoDB and Cypher compare numbers by their value, whatever their type, and nothing of one type with another: 1 is
1.0 and not "1". So a whole number is its digits, and a text stands as it is, unless another type's key is written so:
then it stands in quotes. A map's fields keep their order, by which MongoDB tells two of them apart.
"""

import re
from collections.abc import Callable
from decimal import Context, Decimal
from json.encoder import encode_basestring
from typing import Any

# A number has its digits up to here: those of 64 bits, and then some.
_WHOLE = 10**19
# Texts that are just what a key of another type is: one that JSON has no string for, and one that has.
_LIKE_BARE = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?|true|false|null|[{\[].*", re.DOTALL)
LIKE_QUOTED = r'-?Infinity|NaN|".*'
_LIKE_QUOTED = re.compile(LIKE_QUOTED, re.DOTALL)

# Of a Decimal128, whose digits are 34: six more than Python's own context keeps.
_EXACT = Context(prec=34)


def key_text(value: Any, other: Callable[[Any], str], like_quoted: re.Pattern[str] = _LIKE_QUOTED) -> str:
    """JSON text of a key. `other` writes what is no text, number, truth, map or list.

    `like_quoted` are the texts that another type's strings may be: they stand in quotes.
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
    # `math` would make a double of a decimal: most of its range is infinite then, and some NaNs are refused.
    exact = value if isinstance(value, Decimal) else Decimal(value)
    if exact.is_nan():
        return '"NaN"'
    if exact.is_infinite():
        return '"Infinity"' if value > 0 else '"-Infinity"'
    if -_WHOLE < value < _WHOLE and value == (whole := int(value)):
        return str(whole)
    # A double is equal to a decimal only where the decimal is just that binary fraction.
    if isinstance(value, float) or (abs(value) < Decimal("1e308") and Decimal(float(value)) == value):
        return repr(float(value))
    return f'{{"$numberDecimal":"{_EXACT.normalize(value)}"}}'.replace("E", "e")
