"""The answer of a dry run: the receipt that the pull would have, and what of the entities it would change."""

import json
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from qanatix_api.receipts import RejectedRow
from qanatix_pipelines.comparisons import SHOWN, ChangedEntity, Comparison, FieldChange
from qanatix_pipelines.health import ColumnChange
from qanatix_pipelines.rejections import Reason, Rejection
from qanatix_pipelines.row_keys import PullWarning

DRY_RUN: Literal["dry_run"] = "dry_run"


class FieldAnswer(BaseModel):
    """A field that would change. `before` is absent if the entity has no such field yet, `after` if it loses it.

    In the place of a longer value is the beginning of its JSON, as a string that ends with "…".
    """

    field: str = Field(examples=["price"])
    before: Any = Field(None, examples=[12.5])
    after: Any = Field(None, examples=[13])


class ChangedAnswer(BaseModel):
    """An entity that would change."""

    entity_id: UUID
    source_id: str | None = Field(description="The row's key in its source.", examples=["4711"])
    name: str | None = Field(
        description="Its name after the change, at most 1,000 characters of it.", examples=["Copper valve"]
    )
    fields: list[FieldAnswer]
    more_fields: int = Field(description="How many more of its fields would change.", examples=[0])


class DryRunPending(BaseModel):
    """A dry run that goes on."""

    status: Literal["running"] = Field(examples=["running"])
    dry_run_id: UUID
    connector_id: UUID


class DryRunAnswer(BaseModel):
    """What a pull would do now. Nothing was ingested, and `:last_pull` stays where it is.

    `records_pulled = records_ingested + duplicates_skipped + records_rejected`, as the pull's.
    `records_ingested = records_new + records_changed`; `duplicates_skipped = records_unchanged + keys_repeated`.
    """

    status: Literal["dry_run"]
    dry_run_id: UUID
    connector_id: UUID
    records_pulled: int = Field(description="Rows that the query returned.", examples=[2847])
    records_ingested: int = Field(description="Rows that would become a new entity or change one.", examples=[15])
    records_new: int = Field(description="Of these, those that would become a new entity.", examples=[12])
    records_changed: int = Field(description="Of these, those that would change an entity.", examples=[3])
    duplicates_skipped: int = Field(description="Rows that would do neither.", examples=[2830])
    records_unchanged: int = Field(
        description="Of these, those that are as the entity is stored, or as the last row with their key.",
        examples=[2830],
    )
    keys_repeated: int = Field(
        description="Of these, those that differ from the last row with their key, which alone counts.", examples=[0]
    )
    records_rejected: int = Field(description="Rows that could not become an entity.", examples=[2])
    rejected_by_reason: dict[Reason, int] = Field(
        description="The rejected rows counted by reason.", examples=[{Reason.NAME_MISSING: 2}]
    )
    warnings: list[PullWarning] = Field(description="What is probably not intended, although the pull would complete.")
    key_column: str | None = Field(
        description="The column that has the rows' keys. Null if the result has none.", examples=["id"]
    )
    name_column: str | None = Field(
        description="The column that becomes the entities' names. Null if none does.", examples=["name"]
    )
    column_changes: list[ColumnChange] = Field(
        description=(
            "How the query's columns differ from those of the last pull, by their types at the source. One that is new "
            "has no type `before`, one that is gone none `after`."
        )
    )
    changed: list[ChangedAnswer] = Field(
        description=f"Entities that would change: the first {SHOWN}, in the order of the source."
    )
    rejected: list[RejectedRow] = Field(description=f"The first {SHOWN} rows that would be rejected.")
    duration_seconds: float = Field(examples=[0.4])


def written(compared: Comparison, dry_run_id: UUID, connector_id: UUID) -> str:
    """The answer as JSON. Values of rows are sent as they are written, because parsing would lose digits of numbers."""
    told = compared.model_dump(mode="json", exclude={"changed", "rejected"}) | {
        "status": DRY_RUN,
        "dry_run_id": str(dry_run_id),
        "connector_id": str(connector_id),
        "duration_seconds": round(compared.duration_seconds, 3),
        "rejected": [
            RejectedRow.of(Rejection(row.row, row.key, row.reason, row.column)).model_dump(mode="json")
            for row in compared.rejected
        ],
    }
    return f'{json.dumps(told)[:-1]},"changed":[{",".join(map(_entity, compared.changed))}]}}'


def _entity(changed: ChangedEntity) -> str:
    told = {
        "entity_id": str(changed.id),
        "source_id": changed.source_id,
        "name": changed.name,
        "more_fields": changed.more,
    }
    return f'{json.dumps(told)[:-1]},"fields":[{",".join(map(_field, changed.fields))}]}}'


def _field(change: FieldChange) -> str:
    values = {"before": change.before, "after": change.after}
    said = "".join(f',"{name}":{text}' for name, text in values.items() if text is not None)
    return f'{{"field":{json.dumps(change.field)}{said}}}'
