"""How far a pull is, in its run's log."""

from logging import Logger

from qanatix_pipelines.staging import Progress

# Each line is an event in Dagster's storage, and a large pull has hundreds of batches.
QUIET_SECONDS = 1
# The next line about a merge comes when it has taken this many times as long.
_AS_LONG_AGAIN = 1.5


class ProgressLog:
    """Logs the first batch, then one at most every QUIET_SECONDS, and the last one at the end."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._heard: Progress | None = None
        self._told: Progress | None = None
        self._merged_seconds = 0.0

    def hear(self, progress: Progress) -> None:
        """A batch was staged."""
        self._heard, told = progress, self._told
        # When the source is read again, the seconds begin at 0.
        if told is None or not told.seconds <= progress.seconds < told.seconds + QUIET_SECONDS:
            self.tell()

    def hear_merge(self, seconds: float) -> None:
        """The merge has been going on for `seconds`."""
        if seconds >= _AS_LONG_AGAIN * self._merged_seconds:
            self.tell()
            self._merged_seconds = seconds
            self._log.info("all rows are read; merging them into the store for %d s", seconds)

    def tell(self) -> None:
        """Log what was heard last, unless it was logged already."""
        if (read := self._heard) is not None and read is not self._told:
            self._told = read
            rate = round(read.records / max(read.seconds, 0.001))
            self._log.info("%d rows so far, %d rows/s, %.1f MiB", read.records, rate, read.bytes / 2**20)
