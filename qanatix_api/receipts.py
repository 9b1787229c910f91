"""The answers that show a pull, its progress and its rejected rows."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, Self
from uuid import UUID

from pydantic import BaseModel, Field

from qanatix_api.codes import Code
from qanatix_pipelines.keys import KeyRecord, Scope
from qanatix_pipelines.receipts import LEASE_SECONDS, PullStatus, Receipt
from qanatix_pipelines.rejections import Reason, Rejection
from qanatix_pipelines.row_keys import PullWarning
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.watermarks import Watermark

# Avoids division by zero. Two hosts' clocks differ by more than this.
_LEAST_SECONDS = 0.001


class Told(Protocol):
    """Something that may have an error: a receipt, or a connector's last pull."""

    @property
    def error_code(self) -> str | None: ...
    @property
    def error_detail(self) -> str | None: ...


class PullFailure(BaseModel):
    """Why a pull ended without ingesting, as in the answer to the caller that waited for it."""

    code: Code = Field(examples=["source_unreachable"])
    detail: str = Field(examples=["The source could not be reached."])

    @classmethod
    def of(cls, told: Told) -> Self | None:
        """None if there is no error."""
        return None if told.error_code is None else cls(code=told.error_code, detail=told.error_detail or "")


class PullAnswer(BaseModel):
    """How a pull went. `records_pulled = records_ingested + duplicates_skipped + records_rejected`."""

    status: PullStatus = Field(examples=[PullStatus.COMPLETED])
    records_pulled: int = Field(description="Rows that the query returned.", examples=[2847])
    records_ingested: int = Field(description="Rows that became a new entity or changed one.", examples=[2841])
    duplicates_skipped: int = Field(
        description="Rows whose entity already has this content, or occurred again in the same pull.", examples=[6]
    )
    keys_repeated: int = Field(
        description=(
            "Of the duplicates, those that differ from the last row of the pull with their key, which alone counts. If "
            "there are any, the key does not tell rows apart."
        ),
        examples=[0],
    )
    duration_seconds: float = Field(examples=[0.4])
    records_rejected: int = Field(description="Rows that could not become an entity.", examples=[2])
    rejected_by_reason: dict[Reason, int] = Field(
        description="The rejected rows counted by reason. `GET /pulls/{id}/rejections` lists them.",
        examples=[{Reason.NAME_MISSING: 2}],
    )
    warnings: list[PullWarning] = Field(description="What is probably not intended, although the pull completed.")
    key_column: str | None = Field(
        description="The column that has the rows' keys. Null if the result has none, or the pull did not complete.",
        examples=["id"],
    )
    name_column: str | None = Field(
        description="The column that became the entities' names. Null if none did, or the pull did not complete.",
        examples=["name"],
    )
    change_number: int | None = Field(
        description=(
            "Which change of its entity set the pull was, counted from 1 in the order in which pulls complete. Null if "
            "it changed nothing."
        ),
        examples=[12],
    )
    pull_id: UUID
    run_id: str | None = Field(description="The pull's run in Dagster.")

    @classmethod
    def of(cls, receipt: Receipt, reader: KeyRecord) -> Self:
        """The answer for `reader`. It has keys of rows only if `reader` may read entities."""
        fields = cls.fields_of(receipt)
        if reader.lacks(frozenset({Scope.ENTITIES_READ})):
            fields["warnings"] = [warning.without_keys() for warning in receipt.warnings]
        return cls.model_validate(fields)

    @staticmethod
    def fields_of(receipt: Receipt) -> dict[str, Any]:
        """The fields of the answer."""
        return receipt.model_dump(exclude={"id"}) | {
            "duration_seconds": round(receipt.duration_seconds, 3),
            "pull_id": receipt.id,
        }


class Phase(StrEnum):
    READING = "reading"
    MERGING = "merging"


