"""SQLite's SQL: one statement that reads, and what its `:last_pull` and `:until` are bound to."""

import re
from datetime import UTC, datetime, timedelta
from typing import cast

from qanatix_pipelines.sources.driver import LEAST_INTEGER
from qanatix_pipelines.sources.sql import UNTIL, SqlQuery, check_reads, parse_sql, tokens_of
from qanatix_pipelines.watermarks import Watermark

DIALECT = "sqlite"

# The least value that is only compared. SQLite puts numbers below texts, and makes '-1.0e+308' of this one where it is
# compared with a column of texts: below whatever begins with a digit.
LEAST_COMPARED = -1e308
# The least that SQLite's date functions take. They make null of an earlier time, and of which number is a time.
LEAST_TIME = "0000-01-01 00:00:00"
# The least text: with it, what is compared and is a number is left out.
LEAST_TEXT = ""
# The greatest text, which is above all numbers.
GREATEST_TEXT = "\U0010ffff"
# The date functions make null of a year beyond 9999. There is room to add to this time.
GREATEST_TIME = "9999-01-01 00:00:00"
GREATEST_INTEGER = 2**63 - 1
_LAST_SECOND = datetime.max.replace(microsecond=0)  # noqa: DTZ901  # in UTC

_COMPARES = re.compile(r"(?:[<>]=?|\bBETWEEN|\bBETWEEN\s[^()]*?\bAND)\s*$", re.IGNORECASE)
_COMPARED = re.compile(r"\s*[<>]=?")
_BEGINS = re.compile(r"(?:\(|\b(?:AND|HAVING|NOT|ON|OR|WHEN|WHERE))\s*$", re.IGNORECASE)
_ENDS = re.compile(r"\s*(?:\)|$|--|/\*|(?:AND|COLLATE|GROUP|HAVING|LIMIT|OR|ORDER|THEN|UNION|WINDOW)\b)", re.IGNORECASE)


def parse_sqlite(text: str) -> SqlQuery:
    """As `parse_sql`. Raises QueryRejected also for what begins as no query does."""
    statement = parse_sql(text, DIALECT)
    check_reads(text, tokens_of(text, DIALECT))
    return statement


def bound(
    query: SqlQuery, start: Watermark | None, until: Watermark | None = None, *, integer: bool
) -> list[str | int | float]:
    """What each placeholder is bound to.

    A time is text, in UTC, to the second: as CURRENT_TIMESTAMP and datetime() write it. From `:last_pull` a second is
    taken off, for a row of the same second may have been stamped after the last pull. `:until` is the second that ends
    at it or after it.
    """
    if integer:
        least = LEAST_INTEGER if start is None else max(cast(int, start), LEAST_INTEGER)
        greatest = GREATEST_INTEGER if until is None else min(cast(int, until), GREATEST_INTEGER)
        return [greatest if name == UNTIL else least for name in query.names]
    return [
        _last(cast(datetime | None, until), compared=compared)
        if name == UNTIL
        else _first(cast(datetime | None, start), compared=compared)
        for name, compared in zip(query.names, compared_alone(query), strict=True)
    ]


def _first(start: datetime | None, *, compared: bool) -> str | float:
    if start is None:
        return LEAST_COMPARED if compared else LEAST_TIME
    second = _second(start)
    return str(second - min(timedelta(seconds=1), second - datetime.min))  # noqa: DTZ901  # in UTC


def _last(until: datetime | None, *, compared: bool) -> str:
    if until is None:
        return GREATEST_TEXT if compared else GREATEST_TIME
    second = _second(until)
    return str(second if until.microsecond == 0 else second + min(timedelta(seconds=1), _LAST_SECOND - second))


def _second(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None, microsecond=0)


def compared_alone(query: SqlQuery) -> list[bool]:
    """Of each placeholder whether it is compared as it is, and nothing is computed from it."""
    return [
        (_COMPARES.search(before) is not None and _ENDS.match(after) is not None)
        or (_BEGINS.search(before) is not None and _COMPARED.match(after) is not None)
        for before, after in query.around()
    ]


def parameters(values: list[str | int | float]) -> dict[str, str | int | float]:
    """These values by the names that they have in `SqlQuery.numbered`."""
    return {str(number): value for number, value in enumerate(values, start=1)}
