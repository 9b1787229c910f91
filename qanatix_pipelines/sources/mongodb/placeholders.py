"""`:last_pull` and `:until` in a filter: where they stand, and the values that take their places."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from qanatix_pipelines.sources.driver import LEAST_INTEGER
from qanatix_pipelines.sources.mongodb.extended_json import date
from qanatix_pipelines.watermarks import Watermark

LAST_PULL, UNTIL = ":last_pull", ":until"
PLACEHOLDERS = (LAST_PULL, UNTIL)

# Without a watermark, :last_pull is BSON's least date or integer, and :until the greatest. Arithmetic with such a date
# would overflow, and servers differ in the years outside 1 to 9999 that they can write. So an operator that computes
# gets the beginning of year 1, or the end of year 9999.
_LEAST, _GREATEST = LEAST_INTEGER, -LEAST_INTEGER - 1
_FIRST_YEAR, _LAST_YEAR = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
# Operators that only compare: such a date may be their operand.
_ORDERS = {"$gt", "$gte", "$lt", "$lte", "$cmp"}

Value = DatetimeMS | Int64


@dataclass(frozen=True)
class _Values:
    """A placeholder's value for operators that only compare, and for all others."""

    compared: Value
    otherwise: Value


def placeholders(value: Any) -> set[str]:
    """Those that are in a filter. A name of a field is none."""
    return set(_strings(value)) & set(PLACEHOLDERS)


def bound(value: dict[str, Any], start: Watermark | None, until: Watermark | None, *, integer: bool) -> dict[str, Any]:
    """The filter with a value for each placeholder. Dates have milliseconds, rounded down."""
    bounds = {
        LAST_PULL: _values(start, _LEAST, _FIRST_YEAR, integer=integer),
        UNTIL: _values(until, _GREATEST, _LAST_YEAR, integer=integer),
    }
    replaced: dict[str, Any] = _replaced(value, bounds)
    return replaced


def compared(value: Any, field: str = "") -> Iterator[str]:
    """The paths of the fields that `:last_pull` is compared with."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$expr":
                yield from _compared_in_expression(item)
            else:
                within = field if key.startswith("$") else f"{field}.{key}".lstrip(".")
                yield from compared(item, within)
    elif isinstance(value, list):
        for item in value:
            yield from compared(item, field)
    elif value == LAST_PULL and field:
        yield field


def matched(value: Any, field: str = "") -> Iterator[str]:
    """Those fields of `compared` whose documents are found only if the comparison is true, and whose types count."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in ("$expr", "$nor", "$not", "$ne"):
                yield from matched(item, field if key.startswith("$") else f"{field}.{key}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from matched(item, field)
    elif value == LAST_PULL and field:
        yield field


def _compared_in_expression(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _compared_in_expression(item)
    elif isinstance(value, list):
        if LAST_PULL in value:
            yield from (item[1:] for item in value if isinstance(item, str) and item.startswith("$"))
        for item in value:
            yield from _compared_in_expression(item)


def _values(mark: Watermark | None, extreme: int, year: datetime, *, integer: bool) -> _Values:
    if isinstance(mark, int) or (mark is None and integer):
        number = Int64(extreme if mark is None else min(max(mark, _LEAST), _GREATEST))
        return _Values(number, number)
    instant = date(mark or year)
    return _Values(DatetimeMS(extreme) if mark is None else instant, instant)


def _replaced(value: Any, bounds: Mapping[str, _Values], operator: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, bounds, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, bounds, operator) for item in value]
    if type(value) is not str or value not in bounds:
        return value
    return bounds[value].compared if operator in _ORDERS else bounds[value].otherwise


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif type(value) is str:  # BSON has a kind of text that cannot be hashed
        yield value
