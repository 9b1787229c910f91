"""Values as JSON text."""

import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.sources.json_text import json_text


def refuse(value: Any) -> Any:
    raise TypeError(type(value).__name__)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("null", None),
        ("true", True),
        ("9223372036854775808", 2**63),
        ("0.1", 0.1),
        ("1e+300", 1e300),
        ("-0.0", -0.0),
        ('"NaN"', math.nan),
        ('"-Infinity"', -math.inf),
        ("12.50", Decimal("12.50")),
        ("1e+400", Decimal("1E+400")),
        ('"NaN"', Decimal("NaN")),
        ('"Infinity"', Decimal("Infinity")),
        ('"é\\n\\"\\u0000"', 'é\n"\x00'),
        ('"AAH/"', b"\x00\x01\xff"),
        ('"2026-03-07T11:00:00Z"', datetime(2026, 3, 7, 12, tzinfo=timezone(timedelta(hours=1)))),
        ('"2026-03-07T12:00:00.000001Z"', datetime(2026, 3, 7, 12, 0, 0, 1, tzinfo=UTC)),
        ('"2026-03-07T12:00:00"', datetime(2026, 3, 7, 12)),  # noqa: DTZ001
        ('"2026-03-07"', date(2026, 3, 7)),
        ('"12:30:00"', time(12, 30)),
        ('"P1DT3.500000S"', timedelta(days=1, seconds=3.5)),
        ('"-P0DT1S"', timedelta(seconds=-1)),
        ('"00000000-0000-0000-0000-000000000001"', UUID(int=1)),
        ('[1,"a",[]]', [1, "a", ()]),
        ('{"a":2,"b":{"c":1}}', {"b": {"c": 1}, "a": 2}),
    ],
)
def test_each_value_has_one_form(expected: str, value: Any) -> None:
    assert json_text(value, refuse) == expected


def test_other_types_are_turned_into_known_ones() -> None:
    assert json_text([complex(1, 2)], lambda number: [number.real, number.imag]) == "[[1.0,2.0]]"


def test_an_unknown_type_is_an_error() -> None:
    with pytest.raises(TypeError, match="complex"):
        json_text(complex(1, 2), refuse)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(JSON_VALUES)
def test_what_json_can_say_is_read_back_as_it_was(value: Any) -> None:
    assert json.loads(json_text(value, refuse)) == value


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_keeps_every_digit(value: Decimal) -> None:
    read = json.loads(json_text(value, refuse), parse_float=Decimal, parse_int=Decimal)

    assert read.as_tuple() == value.as_tuple()
