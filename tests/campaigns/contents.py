"""What a store holds: read, put back as it was, and what one pull made of it, so that two pulls can be compared."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.store import tables
from qanatix_pipelines.store.heaps import sweep
from tests.kept import drop_leaves, staged

Contents = dict[str, list[dict[str, Any]]]

_TABLES = (
    tables.connector,
    tables.pull,
    tables.rejection,
    tables.entity,
    tables.entity_set,
    tables.connector_health,
)
# What no two pulls have alike, though they did the same.
_ITS_OWN = {
    "id",
    "set_number",
    "run_id",
    "attempt",
    "lease_until",
    "duration_seconds",
    "created_at",
    "started_at",
    "finished_at",
}
_THIS_PULLS = "this pull's"


def contents(engine: sa.Engine) -> Contents:
    with engine.execution_options(reads=True).connect() as connection:
        return {table.name: [dict(row) for row in connection.execute(sa.select(table)).mappings()] for table in _TABLES}


def put_back(engine: sa.Engine, kept: Contents) -> None:
    """Make the store hold just this again."""
    with engine.begin() as transaction:
        for table in _TABLES:
            transaction.execute(table.delete())
        for table in _TABLES:
            if kept[table.name]:
                transaction.execute(table.insert(), kept[table.name])
    drop_leaves(engine, but={row["set_number"] for row in kept["entity"]})


def made(engine: sa.Engine, kept: Contents, pull_id: UUID) -> dict[str, Any]:
    """All that the store holds after a pull, where it held `kept` before.

    Equal for two pulls that did the same: of the pull's own receipt without its ids, times and number of attempts; an
    entity's pull and times, and a watermark that is a time, are kept as they are if the pull left them alone.
    """
    sweep(engine)
    found = contents(engine)
    with engine.execution_options(reads=True).connect() as connection:
        left = staged(connection)
    before = {row["id"]: row for name in ("connector", "pull", "entity") for row in kept[name]}

    def told(row: dict[str, Any], *columns: str) -> dict[str, Any]:
        old = before.get(row["id"], {})
        changed = [
            column
            for column in columns
            if row[column] != old.get(column) and (column == "pull_id" or isinstance(row[column], datetime))
        ]
        if "pull_id" in changed:
            assert row["pull_id"] == pull_id
        return row | dict.fromkeys(changed, _THIS_PULLS)

    own = [row for row in found["pull"] if row["id"] == pull_id]
    stamps = {row["updated_at"] for row in found["entity"] if row["pull_id"] == pull_id}
    return {
        # A set that has no entities yet is numbered by whichever pull comes first.
        "entities": {
            row["id"]: told(row, "pull_id", "created_at", "updated_at") | {"set_number": None}
            for row in found["entity"]
        },
        "times of its entities": len(stamps),
        "receipt": [
            {
                column: value
                for column, value in told(row, "watermark", "merging_since").items()
                if column not in _ITS_OWN
            }
            for row in own
        ],
        "other receipts": {row["id"]: row for row in found["pull"] if row["id"] != pull_id},
        "connectors": {row["id"]: told(row, "watermark", "watermark_at", "source_clock") for row in found["connector"]},
        "counted": {(row["vertical"], row["entity_type"]): row["entities"] for row in found["entity_set"]},
        "health": {
            row["connector_id"]: {
                name: _THIS_PULLS if value == pull_id else value
                for name, value in row.items()
                if not isinstance(value, datetime)
            }
            for row in found["connector_health"]
        },
        "rejections": [row | {"pull_id": _THIS_PULLS} for row in found["rejection"] if row["pull_id"] == pull_id],
        "staged": left,
    }
