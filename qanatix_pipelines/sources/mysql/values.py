"""MySQL's types: what the server sends for each, and what the frame holds: docs/types/mysql.md.

Rows come as text. The driver decodes integers and doubles. All else stays the server's bytes, until a whole batch of a
column is converted at once. So nothing is lost to a Python type that holds less than MySQL's: a TIME beyond a day, a
date of zeros, the last digits of a decimal.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from qanatix_pipelines.batches import Column
from qanatix_pipelines.errors import ResultUnusable
from qanatix_pipelines.rejections import Fault, Reason
from qanatix_pipelines.sources.mysql.columns import ColumnDefinition

# The protocol's numbers for types (MySQL's field_types.h), and our names for them.
_INTEGERS = {1: "tinyint", 2: "smallint", 3: "int", 8: "bigint", 9: "mediumint", 13: "year"}
_DECIMALS = (0, 246)
_FLOAT, _DOUBLE, _NULL, _TIMESTAMP, _TIME, _DATETIME, _BIT, _JSON = 4, 5, 6, 7, 11, 12, 16, 245
_DATES = (10, 14)
_BLOBS = (249, 250, 251, 252)
_VARIABLE, _FIXED = (15, 253), (254,)
_CHOICES = {247: "enum", 248: "set"}  # of MySQL's CASE; a table's own are texts with a flag
_OPAQUE = {242: "vector", 255: "geometry"}
_UNSIGNED, _BINARY, _ENUM, _SET = 32, 128, 256, 2048
_BINARY_CHARSET = 63

# What the driver decodes, by the protocol's number. It hands over all else as bytes.
DECODERS: dict[int, Callable[[bytes], Any]] = {
    **dict.fromkeys(_INTEGERS, int),
    _DOUBLE: float,
}

_Series = Callable[[pl.Series], pl.Series]
# A date that is a real day. ISO 8601 cannot write dates of zeros, so those stay as the server writes them.
_DAY_AND_TIME = r"^(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])) (.*)$"


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result: `raw` is the type that the driver hands over, and `reading` makes `column`'s type of it."""

    column: Column
    raw: type[pl.DataType]
    reading: _Series


def result_column(field: ColumnDefinition, instants: _Series) -> ResultColumn:
    """How to read a column. `instants` turns TIMESTAMPs in the session's zone into ISO 8601 in UTC."""
    kind, raw, dtype, is_json, reading = _mapping(field, instants)
    return ResultColumn(Column(field.name, kind, dtype, json=is_json), raw, reading)


def frame(rows: Sequence[tuple[Any, ...]], columns: Sequence[ResultColumn]) -> tuple[pl.DataFrame, dict[int, Fault]]:
    """The frame of the rows, of which there is at least one, and faults of rows with text that is not UTF-8."""
    read, faults = [], dict[int, Fault]()
    # Columns are named by their place: Polars would take a name such as `*` or `^a.*$` for a pattern.
    for place, (column, values) in enumerate(zip(columns, zip(*rows, strict=True), strict=True)):
        try:
            series = column.reading(pl.Series(values, dtype=column.raw))
        except pl.exceptions.ComputeError:
            sound = [value if _is_utf8(value) else None for value in values]
            broken = [at for at, value in enumerate(values) if value != sound[at]]
            faults |= dict.fromkeys(broken, Fault(Reason.NOT_UTF8, column.column.name))
            series = column.reading(pl.Series(sound, dtype=column.raw))
        read.append(series.alias(f"c{place}"))
    made = pl.DataFrame(read)
    made.columns = [column.column.name for column in columns]
    return made, faults


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _mapping(
    field: ColumnDefinition, instants: _Series
) -> tuple[str, type[pl.DataType], type[pl.DataType], bool, _Series]:
    """The type's name, the driver's and the frame's dtype, whether it is JSON text, and how it is read."""
    code, unsigned = field.type_code, bool(field.flags & _UNSIGNED)
    if code in _INTEGERS:
        integer = pl.UInt64 if unsigned else pl.Int64
        name = _INTEGERS[code]
        return f"{name} unsigned" if unsigned and name != "year" else name, integer, integer, False, _as_it_is
    if code == _BIT:
        return "bit", pl.Binary, pl.UInt64, False, partial(_bits, size=field.length)
    if code == _DOUBLE:
        return "double", pl.Float64, pl.Float64, False, _as_it_is
    if code in _DECIMALS or code == _FLOAT:
        return "float" if code == _FLOAT else "decimal", pl.Binary, pl.String, True, _digits
    if code == _JSON:
        return "json", pl.Binary, pl.String, True, _text
    return _text_or_bytes(field, instants)


