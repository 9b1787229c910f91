"""What a store must hold after any history, in a hundred lines: dicts, whole seconds, and no two things at once.

Two clocks: our own, and the sources', which may be set back or forward. Ids are the product's; all else is worked out
here anew.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import UUID

LEASE, QUEUED, ATTEMPTS, TRIES = 30, 60, 3, 3


class Row(NamedTuple):
    """A row, and of its last writing: which one of all it was, how long after its stamp, and by which setting of
    the clock.
    """

    id: int
    sku: int | None
    name: str | None
    stamp: int
    written: int
    late: int
    setting: int


# By query: the column that `:last_pull` is compared with, if any, and which rows it is about.
QUERIES: dict[str, tuple[str | None, Callable[[Row], bool]]] = {
    "SELECT * FROM items": (None, lambda _row: True),
    "SELECT * FROM items WHERE stamp > :last_pull": ("stamp", lambda _row: True),
    "SELECT * FROM items WHERE sku > 1 AND stamp > :last_pull": ("stamp", lambda row: (row.sku or 0) > 1),
    "SELECT * FROM items WHERE id > :last_pull ORDER BY id DESC": ("id", lambda _row: True),
    "SELECT * FROM items WHERE stamp > :last_pull AND stamp <= :until": ("stamp", lambda _row: True),
}


@dataclass
class Connector:
    query: str
    entity_set: tuple[str, str]
    name_column: str | None
    id_column: str | None
    overlap: int | None
    name: str
    credentials: dict[str, str]
    generation: int = 1
    watermark: int | None = None
    watermark_at: int = 0
    seen: int = 0  # the last writing that had happened when a completed pull with `:last_pull` read

    def entity(self, row: Row) -> tuple[Any, Any] | None:
        """(identity, content), or None if the row is rejected."""
        data: dict[str, object] = {"id": row.id, "sku": row.sku, "stamp": row.stamp}
        if self.name_column is not None and not (row.name or "").strip():
            return None
        content = (row.name, *data.items())
        key = data[self.id_column or "id"]
        return (self.entity_set, content if key is None else str(key)), content


class Part(NamedTuple):
    """What a pull alone was asked for: rows beyond `since` up to `until`, and at most `limit` of them."""

    since: int | None = None
    until: int | None = None
    limit: int | None = None


@dataclass
class Pull:
    connector: UUID
    full_refresh: bool
    part: Part
    lease: int
    status: str = "queued"
    attempt: int = 1
    counts: tuple[int, ...] = (0, 0, 0, 0)  # pulled, ingested, duplicates, rejected
    watermark: int | None = None
    error: str | None = None

    @property
    def live(self) -> bool:
        return self.status in ("queued", "running")

    def answers(self, full_refresh: bool, part: Part) -> bool:
        """Whether who asks for this, while the pull is live, is told its outcome."""
        same = (self.full_refresh, self.part) == (full_refresh, part)
        return same or (not full_refresh and self.part == part == Part())

    def end(self, status: str, error: str | None = None) -> None:
        self.status, self.error = status, error


@dataclass
class Attempt:
    """A run's part in a pull: the connector as it was when the run began, and what it last read."""

    pull: UUID
    number: int
    connector: Connector
    rows: list[Row] = field(default_factory=list)
    watermark: int | None = None
    at: int = 0
    seen: int = 0


