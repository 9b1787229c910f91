"""A MongoDB query as a connector holds it: extended JSON, read strictly, with a closed list of operators.

Two forms. An object with the key `filter` and no keys but `filter`, `projection` and `sort` says what to find, which
fields of it, and in which order. Every other object is a filter itself. (A filter on a field that is called `filter` is
therefore written in the first form.)

Only `find` is ever sent, and no operator that runs a program on the server, reads another collection, or searches by a
special index. A string value `":last_pull"` is a placeholder at any depth of the filter.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from bson import json_util
from bson.codec_options import DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError
from bson.int64 import Int64

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.watermarks import Watermark

LAST_PULL = ":last_pull"
# What :last_pull is on the first pull. BSON's own least date would overflow in the arithmetic of an $expr.
LEAST = datetime.min.replace(tzinfo=UTC)
_LEAST_INTEGER = -(2**63)

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
MAX_PATTERN = 256
_MAX_SORT_FIELDS = 32
_FORM = ("filter", "projection", "sort")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_FILTER_OPERATORS = set(
    """
    $eq $ne $gt $gte $lt $lte $in $nin $and $or $nor $not $exists $type $all $elemMatch $size $mod $regex $options $expr
    """.split()  # noqa: SIM905  # a list of strings would fill a page
)
# Inside $expr: comparison, logic, arithmetic, dates, strings, conversions.
_EXPRESSION_OPERATORS = set(
    """
    $eq $ne $gt $gte $lt $lte $cmp $and $or $not $in $cond $ifNull $switch $type $size $literal
    $abs $add $ceil $divide $exp $floor $ln $log $log10 $mod $multiply $pow $round $sqrt $subtract $trunc
    $dateAdd $dateDiff $dateFromParts $dateFromString $dateSubtract $dateToParts $dateToString $dateTrunc
    $dayOfMonth $dayOfWeek $dayOfYear $hour $isoDayOfWeek $isoWeek $isoWeekYear $millisecond $minute $month $second
    $week $year
    $concat $indexOfBytes $indexOfCP $ltrim $rtrim $split $strcasecmp $strLenBytes $strLenCP $substrBytes $substrCP
    $toLower $toUpper $trim
    $convert $toBool $toDate $toDecimal $toDouble $toInt $toLong $toObjectId $toString
    """.split()  # noqa: SIM905  # a list of strings would fill a page
)
# Extended JSON's objects that stand for one value (MongoDB Extended JSON specification, version 2).
_VALUES = set(
    """
    $oid $date $numberInt $numberLong $numberDouble $numberDecimal $binary $uuid $timestamp $regularExpression
    $minKey $maxKey
    """.split()  # noqa: SIM905  # a list of strings would fill a page
)
_EXTENDED = json_util.JSONOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


@dataclass(frozen=True)
class MongoQuery:
    """The arguments of a `find`, in BSON's types; the filter still has its placeholders."""

    filter: dict[str, Any]
    projection: dict[str, Any] | None
    sort: dict[str, int] | None

    @property
    def asks_for_last_pull(self) -> bool:
        return LAST_PULL in _strings(self.filter)

    def bound(self, start: Watermark | None, *, integer: bool) -> dict[str, Any]:
        """The filter with `start`, or the least value, for each placeholder; a date has milliseconds."""
        if start is None:
            start = _LEAST_INTEGER if integer else LEAST
        if isinstance(start, datetime):
            value: DatetimeMS | Int64 = DatetimeMS((start - _EPOCH) // timedelta(milliseconds=1))
        else:
            value = Int64(min(max(start, _LEAST_INTEGER), -_LEAST_INTEGER - 1))
        bound: dict[str, Any] = _replaced(self.filter, value)
        return bound


def parse_mongo_query(text: str) -> MongoQuery:
    """Raises QueryRejected that says where, by the keys that lead there."""
    given = _parsed(text)
    if not isinstance(given, dict):
        raise QueryRejected("The query must be a JSON object: a filter, or an object with the key filter.")
    in_parts = "filter" in given and given.keys() <= set(_FORM)
    parts = given if in_parts else {"filter": given}
    if not isinstance(parts["filter"], dict):
        raise QueryRejected(
            "The query's filter must be an object. A filter on a field called filter is written "
            '{"filter": {"filter": ...}}.'
        )
    path = "filter" if in_parts else ""
    found = _checked(parts["filter"], _FILTER_OPERATORS, path, depth=1)
    if not isinstance(found, dict):
        raise QueryRejected("The query's filter is a single value; it must be an object of fields and operators.")
    query = MongoQuery(found, _projection(parts.get("projection")), _sort(parts.get("sort")))
    try:
        bson.encode(query.bound(None, integer=False), check_keys=False)
    except (BSONError, OverflowError, UnicodeEncodeError):
        raise QueryRejected(
            "The query holds what BSON cannot: an integer beyond 64 bits, or a text with a lone surrogate or, "
            "in a field's name, the NUL character."
        ) from None
    return query


def newest(text: str, field: str) -> str:
    """A query for the document whose `field` is the greatest of those that another query finds: for that field only.

    Raises QueryRejected.
    """
    if not _is_field(field):
        raise QueryRejected(f"The query's sort.{_shown(field)} must be a field, and 1 or -1.")
    given = _parsed(text)
    found = given["filter"] if "filter" in given and given.keys() <= set(_FORM) else given
    projection = {field: 1} if field.partition(".")[0] == "_id" else {field: 1, "_id": 0}
    return json.dumps({"filter": found, "projection": projection, "sort": {field: -1}})


def _parsed(text: str) -> Any:
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise QueryRejected(f"The query is longer than {MAX_BYTES // 1024} KiB.")
    try:
        return json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise QueryRejected(f"The query is not JSON, from line {error.lineno}, column {error.colno} on.") from None
    except RecursionError:
        raise QueryRejected(f"The query is nested more than {MAX_DEPTH} levels deep.") from None
    except ValueError:  # an integer of thousands of digits
        raise QueryRejected("The query holds a number that is too long.") from None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise QueryRejected(f"The query has the key {_shown(twice)} twice in one object.")
    return given


def _no_number(_name: str) -> Any:
    raise QueryRejected('The query holds NaN or Infinity, which are not JSON: write {"$numberDouble": "NaN"}.')


def _checked(value: Any, operators: set[str], path: str, depth: int) -> Any:
    """`value` in BSON's types. Every operator in it is on its list, at every depth."""
    if depth > MAX_DEPTH:
        raise QueryRejected(f"The query is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, list):
        return [_checked(item, operators, f"{path}[{n}]", depth + 1) for n, item in enumerate(value)]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise QueryRejected(f"The query's number at {path} is out of a double's range.")
    if not isinstance(value, dict):
        return value
    if value.keys() & _VALUES:
        return _extended(value, path)
    checked = {}
    for key, item in value.items():
        here = f"{path}.{_shown(key)}" if path else _shown(key)
        if key.startswith("$") and key not in operators:
            raise QueryRejected(f"The query's {here} is not an operator that a pull may use.")
        if key == "$regex" and isinstance(item, str) and len(item) > MAX_PATTERN:
            raise QueryRejected(f"The query's {here} is longer than {MAX_PATTERN} characters.")
        checked[key] = _checked(item, _EXPRESSION_OPERATORS if key == "$expr" else operators, here, depth + 1)
    return checked


def _extended(value: dict[str, Any], path: str) -> Any:
    if len(value) != 1 and value.keys() != {"$binary", "$type"}:
        raise QueryRejected(f"The query's {path} has something beside {_shown(min(value.keys() & _VALUES))}.")
    try:
        match value:
            case {"$date": str(text)}:
                # The driver's own reading of a date's fraction is by a float, and may lose a millisecond.
                return DatetimeMS((_aware(text) - _EPOCH) // timedelta(milliseconds=1))
            case {"$regularExpression": {"pattern": str(pattern)}} if len(pattern) > MAX_PATTERN:
                raise QueryRejected(f"The query's {path} is longer than {MAX_PATTERN} characters.")
        inner = {key: json_util.object_hook(i, _EXTENDED) if isinstance(i, dict) else i for key, i in value.items()}
        return json_util.object_hook(inner, _EXTENDED)
    except (BSONError, ArithmeticError, ValueError, TypeError, KeyError, AttributeError):
        raise QueryRejected(
            f"The query's {path} is not a value in MongoDB's extended JSON: {_shown(next(iter(value)))}."
        ) from None


def _aware(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("a date without a zone")
    return instant


def _projection(given: Any) -> dict[str, Any] | None:
    if given is None:
        return None
    _check_projection(given, "projection", depth=1)
    projection: dict[str, Any] = given
    return projection


def _check_projection(given: Any, path: str, depth: int) -> None:
    if depth > MAX_DEPTH or not isinstance(given, dict):
        raise QueryRejected(f"The query's {path} must be an object of fields, each 1 to have it or 0 to leave it out.")
    for key, item in given.items():
        here = f"{path}.{_shown(key)}"
        if not _is_field(key):
            raise QueryRejected(f"The query's {here} is not a field's name.")
        if item not in (0, 1):
            _check_projection(item, here, depth + 1)


def _sort(given: Any) -> dict[str, int] | None:
    if given is None:
        return None
    if not isinstance(given, dict) or not 0 < len(given) <= _MAX_SORT_FIELDS:
        raise QueryRejected(f"The query's sort must be an object of 1 to {_MAX_SORT_FIELDS} fields.")
    for key, item in given.items():
        if not _is_field(key) or isinstance(item, bool) or item not in (1, -1):
            raise QueryRejected(f"The query's sort.{_shown(key)} must be a field, and 1 or -1.")
    return {key: int(item) for key, item in given.items()}


def _is_field(path: str) -> bool:
    return bool(path) and not any(part.startswith("$") for part in path.split("."))


def _shown(key: str) -> str:
    """A key of the query in a sentence: as it is where that is harmless, else as JSON and cut short."""
    return key if key.isascii() and key.isprintable() and 0 < len(key) <= 64 else json.dumps(key[:64])  # noqa: PLR2004


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value


def _replaced(value: Any, start: DatetimeMS | Int64) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(item, start) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, start) for item in value]
    return start if value == LAST_PULL else value
