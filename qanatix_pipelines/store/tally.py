"""What an attempt has read so far, in numbers."""

from collections import Counter

from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.rejections import Reason, Rejection
from qanatix_pipelines.row_keys import PullWarning, Repeated, Roles, warnings
from qanatix_pipelines.store.rejections import ROWS_KEPT


class Tally:
    """The counts of one reading. `bytes` are those of the rows in memory; of the rejections the first are kept."""

    def __init__(self) -> None:
        self.pulled = 0
        self.bytes = 0
        self.staged = 0
        self.duplicates = 0
        self.rejected: Counter[Reason] = Counter()
        self.rejections: list[Rejection] = []
        self._keyless = 0

    def add(self, batch: EntityBatch, staged: int, rows: int, size: int) -> None:
        """Count a batch, which was made of `rows` rows of `size` bytes. `staged` is how many were staged for it."""
        self.pulled += rows
        self.bytes += size
        self.staged += staged
        self.duplicates += batch.duplicates + batch.frame.height - staged
        self.rejected.update(rejection.reason for rejection in batch.rejections)
        self.rejections += batch.rejections[: ROWS_KEPT - len(self.rejections)]
        self._keyless += batch.keyless

    def warnings(self, roles: Roles, repeated: Repeated) -> list[PullWarning]:
        """What is probably not intended, once all is read."""
        return list(warnings(roles, self.pulled - self.rejected.total(), self._keyless, repeated))
