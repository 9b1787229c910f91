"""A MongoDB query as a connector holds it: extended JSON, read strictly, with a closed list of operators.

There are two forms. An object with the key `filter` says what to find. Its keys `projection` and `sort` say which
fields, and in which order. Every other object is itself the filter. An object that nearly has the first form is
rejected, for as a filter it would find nothing and nobody would notice. A filter on a field called `filter` is written
in the first form.

A third form is ours: `$newest` finds the greatest value of a field, for each type that a version may have.

Only `find` is ever sent. The allowed operators run no program on the server, read no other collection, and need no
special index. The texts `":last_pull"` and `":until"` are placeholders at any depth of the filter.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import bson
from bson.errors import BSONError

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.places import where
from qanatix_pipelines.sources.mongodb.extended_json import (
    LONGEST_SHOWN,
    MAX_DEPTH,
    MAX_PATTERN,
    VALUES,
    plain_number,
    read_value,
    shown,
)
from qanatix_pipelines.sources.mongodb.find_options import instead, is_order
from qanatix_pipelines.sources.mongodb.placeholders import LAST_PULL, UNTIL, bound, compared, matched, placeholders
from qanatix_pipelines.sources.source import Asked
from qanatix_pipelines.watermarks import Watermark

MAX_BYTES = 64 * 1024
_MAX_SORT_FIELDS = 32
_FORM = ("filter", "projection", "sort")
_ALIKE = 0.8  # the part of two names that is the same (difflib's ratio), from which one may be meant by the other
_LOGIC = {"$and", "$or", "$nor", "$expr"}
# The types of a field that grows with each change. Null and other types are no versions.
_VERSIONS = ("number", "string", "objectId", "date", "timestamp")
# What MongoDB's shell takes and JSON does not, and what to write instead.
_OF_THE_SHELL = (
    (r"\A\s*\Z", "{} finds all"),
    (r"\A\s*[A-Za-z]+\s", 'a MongoDB query is a filter, such as {"status": "open"}'),
    (r"\bdb\.\w+", "give the filter alone: the collection is named in connection_config"),
    (r"\b(?:ISODate|Date)\s*\(", 'a date is written {"$date": "2026-01-31T12:00:00Z"}'),
    (r"\bObjectId\s*\(", 'an id is written {"$oid": "..."}'),
    (r"\bNumber(?:Int|Long|Decimal)\s*\(", 'a number is written {"$numberLong": "..."}'),
    (r":\s*:last_pull\b", '`:last_pull` goes in quotes here: ":last_pull"'),
    (r":\s*:until\b", '`:until` goes in quotes here: ":until"'),
    (r"'", "texts and names stand in double quotes"),
    (r"[{,]\s*[\w.$]+\s*:", "names stand in double quotes"),
)

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


@dataclass(frozen=True)
class MongoQuery:
    """The arguments of a `find`, in BSON's types; the filter still has its placeholders."""

    filter: dict[str, Any]
    projection: dict[str, Any] | None
    sort: dict[str, int] | None
    newest: str | None = None  # a field: only its greatest values are wanted

    @property
    def asked(self) -> Asked:
        found = placeholders(self.filter)
        return Asked(last_pull=LAST_PULL in found, until=UNTIL in found)

    @property
    def compared(self) -> frozenset[str]:
        """The fields that are compared with `:last_pull`."""
        return frozenset(compared(self.filter))

    @property
    def matched(self) -> frozenset[str]:
        """Those of them that must have the type of `:last_pull`."""
        return frozenset(matched(self.filter))

    def finds(
        self, start: Watermark | None, until: Watermark | None = None, *, integer: bool
    ) -> dict[str, dict[str, Any]]:
        """The arguments of one `find`. If the newest is asked for, those of one `find` for each type of a version.

        MongoDB sorts by type first, so one text would stand above all numbers (manual, "Comparison/Sort Order").
        """
        found = self.bound(start, until, integer=integer)
        if self.newest is None:
            return {"": {"filter": found, "projection": self.projection, "sort": self.sort}}
        projection = {self.newest: 1} if self.newest.partition(".")[0] == "_id" else {self.newest: 1, "_id": 0}
        only = {"projection": projection, "sort": {self.newest: -1}, "limit": 1}
        return {kind: {"filter": {"$and": [found, {self.newest: {"$type": kind}}]}} | only for kind in _VERSIONS}

    def bound(self, start: Watermark | None, until: Watermark | None = None, *, integer: bool) -> dict[str, Any]:
        """The filter, where these or the extreme values take the places of the placeholders."""
        return bound(self.filter, start, until, integer=integer)


def parse_mongo_query(text: str) -> MongoQuery:
    """Raises QueryRejected, which tells the place by the keys that lead to it."""
    given = _parsed(text)
    if not isinstance(given, dict):
        raise QueryRejected("The query must be a JSON object: a filter, or an object with the key filter.")
    newest_of = None
    match given:
        case {"$newest": {"field": str(field), "query": dict(inner)}} if len(given) == 1 and _is_field(field):
            given, newest_of = inner, field
    parts = _parts(given)
    found = _checked(parts["filter"], _FILTER_OPERATORS, "filter" if parts is given else "", depth=1)
    if not isinstance(found, dict):
        raise QueryRejected("The query's filter is a single value; it must be an object of fields and operators.")
    query = MongoQuery(found, _projection(parts.get("projection")), _sort(parts.get("sort")), newest_of)
    try:
        bson.encode(query.bound(None, integer=False), check_keys=False)
    except (BSONError, OverflowError, UnicodeEncodeError):
        raise QueryRejected(
            "The query holds what BSON cannot: an integer beyond 64 bits, or a text with a lone surrogate or, "
            "in a field's name, the NUL character."
        ) from None
    return query


