"""The receipt of a pull: its state while it runs, and its outcome afterwards."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel

from qanatix_pipelines.extents import Extent
from qanatix_pipelines.rejections import Reason
from qanatix_pipelines.row_keys import PullWarning
from qanatix_pipelines.watermarks import Watermark

# How long a lease lasts: a running pull without a heartbeat for this long counts as dead. It sends three in that time.
LEASE_SECONDS = 30
# How long a queued pull waits for its run, which may have to start a process first.
QUEUED_SECONDS = 60
# How many attempts a pull has if its processes die.
ATTEMPTS = 3


class PullStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def live(self) -> bool:
        return self in LIVE


# A connector has at most one pull in these states.
LIVE = (PullStatus.QUEUED, PullStatus.RUNNING)


class Receipt(BaseModel):
    """The receipt of one pull. `records_pulled = records_ingested + duplicates_skipped + records_rejected`, always.

    These are 0 until the pull has completed. `records_read` and `bytes_read` grow while it runs: they tell what the
    current attempt has read and staged. They keep their last values if the pull fails. Bytes are those of the rows in
    memory.

    `merging_since` is when the attempt had staged all rows and began to merge them; None before that.
    `keys_repeated` is how many of the duplicates differ from the last row with their key, which is the one that counts.

    `since`, `until` and `row_limit` are what it alone was asked to read; None for what the watermark says.
    `unheard_at` is when the connection of a caller that waited for it was cut off; None once a later one is answered.

    `change_number` says which change of its entity set it was, from 1; None if it changed nothing. `set_number` is the
    set's.

    `attempt` counts from 1. It is the fence: a process of an earlier attempt that is still alive cannot write.
    """

    id: UUID
    connector_id: UUID
    run_id: str | None
    trigger: str | None
    status: PullStatus
    attempt: int
    full_refresh: bool
    since: Watermark | None
    until: Watermark | None
    row_limit: int | None
    lease_until: datetime
    records_read: int
    bytes_read: int
    merging_since: datetime | None
    records_pulled: int
    records_ingested: int
    duplicates_skipped: int
    keys_repeated: int
    records_rejected: int
    rejected_by_reason: dict[Reason, int]
    warnings: list[PullWarning]
    key_column: str | None
    name_column: str | None
    duration_seconds: float
    watermark: Watermark | None
    error_code: str | None
    error_detail: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    unheard_at: datetime | None = None
    set_number: int | None = None
    change_number: int | None = None

    @property
    def extent(self) -> Extent:
        """How much of its source it was asked to read."""
        return Extent(full_refresh=self.full_refresh, since=self.since, until=self.until, limit=self.row_limit)
