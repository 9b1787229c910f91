"""What a pull leaves behind: its receipt."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel

from qanatix_pipelines.rejections import Reason
from qanatix_pipelines.row_keys import PullWarning
from qanatix_pipelines.watermarks import Watermark

# A pull whose process gives no sign of life for this long is held to be dead. The sign is given three times as often.
LEASE_SECONDS = 30
# A pull that was asked for waits this long for its run, which may have to start a process first.
QUEUED_SECONDS = 60
# So often is a pull begun whose process died.
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


# The states in which a connector's one pull may be.
LIVE = (PullStatus.QUEUED, PullStatus.RUNNING)


class Pull(BaseModel):
    """The receipt of one pull. `records_pulled = records_ingested + duplicates_skipped + records_rejected`, always.

    These are 0 until the pull has completed. `records_read` and `bytes_read` grow meanwhile: they are what the attempt
    has read and staged so far, and stay where they are if it ends otherwise. Bytes are those of the rows in memory.

    `merging_since` is when the attempt had staged all rows and went on to merge them; None before.
    Of the duplicates, `keys_repeated` have another content than the last row with their key, which counts.

    `attempt` counts from 1. It is the fence: what is left of an earlier attempt can write nothing any more.
    """

    id: UUID
    connector_id: UUID
    run_id: str | None
    trigger: str | None
    status: PullStatus
    attempt: int
    full_refresh: bool
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