def newest(text: str, field: str) -> str:
    """A query for the greatest values of `field` among the documents of another query. Raises QueryRejected."""
    if not _is_field(field):
        raise QueryRejected(f"The query's sort.{shown(field)} must be a field, and 1 or -1.")
    return json.dumps({"$newest": {"field": field, "query": _parsed(text)}})


def _parts(given: dict[str, Any]) -> dict[str, Any]:
    """The query in the first form."""
    if "filter" in given and (given.keys() <= set(_FORM) or _is_filter(given["filter"])):
        for key in given:
            if key not in _FORM:
                raise QueryRejected(
                    f"The query's key {shown(key)} is not one that a pull has: they are filter, projection and sort, "
                    f"and all that is found is read. {instead(key)}"
                )
        if not isinstance(given["filter"], dict):
            raise QueryRejected(
                "The query's filter must be an object. A filter on a field called filter is written "
                '{"filter": {"filter": ...}}.'
            )
        return given
    for key, value in given.items():
        almost = key not in _FORM and _is_filter(value) and get_close_matches(key.lower(), _FORM, 1, _ALIKE)
        if almost or (key in _FORM and is_order(value)):
            raise QueryRejected(
                f"The query has the key {shown(key)}, but none that is filter: what it finds is written "
                f'{{"filter": {{...}}, "projection": {{...}}, "sort": {{...}}}}. A filter on a field called '
                f'{shown(key)} is written {{"filter": {{{json.dumps(key[:LONGEST_SHOWN])}: ...}}}}.'
            )
    return {"filter": given}


def _is_filter(value: Any) -> bool:
    """Whether it can be a whole filter. An object like `{"$gt": 1}` is only what a field is compared with."""
    return isinstance(value, dict) and all(not key.startswith("$") or key in _LOGIC for key in value)


def _parsed(text: str) -> Any:
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise QueryRejected(f"The query is longer than {MAX_BYTES // 1024} KiB.")
    try:
        return json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise QueryRejected(f"The query is not JSON, {where(error)}{_hint(text)}.") from None
    except RecursionError:
        raise QueryRejected(f"The query is nested more than {MAX_DEPTH} levels deep.") from None
    except ValueError:  # an integer of thousands of digits
        raise QueryRejected("The query holds a number that is too long.") from None


def _hint(text: str) -> str:
    return next((f"; {hint}" for pattern, hint in _OF_THE_SHELL if re.search(pattern, text)), "")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given = dict(pairs)
    if len(given) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise QueryRejected(f"The query has the key {shown(twice)} twice in one object.")
    return given


def _no_number(_name: str) -> Any:
    raise QueryRejected('The query holds NaN or Infinity, which are not JSON: write {"$numberDouble": "NaN"}.')


def _checked(value: Any, operators: set[str], path: str, depth: int) -> Any:
    """`value` in BSON's types. Raises QueryRejected for an operator that is not allowed, at any depth."""
    if depth > MAX_DEPTH:
        raise QueryRejected(f"The query is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, list):
        return [_checked(item, operators, f"{path}[{n}]", depth + 1) for n, item in enumerate(value)]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise QueryRejected(f"The query's number at {path} is out of a double's range.")
    if not isinstance(value, dict):
        return value
    if value.keys() & VALUES:
        return read_value(value, path)
    checked = {}
    for key, item in value.items():
        here = f"{path}.{shown(key)}" if path else shown(key)
        if key.startswith("$") and key not in operators:
            raise QueryRejected(f"The query's {here} is not an operator that a pull may use.")
        if key == "$regex" and isinstance(item, str) and len(item) > MAX_PATTERN:
            raise QueryRejected(f"The query's {here} is longer than {MAX_PATTERN} characters.")
        checked[key] = _checked(item, _EXPRESSION_OPERATORS if key == "$expr" else operators, here, depth + 1)
    return checked


def _projection(given: Any) -> dict[str, Any] | None:
    if given is None:
        return None
    return _checked_projection(given, "projection", depth=1)


def _checked_projection(given: Any, path: str, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH or not isinstance(given, dict):
        raise QueryRejected(f"The query's {path} must be an object of fields, each 1 to have it or 0 to leave it out.")
    projection = {}
    for key, item in given.items():
        here, wanted = f"{path}.{shown(key)}", plain_number(item)
        if not _is_field(key):
            raise QueryRejected(f"The query's {here} is not a field's name.")
        projection[key] = int(wanted) if wanted in (0, 1) else _checked_projection(item, here, depth + 1)
    return projection


def _sort(given: Any) -> dict[str, int] | None:
    if given is None:
        return None
    if not isinstance(given, dict) or not 0 < len(given) <= _MAX_SORT_FIELDS:
        raise QueryRejected(f"The query's sort must be an object of 1 to {_MAX_SORT_FIELDS} fields.")
    sort = {key: plain_number(item) for key, item in given.items()}
    for key, item in sort.items():
        if not _is_field(key) or isinstance(item, bool) or item not in (1, -1):
            raise QueryRejected(f"The query's sort.{shown(key)} must be a field, and 1 or -1.")
    return {key: int(item) for key, item in sort.items()}


def _is_field(path: str) -> bool:
    return bool(path) and not any(part.startswith("$") for part in path.split("."))