class Progress(BaseModel):
    """The progress of the pull's current attempt. It starts again from 0 with the next attempt."""

    phase: Phase | None = Field(
        description=(
            "What a running pull is doing: `reading` its source, or `merging` what it has read into the store. Null "
            "before it has begun, and once it has ended."
        ),
        examples=[None],
    )

    records_read: int = Field(
        description="Rows that were read and staged. Equals `records_pulled` once completed.", examples=[40000]
    )
    bytes_read: int = Field(description="What these rows took in memory.", examples=[9437184])
    records_per_second: int | None = Field(
        description="Since the pull began, until now or until it ended. Null before it has begun.", examples=[25000]
    )
    merging_seconds: float | None = Field(
        description="How long the merge has taken, until now or until the pull ended. Null before.", examples=[0.1]
    )
    heartbeat_at: datetime | None = Field(
        description=(
            "When a running pull last sent a heartbeat, as it does every ten seconds. While a merge into SQLite holds "
            "the only lock, no pull sends one."
        ),
        examples=[None],
    )

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        until, since, running = (
            receipt.finished_at or now(),
            receipt.merging_since,
            receipt.status is PullStatus.RUNNING,
        )
        return cls(
            phase=None if not running else Phase.READING if since is None else Phase.MERGING,
            records_read=receipt.records_read,
            bytes_read=receipt.bytes_read,
            records_per_second=_rate(receipt, until),
            merging_seconds=None if since is None else round(max(0.0, (until - since).total_seconds()), 3),
            heartbeat_at=receipt.lease_until - timedelta(seconds=LEASE_SECONDS) if running else None,
        )


class PullReceipt(PullAnswer):
    """The receipt of a pull. The counts are 0 unless the pull has completed."""

    connector_id: UUID
    trigger: str | None = Field(
        description=(
            "Who asked for it: `api`, over REST; `schedule` or `watch`, the connector's own; `ui`, `backfill`, "
            "`sensor`, `automation` or `re-execution`, a run started in Dagster; `dagster`, the same where Dagster "
            "runs without our `dagster.yaml` and nobody noted how. Null for a receipt of an older release."
        ),
        examples=["api"],
    )
    attempts: int = Field(description="How often it was started: again if its process or host died.", examples=[1])
    full_refresh: bool = Field(examples=[False])
    since: Watermark | None = Field(
        description="Where it was asked to begin. Null for what the watermark says.", examples=[None]
    )
    until: Watermark | None = Field(description="Where the window that it was asked for ends.", examples=[None])
    limit: int | None = Field(description="How many rows it was asked to read at most.", examples=[None])
    created_at: datetime = Field(description="When it was asked for.")
    started_at: datetime | None = Field(description="When its first attempt began.")
    ended_at: datetime | None
    progress: Progress
    error: PullFailure | None = Field(
        description="Why it ended without ingesting. Null if it completed or has not ended.", examples=[None]
    )

    @staticmethod
    def fields_of(receipt: Receipt) -> dict[str, Any]:
        return PullAnswer.fields_of(receipt) | {
            "attempts": receipt.attempt,
            "limit": receipt.row_limit,
            "ended_at": receipt.finished_at,
            "progress": Progress.of(receipt),
            "error": PullFailure.of(receipt),
        }


class PullPage(BaseModel):
    """A page of a connector's pulls, newest first."""

    items: list[PullReceipt]
    cursor: str | None = Field(description="Where the next page begins; null after the last.")
    has_more: bool


class RejectedRow(BaseModel):
    """A row that could not become an entity. Of its values only the key is shown."""

    row: int = Field(description="Its position in the query's result, from 1.", examples=[17])
    key: str | None = Field(
        description="Its key in its source. Null if it has none, or one that is over 500 characters, or no text.",
        examples=["4711"],
    )
    reason: Reason
    detail: str = Field(description="The reason in words.", examples=[Reason.NAME_MISSING.sentence])
    column: str | None = Field(description="The faulty column. Null if it is the whole row.", examples=["name"])

    @classmethod
    def of(cls, rejection: Rejection) -> Self:
        return cls(
            row=rejection.row,
            key=rejection.key,
            reason=rejection.reason,
            detail=rejection.reason.sentence,
            column=rejection.column,
        )


class RejectedRowPage(BaseModel):
    """A page of the rows that a pull rejected, in the source's order."""

    items: list[RejectedRow]
    kept: int = Field(
        description=(
            "How many of the pull's rejected rows are kept, on all pages: at most 1,000, and 0 once its connector is "
            "deleted or ten later pulls of it have rejected rows."
        ),
        examples=[2],
    )
    total: int = Field(description="How many rows the pull rejected, as its receipt says.", examples=[2])
    cursor: str | None = Field(description="Where the next page begins; null after the last.")
    has_more: bool


def _rate(receipt: Receipt, until: datetime) -> int | None:
    if receipt.started_at is None:
        return None
    return round(receipt.records_read / max(_LEAST_SECONDS, (until - receipt.started_at).total_seconds()))