def _text_or_bytes(
    field: ColumnDefinition, instants: _Series
) -> tuple[str, type[pl.DataType], type[pl.DataType], bool, _Series]:
    code, binary = field.type_code, field.charsetnr == _BINARY_CHARSET
    named: dict[int, tuple[str, _Series]] = {
        _TIMESTAMP: ("timestamp", lambda value: instants(_text(value))),
        _DATETIME: ("datetime", _local_time),
        _TIME: ("time", _text),
        _NULL: ("null", _text),
        **dict.fromkeys(_DATES, ("date", _text)),
        **{choice: (name, _text) for choice, name in _CHOICES.items()},
        **{opaque: (name, _base64) for opaque, name in _OPAQUE.items()},
    }
    if code in named:
        name, reading = named[code]
        return name, pl.Binary, pl.String, False, reading
    if not binary and field.format == "json":
        return "json", pl.Binary, pl.String, True, _checked_json
    if field.flags & (_ENUM | _SET):
        return "enum" if field.flags & _ENUM else "set", pl.Binary, pl.String, False, _text
    if code in _BLOBS:
        name = "blob" if binary else "text"
    elif code in _FIXED:
        name = "binary" if binary else "char"
    elif code in _VARIABLE:
        name = "varbinary" if binary else "varchar"
    else:  # a type that a later server has: its bytes, whatever they mean
        return f"type {code}", pl.Binary, pl.String, False, _base64
    return name, pl.Binary, pl.String, False, _base64 if binary else _text


def _as_it_is(values: pl.Series) -> pl.Series:
    return values


def _text(values: pl.Series) -> pl.Series:
    return values.cast(pl.String)


def _base64(values: pl.Series) -> pl.Series:
    return values.bin.encode("base64")


def _digits(values: pl.Series) -> pl.Series:
    """Without leading zeros, which JSON's numbers must not have. ZEROFILL gives them, and not always with its flag."""
    texts = _text(values)
    if (texts.str.starts_with("0") & ~texts.str.starts_with("0.") & (texts != "0")).any():
        return texts.str.replace(r"^0+(\d)", "$1")
    return texts


def _local_time(values: pl.Series) -> pl.Series:
    return _text(values).str.replace(_DAY_AND_TIME, "${1}T${2}")


# BITs

# A BIT may come as its bits or as digits. With so few bits, no value is as great as the byte of a digit. That tells the
# two apart.
_SHORT_BITS = 5


def long_bits(fields: Iterable[ColumnDefinition]) -> list[ColumnDefinition]:
    """The BITs that may come as digits instead of bits. Only a table's own column surely comes as bits."""
    return [field for field in fields if field.type_code == _BIT and field.length > _SHORT_BITS]


def check_bits(bits: Iterable[ColumnDefinition], tables: Collection[tuple[str, str]] | None) -> None:
    """Raises ResultUnusable for one of the `long_bits` whose form is uncertain.

    MariaDB marks a computed column as binary, although not each of those comes as digits. MySQL marks nothing, so there
    the column must come from one of `tables`, which holds no views. `tables` is None for MariaDB.
    """
    for field in bits:
        if field.flags & _BINARY if tables is None else field.table not in tables:
            raise ResultUnusable(
                f"The column {field.name!r} is computed of a BIT, and the server does not tell whether it sends bits "
                "or digits: write + 0 after it, and it is a number."
            )


def _bits(values: pl.Series, size: int) -> pl.Series:
    numbers = (None if value is None else _number(value, size) for value in values)
    return pl.Series(values.name, numbers, dtype=pl.UInt64)


def _number(value: bytes, size: int) -> int:
    if size <= _SHORT_BITS and value[:1] >= b"0":
        return int(value)
    if len(value) != (size + 7) // 8:
        raise ResultUnusable("A column of BITs holds something else than its bits: write + 0 after what it selects.")
    return int.from_bytes(value, "big")


# JSON


def _checked_json(values: pl.Series) -> pl.Series:
    """JSON as it is, and all else as a JSON string: MariaDB's check on such a column can be switched off."""
    texts = (None if text is None else _json_or_string(text) for text in _text(values))
    return pl.Series(values.name, texts, dtype=pl.String)


def _json_or_string(text: str) -> str:
    try:
        _read_json(text)
    except RecursionError:
        pass  # nested too deeply for any reader: the row is rejected for that later
    except ValueError:
        return json.dumps(text, ensure_ascii=False)
    return text


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and the infinities, which Python would read


def _nothing(_number: str) -> None:
    """Keep nothing of a number: Python refuses to read the longest, which JSON allows."""


_read_json = json.JSONDecoder(parse_int=_nothing, parse_float=_nothing, parse_constant=_refuse).decode
