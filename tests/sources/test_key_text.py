"""Keys of MongoDB's and Neo4j's: one text for what they compare as equal, another for what they tell apart."""

from decimal import Decimal
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.objectid import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.sources.key_text import key_text
from qanatix_pipelines.sources.mongodb.values import fields

HEX = "65a1b2c3d4e5f60718293a4b"


def text(value: Any) -> str | None:
    return fields(bson.encode({"_id": value}), "_id")[1]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (7, "7"),
        (Int64(2**62), "4611686018427387904"),
        ("Käse", '"Käse"'),
        ("", '""'),
        ("0012", '"0012"'),
        ("65A1B2C3D4E5F60718293A4B", '"65A1B2C3D4E5F60718293A4B"'),
        ("01234567-89ab-cdef-0123-456789abcdef", '"01234567-89ab-cdef-0123-456789abcdef"'),
        ("2024-01-15", '"2024-01-15"'),
        ("2024-01-15T10:00:00Z", '"2024-01-15T10:00:00Z"'),
        (ObjectId(HEX), f'"{HEX}"'),
        (DatetimeMS(570), '"1970-01-01T00:00:00.570Z"'),
        (True, "true"),
        (None, '"null"'),
        (0.5, "0.5"),
        (0.1, "0.1"),
        ({"b": "7", "a": 7}, '{"b":"7","a":7}'),
        ({"user": ObjectId(HEX), "day": "2024-01-15"}, f'{{"user":"{HEX}","day":"2024-01-15"}}'),
    ],
)
def test_a_key_is_written_as_it_reads(value: object, key: str) -> None:
    assert text(value) == key


@pytest.mark.parametrize(
    "equal",
    [
        (1, 1.0, Int64(1), Decimal128("1"), Decimal128("1.00"), Decimal128("10E-1")),
        (0, -0.0, Decimal128("-0"), Decimal128("0E+3")),
        (0.5, Decimal128("0.5"), Decimal128("0.500")),
        (float("nan"), Decimal128("NaN"), Decimal128("sNaN")),
        (float("-inf"), Decimal128("-Infinity")),
        (2.0**70, Decimal128(str(2**70))),
        ({"a": 1, "b": 2}, {"a": 1.0, "b": Decimal128("2.0")}),
    ],
)
def test_what_mongodb_compares_as_equal_is_one_key(equal: tuple[object, ...]) -> None:
    assert len({text(value) for value in equal}) == 1


DIFFERENT: tuple[Any, ...] = (
    *(1, "1", True, "true", None, "null", 1.5, "1.5", '"1"', '"\\"1\\""'),
    *(float("nan"), "NaN", float("inf"), "Infinity", 0.1, Decimal128("0.1"), "0.1", 2**53 + 1, 2.0**53),
    *(Decimal128(f"0.{'1' * 33}1"), Decimal128(f"0.{'1' * 33}2")),  # in its last digit
    *(Decimal128("1E+400"), Decimal128("2E+400"), Decimal128("-1E+400")),  # more than a double holds
    *(ObjectId(HEX), HEX, DatetimeMS(570), "1970-01-01T00:00:00.570Z"),
    *(DatetimeMS(2**63 - 1), "+292278994-08-17T07:12:55.807Z"),
    *(b"abc", Binary(b"abc", 128), "YWJj", Binary(bytes(16), 4), "00000000-0000-0000-0000-000000000000"),
    *({"a": 1, "b": 2}, {"b": 2, "a": 1}, '{"a":1,"b":2}', {"a": "1", "b": 2}, {"a": [1]}, {"a": {"a": 1}}),
    *({"a": ObjectId(HEX)}, {"a": HEX}, {"a": None}, {}, {"": 1}, MaxKey(), '{"$maxKey":1}', "[1]"),
)


def test_what_mongodb_tells_apart_is_no_one_key() -> None:
    assert len({text(value) for value in DIFFERENT}) == len(DIFFERENT)


def test_a_field_that_is_null_is_no_key_unless_it_is_the_id() -> None:
    assert fields(bson.encode({"_id": 1, "sku": None}), "sku")[1] is None
    assert fields(bson.encode({"_id": 1}), "sku")[1] is None


_KEYS = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.decimals(allow_nan=False, places=3))


@given(_KEYS, _KEYS)
def test_two_keys_have_one_text_if_python_compares_them_as_equal_and_only_then(one: Any, other: Any) -> None:
    assert (_of(one) == _of(other)) is (one == other)


def _of(value: str | float | Decimal) -> str:
    return key_text(value, str)
