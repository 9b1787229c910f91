"""BSON's values as text, without a server: our faster conversions give what the driver gives."""

from datetime import UTC, datetime, timedelta

import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.sources.mongodb.values import bson_text

WIDE = st.integers(0, 10**34 - 1).flatmap(
    lambda digits: st.integers(-6176, 6111).map(lambda exponent: Decimal128(f"{digits}E{exponent}"))
)


def said(number: Decimal128) -> str:
    """The driver's own conversion, in JSON."""
    decimal = number.to_decimal()
    if decimal.is_nan():
        return '"NaN"'
    if decimal.is_infinite():
        return '"Infinity"' if decimal > 0 else '"-Infinity"'
    return str(decimal).replace("E", "e")


@given(st.binary(min_size=16, max_size=16).map(Decimal128.from_bid))
def test_any_decimal_is_what_the_driver_says(number: Decimal128) -> None:
    assert bson_text(number) == said(number)


@given(WIDE)
def test_a_decimal_keeps_all_its_digits(number: Decimal128) -> None:
    assert bson_text(number) == said(number)


@pytest.mark.parametrize("text", ["0", "-0", "0.00", "-0E+3", "1.50", "-12345.25", "1E+3", "9" * 34, "1E-6176", "NaN"])
def test_a_decimal_of_a_kind_of_its_own(text: str) -> None:
    assert bson_text(Decimal128(text)) == said(Decimal128(text))


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_a_date_is_iso_8601_in_milliseconds(since_1970: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=since_1970)

    told = bson_text(DatetimeMS(since_1970))

    assert told == '"' + moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") + '"'


def test_rules_hold_however_deep_a_value_lies() -> None:
    oid = ObjectId("65a1b2c3d4e5f60718293a4b")
    value = {"a": [{"id": oid, "bytes": Binary(b"abc", 0x80), "code": Code("x", {"id": oid})}]}

    assert bson_text(value) == (
        '{"a":[{"bytes":{"$binary":{"base64":"YWJj","subType":"80"}},'
        '"code":{"$code":"x","$scope":{"id":"65a1b2c3d4e5f60718293a4b"}},"id":"65a1b2c3d4e5f60718293a4b"}]}'
    )


def test_what_bson_does_not_have_is_told() -> None:
    with pytest.raises(TypeError, match="BSON has no complex"):
        bson_text(1j)
