"""Rows as JSON objects, and which texts are JSON (RFC 8259)."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import polars as pl
import pydantic_core

from qanatix_pipelines.batches import Column

# How Polars writes the numbers that JSON lacks, and how we do.
_NOT_JSON = {"NaN": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}

_BLANKS = r"[ \t\n\r]*"
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
_SCALAR = rf"(?:{_STRING}|{_NUMBER}|true|false|null)"
# How deep arrays and objects may stand in each other in a text that the patterns know. Each level doubles a pattern.
_DEPTH = 4


@dataclass(frozen=True)
class Field:
    """A column, and the name that we give it in the frame."""

    column: Column
    name: str


def json_object(rows: pl.DataFrame, fields: Sequence[Field]) -> pl.Expr:
    """These fields of each row as a JSON object. It is one expression, because each expression copies all values."""
    pieces: list[pl.Expr] = []
    before = "{"
    for encodes, some in groupby(fields, lambda field: _polars_encodes(field, rows)):
        if encodes:
            pieces += [pl.lit(before), _members(some)]
            before = ","
            continue
        for field in some:
            key = json.dumps(field.column.name, ensure_ascii=False)
            pieces += [pl.lit(f"{before}{key}:"), _value(field)]
            before = ","
    return pl.concat_str(*pieces, pl.lit("}" if pieces else "{}"))


def quoted(text: pl.Expr) -> pl.Expr:
    """Text as a JSON string, null as `null`."""
    return _cut(pl.struct(text.alias("")).struct.json_encode(), '{"":', "}")


def not_json(texts: pl.Series) -> list[int]:
    """The positions of the texts that are not valid JSON.

    Two patterns know nearly all that a database writes, and many times faster than a parser. The first one knows what
    stands inside what, but would let commas be missing or too many. The second one knows what follows what. What they
    do not know is parsed: deeper texts, and invalid ones.
    """
    numbers = texts.str.contains(f"^{_NUMBER}$")
    if numbers.all():
        return []
    known = numbers | (texts.str.contains(_NESTED) & texts.str.contains(_IN_ORDER))
    doubtful = (~known).fill_null(value=False).arg_true()
    return [place for place, text in zip(doubtful, texts.gather(doubtful), strict=True) if not _is_json(text)]


def _polars_encodes(field: Field, rows: pl.DataFrame) -> bool:
    """Whether Polars writes the column's values as we do. It writes null for the numbers that JSON lacks."""
    return not field.column.json and not (field.column.dtype.is_float() and not rows[field.name].is_finite().all())


def _members(fields: Iterable[Field]) -> pl.Expr:
    """These members of an object, without its braces."""
    struct = pl.struct(pl.col(field.name).alias(field.column.name) for field in fields)
    return _cut(struct.struct.json_encode(), "{", "}")


def _value(field: Field) -> pl.Expr:
    """The values of a column that is JSON text already, or that has numbers which JSON lacks."""
    value = pl.col(field.name)
    encoded = value if field.column.json else value.cast(pl.String).replace(_NOT_JSON)
    return encoded.fill_null("null")


def _cut(text: pl.Expr, before: str, after: str) -> pl.Expr:
    return text.str.slice(len(before)).str.head(-len(after))


def _nested(depth: int) -> str:
    if depth == 0:
        return _SCALAR
    value = f"{_nested(depth - 1)}{_BLANKS}(?:,{_BLANKS})?"
    member = f"{_STRING}{_BLANKS}:{_BLANKS}{value}"
    return rf"(?:{_SCALAR}|\[{_BLANKS}(?:{value})*\]|\{{{_BLANKS}(?:{member})*\}})"


_NESTED = f"^{_BLANKS}{_nested(_DEPTH)}{_BLANKS}$"
# A scalar or an empty array or object comes after any that open, and before any that close. Then a separator, or none
# is left.
_IN_ORDER = rf"^(?:[\[{{ \t\n\r]*(?:{_SCALAR}|\[{_BLANKS}\]|\{{{_BLANKS}\}})[\]}} \t\n\r]*(?:[,:]|$))+$"


def _nothing(_read: object) -> None:
    """A parsed value is not kept. A number is not even parsed: Python refuses the longest ones."""


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_STRICT = json.JSONDecoder(
    parse_int=_nothing, parse_float=_nothing, parse_constant=_refuse, object_pairs_hook=_nothing
).decode


def _is_json(text: str) -> bool:
    try:
        # Many times faster, but it refuses lone surrogates and numbers of thousands of digits.
        pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError:
        try:
            _STRICT(text)
        except (ValueError, RecursionError):
            return False
    return True
