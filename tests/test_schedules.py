"""When a schedule asks for a pull: what it may say, and what it comes to where clocks are set forward and back."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from qanatix_pipelines.schedules import Schedule


def times(schedule: Schedule, start: str, count: int) -> list[str]:
    """The next times after a moment, one from the other, as UTC without its offset."""
    moment, found = datetime.fromisoformat(f"{start}+00:00"), []
    for _ in range(count):
        moment = schedule.next_after(moment)
        found.append(f"{moment:%Y-%m-%dT%H:%M}")
    return found


def berlin(cron: str) -> Schedule:
    return Schedule(cron=cron, timezone="Europe/Berlin")


def problem(**fields: object) -> str:
    with pytest.raises(ValidationError) as refused:
        Schedule.model_validate(fields)
    return str(refused.value.errors(include_url=False)[0]["msg"])


@pytest.mark.parametrize(
    ("cron", "wrong"),
    [
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day of month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day of week"),
        ("*/0 * * * *", "minute"),
        ("5-1 * * * *", "minute"),
        ("\u0665 * * * *", "minute"),
        ("0 0 31 2 *", "day of month"),  # never comes
        ("0 0 31 4,6,9,11 *", "day of month"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(cron: str, wrong: str) -> None:
    said = problem(cron=cron)

    assert said.endswith(f"; wrong is the {wrong}")
    assert "minute (0-59), hour (0-23), day of month (1-31)" in said


@pytest.mark.parametrize("cron", ["", "* * * *", "0 */5 * * * *", "@daily", "every day"])
def test_there_are_five_fields(cron: str) -> None:
    assert "must be five fields" in problem(cron=cron)


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "Europe", "../../etc/passwd", "europe/berlin", "+01:00", "localtime"]
)
def test_a_time_zone_is_the_iana_databases(name: str) -> None:
    assert "must be a time zone of the IANA database" in problem(cron="* * * * *", timezone=name)


def test_it_is_kept_with_single_blanks_and_in_capitals() -> None:
    assert Schedule(cron="  */5 \t6-18 * * mon-fri ").cron == "*/5 6-18 * * MON-FRI"


def test_without_a_time_zone_it_is_utc() -> None:
    assert times(Schedule(cron="30 2 * * *"), "2026-03-28T12:00", 2) == ["2026-03-29T02:30", "2026-03-30T02:30"]


def test_the_29th_of_february_comes() -> None:
    assert times(Schedule(cron="0 0 29 2 *"), "2026-03-28T12:00", 2) == ["2028-02-29T00:00", "2032-02-29T00:00"]


class TestSpringForward:
    """In Berlin on 2026-03-29, 02:00 is 03:00 at once, at 01:00 UTC."""

    def test_a_time_that_is_left_out_is_made_up_for_at_once(self) -> None:
        expected = ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]
        assert times(berlin("30 2 * * *"), "2026-03-27T12:00", 3) == expected

    def test_one_after_it_keeps_its_time_of_day(self) -> None:
        expected = ["2026-03-28T05:00", "2026-03-29T04:00", "2026-03-30T04:00"]
        assert times(berlin("0 6 * * *"), "2026-03-27T12:00", 3) == expected

    def test_every_quarter_of_an_hour_goes_on(self) -> None:
        expected = ["2026-03-29T00:45", "2026-03-29T01:00", "2026-03-29T01:15"]
        assert times(berlin("*/15 * * * *"), "2026-03-29T00:30", 3) == expected


class TestFallBack:
    """In Berlin on 2026-10-25, 03:00 is 02:00 again, at 01:00 UTC."""

    def test_a_time_that_comes_twice_counts_once(self) -> None:
        expected = ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"]
        assert times(berlin("30 2 * * *"), "2026-10-23T12:00", 3) == expected

    def test_asked_in_between_it_does_not_go_back(self) -> None:
        assert times(berlin("30 2 * * *"), "2026-10-25T01:10", 1) == ["2026-10-26T01:30"]

    def test_every_half_hour_goes_on(self) -> None:
        expected = ["2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30", "2026-10-25T02:00"]
        assert times(berlin("*/30 * * * *"), "2026-10-25T00:00", 4) == expected


def numbers(least: int, greatest: int) -> st.SearchStrategy[str]:
    one = st.integers(least, greatest)
    ranges = st.tuples(one, one).map(lambda ends: f"{min(ends)}-{max(ends)}")
    steps = st.integers(1, greatest).map(lambda step: f"*/{step}")
    lists = st.lists(one, min_size=1, max_size=3).map(lambda each: ",".join(map(str, each)))
    return st.just("*") | ranges | steps | lists


crons = st.tuples(numbers(0, 59), numbers(0, 23), numbers(1, 28), numbers(1, 12), numbers(0, 7)).map(" ".join)
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001


@pytest.mark.slow
@given(crons, zones, moments)
@settings(max_examples=200, deadline=None)
def test_it_is_the_librarys_own_sequence_without_what_is_over(cron: str, zone: str, moment: datetime) -> None:
    library = CronSim(cron, moment.astimezone(ZoneInfo(zone)))
    to_come = (time.astimezone(UTC) for time in library if time > moment)

    schedule, last, found = Schedule(cron=cron, timezone=zone), moment, []
    for _ in range(5):
        last = schedule.next_after(last)
        found.append(last)

    assert found == list(islice(to_come, 5))
    assert sorted(set(found)) == found


@pytest.mark.slow
@given(crons, zones, moments, st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_however_long_nobody_looked_no_time_before_now_is_left(
    cron: str, zone: str, moment: datetime, seconds: int
) -> None:
    schedule = Schedule(cron=cron, timezone=zone)
    due = schedule.next_after(moment)
    now = due + timedelta(seconds=seconds)

    following = schedule.next_after(now)

    assert following > now >= due
    assert following.second == following.microsecond == 0
