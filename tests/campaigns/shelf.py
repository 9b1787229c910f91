"""A source of the tests' own that is quick, and does what it is told: SQLite in memory, a clock that is set, faults.

A `Run` is a real pull in a thread of its own. It may halt in the middle until it is told to go on, or for good.
"""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any

import polars as pl

from qanatix_pipelines.batches import Batch, Column, Reading
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import PullError, QueryRejected, SourceUnreachable
from qanatix_pipelines.pull import Limits, PullOutcome, run_pull
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.sources.source import Asked, Source, SourceConfig
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.watermarks import Window

OUTER_SECONDS = 120
BEGINNING = datetime(2026, 3, 7, tzinfo=UTC)
COLUMNS = tuple(
    Column(name, kind, dtype)
    for name, kind, dtype in (
        ("id", "integer", pl.Int64),
        ("sku", "integer", pl.Int64),
        ("name", "text", pl.String),
        ("stamp", "text", pl.String),
    )
)


def instant(seconds: int) -> datetime:
    return BEGINNING + timedelta(seconds=seconds)


def database() -> sqlite3.Connection:
    """An empty one."""
    opened = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    opened.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, sku INTEGER, name TEXT, stamp TEXT)")
    return opened


@dataclass(frozen=True)
class Script:
    """After `at` batches, or the last: a halt, if it `halts`; and in as many readings as there are faults, a fault."""

    at: int = 0
    halts: bool = False
    faults: tuple[str, ...] = ()


FAULTS: dict[str, Callable[[], Exception]] = {
    "source_unreachable": lambda: SourceUnreachable("The source went away.", transient=True),
    "query_rejected": lambda: QueryRejected("The source rejected the query."),
    "pull_broken": lambda: RuntimeError("a fault of ours"),
}


@dataclass
class Run:
    """One run's part in a pull, with what it was told when it began."""

    store: Store
    connector: Connector
    receipt: Receipt
    script: Script
    databases: Mapping[str, sqlite3.Connection]
    clock: Callable[[], datetime]
    columns: tuple[Column, ...] = COLUMNS  # of the query's result
    config: Mapping[str, Any] | None = None  # what it logged in with
    outcome: PullOutcome | None = None
    error: BaseException | None = None
    halted: bool = False
    _thread: threading.Thread | None = None
    _events: "SimpleQueue[str]" = field(default_factory=SimpleQueue)
    _gate: threading.Event = field(default_factory=threading.Event)

    @property
    def begun(self) -> bool:
        return self._thread is not None

    @property
    def over(self) -> bool:
        return self.outcome is not None or self.error is not None

    def go_on(self) -> None:
        """Until it halts or is over."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._pull, daemon=True)
            self._thread.start()
        else:
            self._gate.set()
        self.halted = self._events.get(timeout=OUTER_SECONDS) == "halted"
        if not self.halted:
            self._thread.join()

    def halt(self) -> None:
        self._events.put("halted")
        assert self._gate.wait(OUTER_SECONDS)

    def open_source(self, config: Mapping[str, Any]) -> "Shelf":
        self.config = config
        return Shelf(self)

    def _pull(self) -> None:
        limits = Limits(pauses=(0, 0))
        try:
            self.outcome = run_pull(self.store, self.connector, self.receipt, self.open_source, limits=limits)
        except (PullError, RuntimeError) as error:
            self.error = error
        finally:
            self._events.put("over")


class Shelf(Source):
    config_type = SourceConfig
    title = "Shelf"
    kind = "sqlite"

    def __init__(self, run: Run) -> None:
        self._run = run
        self._faults = list(run.script.faults)
        self._halts = run.script.halts

    @classmethod
    def check_query(cls, query: str) -> Asked:
        return Asked(":last_pull" in query, ":until" in query)

    @asynccontextmanager
    async def read(self, query: str, *, window: Window, batch_size: int) -> AsyncIterator[Reading]:
        run = self._run
        assert run.config is not None
        clock = run.clock()
        start = window.start(clock)
        least = -(2**63) if window.integer else ""
        bound = start.isoformat() if isinstance(start, datetime) else least if start is None else start
        end = window.until
        until = end.isoformat() if isinstance(end, datetime) else "9" if end is None else end
        answer = run.databases[run.config["database"]].execute(query, {"last_pull": bound, "until": until})
        rows = answer.fetchall() if window.rows is None else answer.fetchmany(window.rows)
        size = batch_size
        parts = [rows[first : first + size] for first in range(0, len(rows), size)]
        watermark = clock - timedelta(microseconds=1) if self.check_query(query).last_pull else None
        yield Reading(run.columns, watermark, self._batches(parts))

    async def _batches(self, parts: list[list[Any]]) -> AsyncIterator[Batch]:
        columns = self._run.columns
        for number, part in enumerate([*parts, None]):
            await asyncio.sleep(0)
            if number == min(self._run.script.at, len(parts)):
                if self._halts:
                    self._halts = False
                    self._run.halt()
                if self._faults:
                    fault = FAULTS[self._faults.pop(0)]
                    raise fault()
            if part is not None:
                schema = {column.name: column.dtype for column in columns}
                yield Batch(pl.DataFrame(part, schema=schema, orient="row"), columns)
