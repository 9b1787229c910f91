"""How each of PostgreSQL's types is selected, so that a Polars frame holds it exactly: docs/types/postgresql.md.

The server converts the values, which is fast. It does so in the session of the user's query, whose settings are the
user's. So a form of output that depends on a setting is used only where a type has no other. Names are qualified,
because `search_path` may lead elsewhere. Strings with a backslash begin with E, because `standard_conforming_strings`
may be off.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import polars as pl

from qanatix_pipelines.batches import Batch, Column, check_names
from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.rejections import OVERSIZED, Fault, Reason
from qanatix_pipelines.sources.postgresql.encodings import decoded
from qanatix_pipelines.sources.postgresql.types import Attribute, Type


def _iso(value: str) -> str:
    """A date or a time as to_json writes it: ISO 8601 with 'T' whatever `DateStyle` is, and 'infinity' as it is."""
    return f"pg_catalog.btrim(pg_catalog.to_json({value})::pg_catalog.text, '\"')"


def _utc(value: str, mark: str = "Z") -> str:
    """A timestamptz in UTC, whatever `TimeZone` is. `mark` stands behind the time, before 'BC'."""
    local = _iso(value + " AT TIME ZONE 'UTC'")
    marked = f"pg_catalog.textcat({local}, '{mark}')"
    return f"pg_catalog.replace(pg_catalog.replace({marked}, ' BC{mark}', '{mark} BC'), 'infinity{mark}', 'infinity')"


def _blank(value: str) -> str:
    """A time with a blank instead of its 'T', as PostgreSQL itself writes it."""
    return f"pg_catalog.replace({value}, 'T', ' ')"


# An interval in ISO 8601, whatever `IntervalStyle` is: each part with its sign, without those that are zero.
_PARTS = ", ".join(
    f"pg_catalog.date_part('{part}', {{0}})::pg_catalog.int8" for part in ("year", "month", "day", "hour", "minute")
)
_SECONDS = "EXTRACT(second FROM {0})::pg_catalog.numeric(8, 6)::pg_catalog.text"
_DURATION = (
    "CASE WHEN pg_catalog.isfinite({0}) THEN pg_catalog.regexp_replace(pg_catalog.rtrim(pg_catalog.regexp_replace("
    f"pg_catalog.format('P%sY%sM%sDT%sH%sM%sS', {_PARTS}, pg_catalog.rtrim(pg_catalog.rtrim({_SECONDS}, '0'), '.')), "
    "'(?<=[A-Z])0[A-Z]', '', 'g'), 'T'), '^P$', 'PT0S') ELSE {0}::pg_catalog.text END"
)


def _range(bound: Callable[[str], str], value: str = "{0}") -> str:
    """A range as PostgreSQL writes it. `bound` writes its ends, which stand in quotes where they have a blank."""
    ends = [bound(f"pg_catalog.{end}({value})") for end in ("lower", "upper")]
    lower, upper = (f"pg_catalog.regexp_replace({end}, '^.* .*$', E'\"\\\\&\"')" for end in ends)
    return (
        f"CASE WHEN pg_catalog.isempty({value}) THEN 'empty' WHEN {value} IS NOT NULL THEN pg_catalog.concat("
        f"CASE WHEN pg_catalog.lower_inc({value}) THEN '[' ELSE '(' END, {lower}, ',', {upper}, "
        f"CASE WHEN pg_catalog.upper_inc({value}) THEN ']' ELSE ')' END) END"
    )


def _ranges(bound: Callable[[str], str]) -> str:
    """A multirange, likewise."""
    written = f"SELECT pg_catalog.string_agg({_range(bound, 'one')}, ',') FROM pg_catalog.unnest({{0}}) AS one"
    return f"CASE WHEN {{0}} IS NOT NULL THEN pg_catalog.concat('{{{{', ({written}), '}}}}') END"


# How a type is selected, and what the frame has then: (SQL around the column, Polars' type, whether it is JSON text).
_Selected = tuple[str, type[pl.DataType], bool]
_INTEGER: _Selected = ("{0}", pl.Int64, False)
_TEXT: _Selected = ("{0}", pl.String, False)
_AS_TEXT: _Selected = ("{0}::pg_catalog.text", pl.String, False)
_AS_JSON: _Selected = ("pg_catalog.to_json({0})::pg_catalog.text", pl.String, True)
# What psql shows. A cast to text may be something else, where a user has defined a cast.
_AS_SHOWN: _Selected = ("CASE WHEN {0} IS NOT NULL THEN pg_catalog.concat({0}) END", pl.String, False)
_READ_AS: dict[str, _Selected] = {
    "int2": _INTEGER,
    "int4": _INTEGER,
    "int8": _INTEGER,
    "oid": _INTEGER,
    "bool": ("{0}", pl.Boolean, False),
    "float8": ("{0}", pl.Float64, False),
    "float4": ("{0}", pl.Float32, False),
    "numeric": _AS_JSON,
    "text": _TEXT,
    "varchar": _TEXT,
    "bpchar": _TEXT,  # a cast to text would drop its padding
    "timestamp": (_iso("{0}"), pl.String, False),
    "timestamptz": (_utc("{0}"), pl.String, False),
    "date": (_iso("{0}"), pl.String, False),
    "interval": (_DURATION, pl.String, False),
    "daterange": (_range(_iso), pl.String, False),
    "tsrange": (_range(lambda end: _blank(_iso(end))), pl.String, False),
    "tstzrange": (_range(lambda end: _blank(_utc(end, "+00"))), pl.String, False),
    "datemultirange": (_ranges(_iso), pl.String, False),
    "tsmultirange": (_ranges(lambda end: _blank(_iso(end))), pl.String, False),
    "tstzmultirange": (_ranges(lambda end: _blank(_utc(end, "+00"))), pl.String, False),
    "json": ("{0}::pg_catalog.text", pl.String, True),
    "jsonb": ("{0}::pg_catalog.text", pl.String, True),
    "bytea": ("pg_catalog.translate(pg_catalog.encode({0}, 'base64'), E'\\n', '')", pl.String, False),
    # A cast to text would give each address a netmask, and XML an encoding that the text is not in.
    "inet": _AS_SHOWN,
    "xml": _AS_SHOWN,
}


def selected(query: str, attributes: Sequence[Attribute]) -> tuple[tuple[Column, ...], str]:
    """The columns of `query`, and the statement that selects them from it. `attributes` are those of its result.

    Raises QueryRejected if there are none, and ResultUnusable if two share a name.
    """
    if not attributes:
        raise QueryRejected("The query returns no columns: it must be a SELECT, WITH, VALUES or TABLE.")
    columns, expressions = [], []
    for position, attribute in enumerate(attributes):
        expression, dtype, is_json = _read_as(attribute.type)
        columns.append(Column(attribute.name, attribute.type.name, dtype, json=is_json))
        expressions.append(expression.format(f"q.c{position}"))
    check_names(columns)
    # Columns go by their place, whatever they are called. The line break ends a comment at the query's end.
    names = ", ".join(f"c{position}" for position in range(len(columns)))
    return tuple(columns), f"SELECT {', '.join(expressions)} FROM (\n{query}\n) AS q ({names})"


def _read_as(kind: Type) -> _Selected:
    if kind.kind in ("array", "composite") or kind.name == "record":
        return _AS_JSON
    # By name, but only for PostgreSQL's own types: a user may call an enum `json`.
    return _READ_AS.get(kind.name, _AS_TEXT) if kind.schema == "pg_catalog" else _AS_SHOWN


def made(
    rows: Sequence[Sequence[Any]], oversized: Collection[int], *, columns: tuple[Column, ...], codec: str | None
) -> Batch:
    """The batch of these rows of the statement from `selected`. `oversized` are the places of rows that are too large.

    `codec` decodes the texts, where they came as bytes.
    """
    faults: dict[int, Fault] = {}
    series = []
    # Column by column: to turn rows, Polars would hold a copy of them that is many times their size.
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        if codec is not None and column.dtype == pl.String:
            texts, unread = decoded(values, codec)
            series.append(pl.Series(column.name, texts, dtype=pl.String))
            faults |= dict.fromkeys(unread, Fault(Reason.NOT_UTF8, column.name))
        else:
            series.append(pl.Series(column.name, values, dtype=column.dtype))
    return Batch(pl.DataFrame(series), columns, faults | dict.fromkeys(oversized, OVERSIZED))