class Model:
    def __init__(self) -> None:
        self.now = self.ahead = self.setting = self.written = 0
        self.databases: dict[str, dict[int, Row]] = {"north": {}, "south": {}}
        self.connectors: dict[UUID, Connector] = {}
        self.pulls: dict[UUID, Pull] = {}
        self.entities: dict[Any, Any] = {}

    @property
    def clock(self) -> int:
        """The sources'."""
        return self.now + self.ahead

    def write(self, database: str, number: int, sku: int | None, name: str | None, stamp: int) -> None:
        self.written += 1
        row = Row(number, sku, name, stamp, self.written, self.clock - stamp, self.setting)
        self.databases[database][number] = row

    def change(self, connector: UUID, settings: dict[str, Any], credentials: dict[str, str] | None) -> None:
        old = self.connectors[connector]
        new = replace(old, **settings, credentials=credentials or old.credentials)
        deciding = ("query", "entity_set", "name_column", "id_column")
        reread = new.credentials["database"] != old.credentials["database"]
        reread |= any(getattr(new, name) != getattr(old, name) for name in deciding)
        if reread:
            new = replace(new, watermark=None, watermark_at=0, seen=0)
        if reread or credentials is not None:
            new.generation += 1
            self.give_up(connector)
        self.connectors[connector] = new

    def give_up(self, connector: UUID) -> None:
        if (pull := self.live(connector)) is not None:
            self.pulls[pull].end("cancelled", "pull_superseded")

    def live(self, connector: UUID) -> UUID | None:
        return next((key for key, pull in self.pulls.items() if pull.connector == connector and pull.live), None)

    def lapsed(self) -> list[UUID]:
        return [key for key, pull in self.pulls.items() if pull.live and pull.lease < self.now]

    def lose(self, connector: UUID) -> None:
        """A lapsed pull is lost once the connector's next is asked for."""
        if (pull := self.live(connector)) in self.lapsed() and pull is not None:
            self.pulls[pull].end("failed", "pull_lost")

    def steer(self, connector: UUID, watermark: int | None) -> None:
        """Set it by hand. What was written by now is as if a pull had read it, unless everything is to be read."""
        kept = self.connectors[connector]
        kept.watermark, kept.watermark_at, kept.seen = watermark, self.now, 0 if watermark is None else self.written

    def queue(self, pull: UUID, connector: UUID, *, full_refresh: bool, part: Part) -> None:
        self.pulls[pull] = Pull(connector, full_refresh, part, self.now + QUEUED)

    def retry(self, pull: UUID) -> bool:
        kept = self.pulls[pull]
        if kept.attempt >= ATTEMPTS:
            kept.end("failed", "pull_lost")
            return False
        kept.status, kept.attempt, kept.lease = "queued", kept.attempt + 1, self.now + QUEUED
        return True

    def claim(self, pull: UUID, connector: Connector) -> Attempt:
        kept = self.pulls[pull]
        kept.status, kept.lease = "running", self.now + LEASE
        return Attempt(pull, kept.attempt, replace(connector))

    def runs(self, attempt: Attempt) -> bool:
        kept = self.pulls[attempt.pull]
        return (kept.status, kept.attempt) == ("running", attempt.number)

    def read(self, attempt: Attempt) -> None:
        told, pull = attempt.connector, self.pulls[attempt.pull]
        cursor, wanted = QUERIES[told.query]
        there = [row for row in self.databases[told.credentials["database"]].values() if wanted(row)]
        there.sort(key=lambda row: row.id, reverse="DESC" in told.query)
        overlap = told.overlap if told.overlap is not None else 10_000 if cursor == "id" else 300
        start, end = float("-inf"), float("inf")
        if pull.part.since is not None:
            start, end = pull.part.since, end if pull.part.until is None else pull.part.until
        elif told.watermark is not None and not pull.full_refresh:
            start = told.watermark - overlap
            if cursor == "stamp":  # a clock that counted less than ours was set back
                start = min(start, self.clock - (self.now - told.watermark_at) - overlap)
        attempt.rows = [row for row in there if cursor is None or start < getattr(row, cursor) <= end]
        attempt.rows = attempt.rows[: pull.part.limit]
        attempt.at, attempt.seen = self.now, self.written
        if pull.part != Part():
            return
        attempt.watermark = {
            None: None,
            "stamp": self.clock,
            "id": max((row.id for row in attempt.rows), default=None),
        }[cursor]
        # The promise, which knows nothing of the rule above: what was stamped by the clock as it is set now, less than
        # the overlap ago, and written since the last pull, is read by this one.
        promised = {row for row in there if row.written > told.seen and row.setting == self.setting}
        if cursor == "stamp":
            assert {row for row in promised if row.late < overlap} <= set(attempt.rows)

    def advance(self, attempt: Attempt, faults: tuple[str, ...]) -> bool:
        """From the first reading, which `faults` stop, to the end. Whether it completes."""
        pull = self.pulls[attempt.pull]
        for tries, fault in enumerate(faults, start=1):
            if fault != "source_unreachable" or tries == TRIES:  # else it may pass, and is tried again
                pull.end("failed", fault)
                return False
            self.read(attempt)
        told, kept = attempt.connector, self.connectors[pull.connector]
        made = [entity for row in attempt.rows if (entity := told.entity(row)) is not None]
        new = {key: content for key, content in dict(made).items() if self.entities.get(key) != content}
        pull.counts = (len(attempt.rows), len(new), len(made) - len(new), len(attempt.rows) - len(made))
        pull.end("completed")
        self.entities |= new
        if (watermark := attempt.watermark) is not None:
            pull.watermark = watermark
            if QUERIES[told.query][0] == "id" and not pull.full_refresh:
                watermark = max(watermark, kept.watermark or watermark)
            kept.watermark, kept.watermark_at, kept.seen = watermark, attempt.at, attempt.seen
        return True
