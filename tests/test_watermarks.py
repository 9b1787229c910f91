"""What `:last_pull` is bound to."""

import time
from datetime import UTC, datetime, timedelta

from qanatix_pipelines.watermarks import EARLIEST, Window

NOON = datetime(2026, 3, 7, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MOMENT = timedelta(seconds=60)  # what a busy machine may take between two lines


def test_a_first_pull_starts_at_the_least_value() -> None:
    assert Window().start(NOON) is None


def test_what_the_last_pull_saw_within_the_overlap_is_read_again() -> None:
    window = Window(NOON, overlap=300, elapsed=HOUR)

    assert window.start(NOON + 2 * HOUR) == NOON - timedelta(seconds=300)


def test_a_clock_that_was_set_back_is_followed() -> None:
    """An hour passed, and the source's clock shows an hour less than then: what it stamped since is above two less."""
    start = Window(NOON, overlap=300, elapsed=HOUR).start(NOON - HOUR)

    assert isinstance(start, datetime)
    assert NOON - 2 * HOUR - timedelta(seconds=300) - MOMENT < start <= NOON - 2 * HOUR - timedelta(seconds=300)


def test_what_passes_before_the_sources_clock_is_read_counts_too() -> None:
    window = Window(NOON, overlap=300, _made=time.monotonic() - HOUR.total_seconds())

    start = window.start(NOON)

    assert isinstance(start, datetime)
    assert start <= NOON - HOUR - timedelta(seconds=300)


def test_an_integer_starts_its_overlap_before_the_greatest() -> None:
    assert Window(2**64, overlap=10, integer=True).start(NOON) == 2**64 - 10


def test_a_start_is_never_before_the_earliest_time() -> None:
    assert Window(NOON, overlap=10**12).start(NOON) == EARLIEST
