"""Rows become JSON objects, byte for byte as a digest has always been taken of them; and what counts as JSON."""

import json
from itertools import product
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines import json_texts
from qanatix_pipelines.batches import Column
from qanatix_pipelines.json_texts import Field, json_object, not_json, quoted

TEXT = st.text(st.characters(codec="utf-8"))
NAMES = st.lists(TEXT | st.sampled_from(["*", "^.*$", "", "a", "é"]), min_size=1, max_size=6, unique=True)
JSON = st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda some: st.lists(some, max_size=3))
VALUES: dict[type[pl.DataType], st.SearchStrategy[Any]] = {
    pl.String: TEXT,
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.UInt64: st.integers(0, 2**64 - 1),
    pl.Float64: st.floats(),
    pl.Float32: st.floats(width=32),
    pl.Boolean: st.booleans(),
}
JSON_COLUMN = "json"


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[str, type[pl.DataType] | str, list[Any]]]:
    """Columns: their names, what they hold, and the values of as many rows."""
    height = draw(st.integers(1, 4))

    def column(name: str) -> tuple[str, type[pl.DataType] | str, list[Any]]:
        kind = draw(st.sampled_from([*VALUES, JSON_COLUMN]))
        values = JSON.map(json.dumps) if isinstance(kind, str) else VALUES[kind]
        return name, kind, draw(st.lists(st.none() | values, min_size=height, max_size=height))

    return list(map(column, draw(NAMES)))


@given(tables())
def test_an_object_is_what_json_writes_without_blanks_and_escapes(
    table: list[tuple[str, type[pl.DataType] | str, list[Any]]],
) -> None:
    fields, columns = [], {}
    for place, (name, kind, values) in enumerate(table):
        dtype = pl.String if isinstance(kind, str) else kind
        fields.append(Field(Column(name, "any", dtype, json=kind == JSON_COLUMN), f"c{place}"))
        columns[f"c{place}"] = pl.Series(values, dtype=dtype)
    rows = pl.DataFrame(columns)

    made = rows.select(data=json_object(rows, fields))["data"].to_list()

    assert made == [
        "{" + ",".join(f"{_written(name)}:{_expected(kind, values[row])}" for name, kind, values in table) + "}"
        for row in range(rows.height)
    ]


@given(st.none() | TEXT)
def test_a_quoted_text_is_what_json_writes(text: str | None) -> None:
    frame = pl.DataFrame({"text": [text]}, schema={"text": pl.String})

    assert frame.select(quoted(pl.col("text"))).item() == _written(text)


def test_no_fields_are_an_empty_object() -> None:
    rows = pl.DataFrame({"place": [0, 1]})

    assert rows.with_columns(data=json_object(rows, []))["data"].to_list() == ["{}", "{}"]


TOKENS = ("[", "]", "{", "}", ",", ":", '""', "1", "0", "null", " ")


@pytest.mark.parametrize("length", [*range(5), pytest.param(5, marks=pytest.mark.slow)])
def test_of_all_short_texts_those_are_json_that_a_parser_reads(length: int) -> None:
    texts = ["".join(tokens) for tokens in product(TOKENS, repeat=length)]

    assert not_json(pl.Series(texts, dtype=pl.String)) == [
        place for place, text in enumerate(texts) if not _parsed(text)
    ]


PIECES = (*"[]{},:-+.eE0a \n\f", '"', '"a"', '"a":', "1", "-1.5e+3", "01", "true", "null", "NaN", "Infinity")
ESCAPES = ('"\\ud800"', '"\\u12"', '"\\x"', '"\\"', '"\n"', '"\x7f"', '"é\\n"', "\\", "\x00", "\ufeff")
FORGED = ("1],[2", '1,"b":2')


@given(
    st.lists(st.lists(st.sampled_from((*PIECES, *ESCAPES, *FORGED)), max_size=12).map("".join), min_size=1, max_size=30)
)
def test_any_texts_are_json_if_a_parser_reads_each(texts: list[str]) -> None:
    assert not_json(pl.Series(texts)) == [place for place, text in enumerate(texts) if not _parsed(text)]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
        lambda some: st.lists(some, max_size=3) | st.dictionaries(TEXT, some, max_size=3),
    ),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
    st.data(),
)
def test_what_json_writes_is_json_and_one_character_less_only_where_a_parser_agrees(
    value: Any, indent: int | str | None, ascii_only: bool, data: st.DataObject
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    at = data.draw(st.integers(0, len(text) - 1))
    less = text[:at] + text[at + 1 :]

    assert not_json(pl.Series([text, less])) == ([] if _parsed(less) else [1])


def test_long_numbers_lone_surrogates_and_deep_texts_are_json() -> None:
    digits, deep = "1" * 10_000, "[" * 50 + "]" * 50

    assert not_json(pl.Series([digits, f'{{"a":[{digits}]}}', '["\\ud800"]', deep, None])) == []


def test_what_a_database_writes_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser takes ten times as long."""
    monkeypatch.setattr(json_texts, "_is_json", lambda _text: False)
    texts = ["1.50", '{"n": 1, "of": [1, 2]}', '[{"a": [{"b": null}]}, {}, []]', '"\\u00e9"', "true"]

    assert not_json(pl.Series(texts)) == []


def _written(text: str | None) -> str:
    return json.dumps(text, ensure_ascii=False)


def _expected(kind: type[pl.DataType] | str, value: Any) -> str:
    if value is None or isinstance(kind, str):
        return value or "null"
    if kind in (pl.Float64, pl.Float32):
        shortest = str(pl.Series([value], dtype=kind).cast(pl.String).item())
        return {"NaN": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}.get(shortest, shortest)
    return json.dumps(value, ensure_ascii=False)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


# Numbers are not parsed: Python refuses the longest ones.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)


def _parsed(text: str) -> bool:
    try:
        _DECODER.decode(text)
    except ValueError:
        return False
    return True
