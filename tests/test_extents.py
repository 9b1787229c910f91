"""What a pull may be asked to read, and how it is said in JSON, in a run's tags, and on a command line."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from qanatix_pipelines.extents import MAX_LIMIT, NEW_ROWS, Extent, typed
from qanatix_pipelines.watermarks import watermark_of

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("2026-01-01T00:00:00Z", NEW_YEAR),
        ("2026-01-01t00:00:00z", NEW_YEAR),
        ("2026-01-01 00:00:00+00:00", NEW_YEAR),
        ("2025-12-31T19:00:00-05:00", NEW_YEAR),
        ("2026-01-01T00:00:00.000001Z", NEW_YEAR.replace(microsecond=1)),
        (0, 0),
        (-5, -5),
        (10**38 - 1, 10**38 - 1),
    ],
)
def test_a_time_with_its_zone_and_an_integer_are_taken(given: object, value: object) -> None:
    assert watermark_of(given) == value


@pytest.mark.parametrize(
    "given",
    [
        "2026-01-01T00:00:00",
        "2026-01-01",
        "1767225600",
        "2026-02-30T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-01-01T00:00:00.0000001Z",
        "\uff12026-01-01T00:00:00Z",
        "now",
        "",
        True,
        1.0,
        10**38,
        -(10**38),
        [],
        None,
    ],
)
def test_nothing_else_is_taken_and_none_of_it_is_repeated(given: object) -> None:
    with pytest.raises(ValueError, match=r"^(must be a time with its zone|names a time that there is not)") as raised:
        watermark_of(given)

    assert str(given) not in str(raised.value) or not given


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({"since": 1, "full_refresh": True}, "since", "must not be given together with full_refresh"),
        ({"until": 1}, "until", "needs since"),
        ({"since": 1, "until": 1}, "until", "must be greater than since"),
        ({"since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "until", "must be greater than since"),
        ({"since": 1, "until": "2026-01-01T00:00:00Z"}, "until", "must be of the same kind as since"),
        ({"limit": 0}, "limit", "greater than or equal to 1"),
        ({"limit": MAX_LIMIT + 1}, "limit", "less than or equal to"),
        ({"limit": True}, "limit", "valid integer"),
        ({"limit": "5"}, "limit", "valid integer"),
        ({"since": "yesterday"}, "since", "must be a time with its zone"),
        ({"since": 1.5}, "since", "must be a time with its zone"),
    ],
)
def test_what_contradicts_itself_is_refused_by_the_fields_name(body: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Extent.model_validate(body)

    (wrong,) = raised.value.errors()
    assert wrong["loc"] == (field,)
    assert problem in wrong["msg"]


@pytest.mark.parametrize(
    ("running", "asked", "answers"),
    [
        ({}, {}, True),
        ({"full_refresh": True}, {}, True),
        ({}, {"full_refresh": True}, False),
        ({"since": 1}, {"since": 1}, True),
        ({"since": 1}, {}, False),
        ({}, {"since": 1}, False),
        ({"since": 1}, {"since": 2}, False),
        ({"since": 1}, {"since": 1, "limit": 1}, False),
        ({"limit": 5}, {}, False),
        ({"full_refresh": True, "limit": 5}, {}, False),
        ({"full_refresh": True}, {"limit": 5}, False),
    ],
)
def test_a_live_pull_answers_who_asks_for_no_more_than_it_reads(
    running: dict[str, Any], asked: dict[str, Any], answers: bool
) -> None:
    assert Extent(**running).answers(Extent(**asked)) is answers


times = st.datetimes(timezones=st.just(UTC))
integers = st.integers(-(10**38) + 1, 10**38 - 1)
ends = st.lists(times, min_size=1, max_size=2, unique=True) | st.lists(integers, min_size=1, max_size=2, unique=True)
extents = st.one_of(
    st.builds(Extent, full_refresh=st.booleans(), limit=st.none() | st.integers(1, MAX_LIMIT)),
    st.builds(lambda window: Extent(**dict(zip(("since", "until"), sorted(window), strict=False))), ends),
)


@given(extents)
def test_a_runs_tags_say_it_whole(extent: Extent) -> None:
    assert Extent.of_tags({**extent.tags(), "dagster/partition": "a-1"}) == extent


def test_a_pull_of_what_is_new_has_no_tags() -> None:
    assert NEW_ROWS.tags() == {}
    assert Extent(since=NEW_YEAR, until=FEBRUARY, limit=5).tags() == {
        "qanatix/since": "2026-01-01T00:00:00Z",
        "qanatix/until": "2026-02-01T00:00:00Z",
        "qanatix/limit": "5",
    }


@pytest.mark.parametrize(("text", "meant"), [("5", 5), ("-5", -5), ("true", True), ("5.0", "5.0"), ("+5", "+5")])
def test_a_text_of_digits_is_an_integer(text: str, meant: object) -> None:
    assert typed(text) == meant
