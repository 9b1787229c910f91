"""A connector's health, from its completed pulls: are they on time, and do they still bring the same kind of rows?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel

from qanatix_pipelines.rejections import Reason, told_by_reason
from qanatix_pipelines.row_keys import PullWarning
from qanatix_pipelines.schedules import Schedule
from qanatix_pipelines.tenants import Tenant

# The name and the type of each column of a query's result, in order.
Columns = tuple[tuple[str, str], ...]
# For how long changed columns, rejected rows and warnings are reported: a person who checks once a day sees them.
SHOWN = timedelta(days=1)


@dataclass(frozen=True)
class Health:
    """The health of one connector. `completed_at` is None before its first completed pull.

    `emptied_at` is the time of the last completed pull if it read everything and found no rows although earlier pulls
    had some; else None. `before` are the columns before the change at `changed_at`; both are None without a change.
    `rejected` counts, by reason, the rows that the pull of `rejected_at` rejected. That is the last pull that rejected
    any; both are empty once a later pull has read everything and rejected none. `warnings` and `warned_at` work the
    same way.
    """

    connector_id: UUID
    tenant: Tenant
    partition_key: str
    name: str
    created_at: datetime
    completed_at: datetime | None
    emptied_at: datetime | None
    columns: Columns
    before: Columns | None
    changed_at: datetime | None
    schedule: Schedule | None = None
    rejected: Mapping[Reason, int] = field(default_factory=dict)
    rejected_at: datetime | None = None
    warnings: tuple[PullWarning, ...] = ()
    warned_at: datetime | None = None
    # It is paused, or pulled only when its source changes, so no pull is ever overdue.
    irregular: bool = False

    def is_stale(self, at: datetime, patience: timedelta) -> bool:
        """Whether its pulls are overdue at the time `at`.

        With a schedule: two scheduled times have passed since the last completed pull. Without: more than `patience`.
        """
        if self.irregular:
            return False
        last = self.completed_at or self.created_at
        if self.schedule is None:
            return at - last > patience
        return at > self.schedule.next_after(self.schedule.next_after(last))

    def rejection(self, at: datetime) -> str | None:
        """How many rows were rejected in the day before `at`, and why, in words; None if none were."""
        if self.rejected_at is None or at - self.rejected_at > SHOWN:
            return None
        return told_by_reason(self.rejected)

    def warning(self, at: datetime) -> str | None:
        """The warnings of a pull in the day before `at`; None if there are none."""
        if self.warned_at is None or at - self.warned_at > SHOWN:
            return None
        return " ".join(warning.sentences for warning in self.warnings)

    def change(self, at: datetime) -> str | None:
        """How the columns changed in the day before `at`, in words; None if they did not."""
        if self.before is None or self.changed_at is None or at - self.changed_at > SHOWN:
            return None
        return difference(self.before, self.columns)


class ColumnChange(BaseModel):
    """A column that differs, by its types. One that is new has none `before`; one that is gone has none `after`."""

    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.name} is new ({self.after})"
        return f"{self.name} is gone" if self.after is None else f"{self.name} was {self.before} and is {self.after}"


def column_changes(before: Columns, after: Columns) -> list[ColumnChange]:
    """How the columns differ: those that are new, those that are gone, those of another type. Their order is none."""
    was, now = dict(before), dict(after)
    changed = [name for name in now if name in was and was[name] != now[name]]
    names = (*(name for name in now if name not in was), *(name for name in was if name not in now), *changed)
    return [ColumnChange(name=name, before=was.get(name), after=now.get(name)) for name in names]


def difference(before: Columns, after: Columns) -> str | None:
    """How the columns differ, in words. None if they are the same, in whatever order."""
    return "; ".join(map(str, column_changes(before, after))) or None
