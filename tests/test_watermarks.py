"""From where a pull reads."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qanatix_pipelines.watermarks import EARLIEST, Window

NOON = datetime(2026, 3, 7, 12, tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

instants = st.datetimes(timezones=st.just(UTC))


def test_a_first_pull_begins_at_the_least_value() -> None:
    assert Window().start(NOON) is None


def test_the_overlap_is_taken_off_the_watermark() -> None:
    assert Window(NOON, overlap=300).start(NOON + HOUR) == NOON - 5 * MINUTE


def test_an_exact_window_begins_where_somebody_said() -> None:
    for watermark in (NOON + HOUR, 7, None):
        assert Window(watermark, overlap=300, elapsed=HOUR, exact=True).start(NOON) == watermark


def test_the_sources_clock_is_heard() -> None:
    heard: list[datetime] = []
    Window(heard=heard.append).start(NOON)

    assert heard == [NOON]


def test_an_integer_s_overlap_is_a_count() -> None:
    assert Window(50_000, overlap=10_000, integer=True).start(NOON) == 40_000


def test_after_the_clock_was_set_back_it_is_where_the_last_pull_must_have_been_by_that_clock() -> None:
    start = Window(NOON, overlap=60, elapsed=10 * MINUTE).start(NOON - HOUR)

    assert NOON - HOUR - 11 * MINUTE - SECOND < start <= NOON - HOUR - 11 * MINUTE


def test_what_passes_before_the_sources_clock_is_read_counts_too() -> None:
    window = Window(NOON, overlap=300, _made=time.monotonic() - HOUR.total_seconds())

    start = window.start(NOON)

    assert isinstance(start, datetime)
    assert start <= NOON - HOUR - timedelta(seconds=300)


@pytest.mark.parametrize("overlap", [2, 300, 10**12])
@given(watermark=instants, clock=instants, elapsed=st.timedeltas(timedelta(0), LATEST - EARLIEST))
def test_it_is_never_later_than_the_watermark_nor_a_time_that_there_is_not(
    overlap: int, watermark: datetime, clock: datetime, elapsed: timedelta
) -> None:
    start = Window(watermark, overlap, elapsed).start(clock)

    assert EARLIEST <= start <= watermark


@pytest.mark.parametrize("clock", [EARLIEST, LATEST])
@pytest.mark.parametrize("watermark", [EARLIEST, LATEST])
def test_the_ends_of_time_are_borne(watermark: datetime, clock: datetime) -> None:
    assert EARLIEST <= Window(watermark, 2, LATEST - EARLIEST).start(clock) <= watermark


@dataclass
class _Row:
    stamp: datetime
    committed_before: int  # this pull
    pulled: bool = False


@dataclass
class _Source:
    """A source whose clock may be wrong, and pulls that go by the rule: what is open holds the watermark back."""

    overlap: int
    now: datetime = NOON
    off: timedelta = timedelta(0)
    rows: list[_Row] = field(default_factory=list)
    pulls: int = 0
    watermark: datetime | None = None
    read_at: datetime = NOON

    def stamp(self, writes: list[tuple[timedelta, int]]) -> None:
        for pause, later in writes:
            self.now += pause
            self.rows.append(_Row(self.now + self.off, self.pulls + later))

    def pull(self) -> None:
        clock = self.now + self.off
        start = Window(self.watermark, self.overlap, self.now - self.read_at).start(clock)
        uncommitted = [row.stamp for row in self.rows if row.committed_before > self.pulls]
        for row in self.rows:
            row.pulled |= row.committed_before <= self.pulls and (start is None or row.stamp > start)
        self.watermark = min([clock, *uncommitted]) - timedelta(microseconds=1)
        self.read_at = self.now
        self.pulls += 1


# Some rows, each after a pause, and how many pulls later it is committed.
writes = st.lists(st.tuples(st.timedeltas(timedelta(0), timedelta(days=1)), st.integers(0, 3)), max_size=3)
# What happens between two pulls. The clock steps once: where it is set back and forward again, nothing shows of it.
rounds = st.tuples(writes, st.timedeltas(timedelta(days=-2), timedelta(days=2)), writes)


@pytest.mark.slow
@settings(max_examples=300)
@given(history=st.lists(rounds, min_size=1, max_size=6), overlap=st.integers(2, 300))
def test_whatever_the_clock_does_each_row_is_in_a_pull_once_it_is_committed(
    history: list[tuple[list[tuple[timedelta, int]], timedelta, list[tuple[timedelta, int]]]], overlap: int
) -> None:
    source = _Source(overlap)
    for before, step, after in history:
        source.stamp(before)
        source.off += step
        source.stamp(after)
        source.pull()
    for _ in range(4):
        source.pull()

    assert [row for row in source.rows if not row.pulled] == []
