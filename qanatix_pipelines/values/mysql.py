"""MySQL's types: what the server sends for each, and what a frame makes of it.

Rows are sent as text. Integers and doubles are decoded by the driver, everything else stays the server's bytes until a
whole batch of it is turned at once. So nothing is lost to a Python type that holds less than MySQL's own: a TIME beyond
a day, a date of zeros, a decimal's last digits. The table of all types is docs/types/mysql.md.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl

from qanatix_pipelines.batches import Column


class Field(Protocol):
    """What the server says of a column of its result."""

    name: str
    type_code: int
    flags: int
    charsetnr: int
    org_table: str
    org_name: str


# The protocol's numbers (MySQL's field_types.h) by what they are called here.
_INTEGERS = {1: "tinyint", 2: "smallint", 3: "int", 8: "bigint", 9: "mediumint", 13: "year"}
_DECIMALS = (0, 246)
_FLOAT, _DOUBLE, _NULL, _TIMESTAMP, _TIME, _DATETIME, _BIT, _JSON = 4, 5, 6, 7, 11, 12, 16, 245
_DATES = (10, 14)
_BLOBS = (249, 250, 251, 252)
_VARIABLE, _FIXED = (15, 253), (254,)
_OPAQUE = {242: "vector", 255: "geometry"}
_UNSIGNED, _ZEROFILL, _ENUM, _SET = 32, 64, 256, 2048
_BINARY_CHARSET = 63

# What the driver decodes, by the protocol's number; all else it hands over as bytes.
DECODERS: dict[int, Callable[[bytes], Any]] = {
    **dict.fromkeys(_INTEGERS, int),
    _DOUBLE: float,
    _BIT: lambda value: int.from_bytes(value, "big"),
}

# MariaDB keeps JSON as text under a check of its own making. MySQL's checks are not told by column, nor needed.
JSON_COLUMNS = (
    "SELECT TABLE_NAME, CONSTRAINT_NAME FROM information_schema.CHECK_CONSTRAINTS "
    "WHERE CONSTRAINT_SCHEMA = DATABASE() AND LEVEL = 'Column' "
    "AND CHECK_CLAUSE = CONCAT('json_valid(`', REPLACE(CONSTRAINT_NAME, '`', '``'), '`)')"
)

# Text in a frame, from the server's bytes.
_Reading = Callable[[pl.Expr], pl.Expr]
# A date that names a day. Others, of zeros, are no time that ISO 8601 could write: they stay as the server writes them.
_DAY_AND_TIME = r"^(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])) (.*)$"


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result, what the driver hands over of it, and how that becomes what `column` says."""

    column: Column
    raw: type[pl.DataType]
    reading: _Reading


def result_column(field: Field, json_columns: frozenset[tuple[str, str]]) -> ResultColumn:
    """`json_columns` is what `JSON_COLUMNS` told: of which tables, which columns."""
    kind, raw, dtype, is_json, reading = _mapping(field, json_columns)
    return ResultColumn(Column(field.name, kind, dtype, json=is_json), raw, reading)


def frame(rows: Sequence[tuple[Any, ...]], columns: Sequence[ResultColumn]) -> pl.DataFrame:
    """At least one row as a frame of what `columns` say. Raises PolarsError for text that is not UTF-8."""
    raw = [
        pl.Series(column.column.name, values, dtype=column.raw)
        for column, values in zip(columns, zip(*rows, strict=True), strict=True)
    ]
    return pl.DataFrame(raw).select(column.reading(pl.col(column.column.name)) for column in columns)


def _mapping(
    field: Field, json_columns: frozenset[tuple[str, str]]
) -> tuple[str, type[pl.DataType], type[pl.DataType], bool, _Reading]:
    """The type's name, the driver's and the frame's dtype, whether it is JSON text, and how it is read."""
    code, unsigned = field.type_code, bool(field.flags & _UNSIGNED)
    if code in _INTEGERS:
        integer = pl.UInt64 if unsigned else pl.Int64
        name = _INTEGERS[code]
        return f"{name} unsigned" if unsigned and name != "year" else name, integer, integer, False, _as_it_is
    if code == _BIT:
        return "bit", pl.UInt64, pl.UInt64, False, _as_it_is
    if code == _DOUBLE:
        return "double", pl.Float64, pl.Float64, False, _as_it_is
    if code in _DECIMALS or code == _FLOAT:
        digits = _without_zeros if field.flags & _ZEROFILL else _text
        return "float" if code == _FLOAT else "decimal", pl.Binary, pl.String, True, digits
    if code == _JSON:
        return "json", pl.Binary, pl.String, True, _text
    return _text_or_bytes(field, json_columns)


def _text_or_bytes(
    field: Field, json_columns: frozenset[tuple[str, str]]
) -> tuple[str, type[pl.DataType], type[pl.DataType], bool, _Reading]:
    code, binary = field.type_code, field.charsetnr == _BINARY_CHARSET
    named: dict[int, tuple[str, _Reading]] = {
        _TIMESTAMP: ("timestamp", _instant),
        _DATETIME: ("datetime", _local_time),
        _TIME: ("time", _text),
        _NULL: ("null", _text),
        **dict.fromkeys(_DATES, ("date", _text)),
        **{opaque: (name, _base64) for opaque, name in _OPAQUE.items()},
    }
    if code in named:
        name, reading = named[code]
        return name, pl.Binary, pl.String, False, reading
    if not binary and (field.org_table, field.org_name) in json_columns:
        return "json", pl.Binary, pl.String, True, _checked_json
    if field.flags & (_ENUM | _SET):
        return "enum" if field.flags & _ENUM else "set", pl.Binary, pl.String, False, _text
    if code in _BLOBS:
        name = "blob" if binary else "text"
    elif code in _FIXED:
        name = "binary" if binary else "char"
    elif code in _VARIABLE:
        name = "varbinary" if binary else "varchar"
    else:  # a type of a later server's: its bytes, whatever they mean
        return f"type {code}", pl.Binary, pl.String, False, _base64
    return name, pl.Binary, pl.String, False, _base64 if binary else _text


def _as_it_is(value: pl.Expr) -> pl.Expr:
    return value


def _text(value: pl.Expr) -> pl.Expr:
    return value.cast(pl.String)


def _base64(value: pl.Expr) -> pl.Expr:
    return value.bin.encode("base64")


def _without_zeros(value: pl.Expr) -> pl.Expr:
    """JSON's numbers have no leading zeros. Such a column is unsigned."""
    return _text(value).str.replace(r"^0+(\d)", "$1")


def _local_time(value: pl.Expr) -> pl.Expr:
    return _text(value).str.replace(_DAY_AND_TIME, "${1}T${2}")


def _instant(value: pl.Expr) -> pl.Expr:
    return _text(value).str.replace(_DAY_AND_TIME, "${1}T${2}Z")


def _checked_json(value: pl.Expr) -> pl.Expr:
    """The check that MariaDB puts on such a column can be switched off: what is no JSON is a string after all."""
    return _text(value).map_elements(_json_or_string, return_dtype=pl.String)


def _json_or_string(text: str) -> str:
    try:
        json.loads(text, parse_constant=_refuse)
    except ValueError:
        return json.dumps(text, ensure_ascii=False)
    return text


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and the infinities, which Python would read
