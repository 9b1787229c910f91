"""Where a pull starts to read, and how far it has seen: what `:last_pull` is bound to.

A row is stamped when its statement runs and seen when its transaction commits, which may be after a pull has moved
past the stamp. So each pull reads again what the last one saw within an overlap; what did not change is a duplicate
there and costs only its reading.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

# A time (UTC) by the source's own clock; or the greatest value of `cursor_column`, where that is an integer.
Watermark = datetime | int

OVERLAP_SECONDS = 300
# Numbers of a sequence are handed out before their rows are committed.
OVERLAP_COUNT = 10_000
EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Window:
    """From where one pull reads. Without a watermark it is a first one, and reads everything.

    `overlap` is seconds, or a count where the cursor is an `integer`. `elapsed` is how long ago the watermark was read
    off the source, by our own clock, when the window is made.
    """

    watermark: Watermark | None = None
    overlap: int = OVERLAP_SECONDS
    elapsed: timedelta = timedelta(0)
    integer: bool = False
    _made: float = field(default_factory=time.monotonic, compare=False, repr=False)

    def start(self, clock: datetime) -> Watermark | None:
        """What `:last_pull` is bound to; None stands for the least value of its type. `clock` is the source's (UTC).

        Our own clock is asked only how much time has passed. Where the source's has counted less, it was set back
        meanwhile, and rows were stamped below the watermark: then they are read, too.
        """
        match self.watermark:
            case None:
                return None
            case int():
                return self.watermark - self.overlap
            case datetime():
                passed = self.elapsed + timedelta(seconds=time.monotonic() - self._made)
                reach = min(self.watermark - EARLIEST, clock - EARLIEST - passed)
                return EARLIEST + max(reach - timedelta(seconds=self.overlap), timedelta(0))
