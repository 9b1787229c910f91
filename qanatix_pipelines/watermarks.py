"""The watermark: up to where earlier pulls have read the source, and so what `:last_pull` is bound to.

A row gets its timestamp when its statement runs, but becomes visible when its transaction commits. By then a pull may
have moved past that timestamp. So each pull starts an overlap before the watermark and reads some rows again. An
unchanged row is a duplicate and costs only its reading.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

# A time (UTC) by the source's clock, or the greatest value of an integer `cursor_column`.
Watermark = datetime | int

OVERLAP_SECONDS = 300
# A sequence hands out numbers before their rows are committed.
OVERLAP_COUNT = 10_000
EARLIEST = datetime.min.replace(tzinfo=UTC)
# No integer of a source has more digits.
DIGITS = 38
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_MEANT = "must be a time with its zone, such as 2026-01-31T00:00:00Z, or an integer of at most 38 digits"


def watermark_of(given: object) -> Watermark:
    """A watermark that somebody gave: a time as RFC 3339 writes it, which becomes UTC, or an integer.

    Raises ValueError, which does not repeat it.
    """
    match given:
        case bool():
            pass
        case int():
            if abs(given) < 10**DIGITS:
                return given
        case datetime():
            return given.astimezone(UTC)
        case str():
            if _RFC3339.fullmatch(given):
                try:
                    return datetime.fromisoformat(given.upper()).astimezone(UTC)
                except (ValueError, OverflowError):
                    raise ValueError("names a time that there is not, between the years 1 and 9999 in UTC") from None
    raise ValueError(_MEANT)


def _unheard(_clock: datetime) -> None:
    """Nobody wants to know what the source's clock shows."""


@dataclass(frozen=True)
class Window:
    """What of its source one pull reads. Without a watermark it reads everything, as a first pull does.

    `overlap` is in seconds, or a count if the cursor is an `integer`. `elapsed` is how long before the creation of this
    window the watermark was read, by our own clock. `:until` is bound to `until`, or to the greatest value of its type.
    At most `rows` rows are read; None reads them all. An `exact` window begins at its watermark, which somebody gave.
    `start` tells `heard` what the source's clock shows. A server that would not notice that we are gone gives the query
    up by itself after `seconds`; None stands for a pull, which may take long.
    """

    watermark: Watermark | None = None
    overlap: int = OVERLAP_SECONDS
    elapsed: timedelta = timedelta(0)
    integer: bool = False
    until: Watermark | None = None
    rows: int | None = None
    exact: bool = False
    seconds: int | None = None
    heard: Callable[[datetime], None] = field(default=_unheard, compare=False, repr=False)
    _made: float = field(default_factory=time.monotonic, compare=False, repr=False)

    def start(self, clock: datetime) -> Watermark | None:
        """What `:last_pull` is bound to; None stands for the least value of its type. `clock` is the source's now, UTC.

        Our own clock only measures how much time has passed. If the source's clock has advanced by less, it was set
        back and has stamped rows below the watermark. The window then starts earlier, so that they are read.
        """
        self.heard(clock)
        return self.started(clock, self.elapsed + timedelta(seconds=time.monotonic() - self._made))

    def started(self, clock: datetime, passed: timedelta) -> Watermark | None:
        """The same, when so much time has `passed` since the watermark was read."""
        if self.exact:
            return self.watermark
        match self.watermark:
            case None:
                return None
            case int():
                return self.watermark - self.overlap
            case datetime():
                reach = min(self.watermark - EARLIEST, clock - EARLIEST - passed)
                return EARLIEST + max(reach - timedelta(seconds=self.overlap), timedelta(0))
