"""MongoDB's extended JSON, relaxed or canonical: in it some objects stand for one BSON value."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import json_util
from bson.codec_options import DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.errors import BSONError

from qanatix_pipelines.errors import QueryRejected

MAX_DEPTH = 32  # of a query's objects and lists
MAX_PATTERN = 256
LONGEST_SHOWN = 64
# The keys of such objects (MongoDB Extended JSON specification, version 2).
VALUES = set(
    """
    $oid $date $numberInt $numberLong $numberDouble $numberDecimal $binary $uuid $timestamp $regularExpression
    $minKey $maxKey
    """.split()  # noqa: SIM905  # a list of strings would fill a page
)
_NUMBERS = {"$numberInt", "$numberLong", "$numberDouble", "$numberDecimal"}
_EXTENDED = json_util.JSONOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_value(value: dict[str, Any], path: str) -> Any:
    """The value that an object with one of the keys `VALUES` stands for. Raises QueryRejected, which names `path`."""
    if len(value) != 1 and value.keys() != {"$binary", "$type"}:
        raise QueryRejected(f"The query's {path} has something beside {shown(min(value.keys() & VALUES))}.")
    try:
        match value:
            case {"$date": str(text)}:
                # The driver reads a date's fraction as a float, and may lose a millisecond.
                return date(_aware(text))
            case {"$regularExpression": {"pattern": str(pattern)}} if len(pattern) > MAX_PATTERN:
                raise QueryRejected(f"The query's {path} is longer than {MAX_PATTERN} characters.")
        inner = {key: json_util.object_hook(i, _EXTENDED) if isinstance(i, dict) else i for key, i in value.items()}
        return json_util.object_hook(inner, _EXTENDED)
    except (BSONError, ArithmeticError, ValueError, TypeError, KeyError, AttributeError):
        raise QueryRejected(
            f"The query's {path} is not a value in MongoDB's extended JSON: {shown(next(iter(value)))}."
        ) from None


def date(instant: datetime) -> DatetimeMS:
    """The instant as BSON's date, rounded down to milliseconds."""
    return DatetimeMS((instant - _EPOCH) // timedelta(milliseconds=1))


def _aware(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("a date without a zone")
    return instant


def plain_number(value: Any) -> Any:
    """The number that canonical extended JSON stands for. Any other value is returned as it is."""
    if isinstance(value, dict) and len(value) == 1 and value.keys() <= _NUMBERS:
        number = read_value(value, next(iter(value)))
        return number.to_decimal() if isinstance(number, Decimal128) else number
    return value


def shown(key: str) -> str:
    """A key of the query for a sentence. One that is long or not plain ASCII is cut short and written as JSON."""
    harmless = key.isascii() and key.isprintable() and 0 < len(key) <= LONGEST_SHOWN
    return key if harmless else json.dumps(key[:LONGEST_SHOWN])
