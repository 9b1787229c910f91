"""What a connector's completed pulls tell of it: whether they still come, and still bring what they did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from qanatix_pipelines.rejections import Reason, told_by_reason
from qanatix_pipelines.row_keys import PullWarning
from qanatix_pipelines.schedules import Schedule
from qanatix_pipelines.tenants import Tenant

# Its columns' names and types, in order.
Columns = tuple[tuple[str, str], ...]
# So long is said that a query's columns have changed, or that rows were rejected: who looks once a day sees it.
SHOWN = timedelta(days=1)


@dataclass(frozen=True)
class Health:
    """A connector's. `completed_at` is None before its first completed pull.

    `emptied_at` is when the last completed pull read everything and found nothing, where earlier ones had rows.
    `before` are the columns before the change at `changed_at`; both are None unless there was one. `rejected` are how
    many rows the pull of `rejected_at` rejected, by reason: the last one that rejected any, unless a later one has read
    everything and rejected none. `warnings` and `warned_at` are the same for a pull's warnings.
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
    # It rests, or is pulled only when its source changes: nobody knows when the next pull should be.
    irregular: bool = False

    def is_stale(self, at: datetime, patience: timedelta) -> bool:
        """Whether no pull has completed in two of its schedule's times, or without one for longer than `patience`."""
        if self.irregular:
            return False
        last = self.completed_at or self.created_at
        if self.schedule is None:
            return at - last > patience
        return at > self.schedule.next_after(self.schedule.next_after(last))

    def rejection(self, at: datetime) -> str | None:
        """How many rows were rejected in the day before `at`, and why, in words."""
        if self.rejected_at is None or at - self.rejected_at > SHOWN:
            return None
        return told_by_reason(self.rejected)

    def warning(self, at: datetime) -> str | None:
        """What a pull of the day before `at` warned of."""
        if self.warned_at is None or at - self.warned_at > SHOWN:
            return None
        return " ".join(warning.sentences for warning in self.warnings)

    def change(self, at: datetime) -> str | None:
        """What changed of the columns in the day before `at`, in words."""
        if self.before is None or self.changed_at is None or at - self.changed_at > SHOWN:
            return None
        return difference(self.before, self.columns)


def difference(before: Columns, after: Columns) -> str | None:
    """What is other in `after`, in words. None if nothing is, or only the order."""
    was, now = dict(before), dict(after)
    told = [
        *(f"{name} is new ({now[name]})" for name in now if name not in was),
        *(f"{name} is gone" for name in was if name not in now),
        *(f"{name} was {was[name]} and is {now[name]}" for name in now if was.get(name, now[name]) != now[name]),
    ]
    return "; ".join(told) or None
