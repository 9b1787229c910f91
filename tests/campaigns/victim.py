"""A pull in a process of its own, to be killed: by its parent at any instant, or by itself at a point that has a name.

Nothing in the product is made for it: in the child, and only there, what is called at a point is wrapped.
"""

import asyncio
import itertools
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import wraps
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite  # noqa: F401  # loaded before the children are forked

from qanatix_pipelines import pull as pulling
from qanatix_pipelines.batches import Batch, Reading
from qanatix_pipelines.errors import SourceFailed
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import connector_types, open_source, source_of
from qanatix_pipelines.sources.source import Source
from qanatix_pipelines.store import copying, heaps, ingestion, leaves, merge, shelves
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import open_store
from qanatix_pipelines.store.pulls import PullStore

for _type in connector_types():
    source_of(_type)

Moment = Literal["before", "before commit", "after commit", "after"]
# A source that falters does so once, after two batches, and is well again; one that stalls never gives its third.
Mood = Literal["well", "falters", "fails", "stalls"]
_GOOD_BATCHES = 2


@dataclass(frozen=True)
class Point:
    """Where a victim dies: at this moment of the `nth` such call, in which the store commits once.

    `of` says which pulls come there: all, large ones on PostgreSQL, or those that are the first into their set as well.
    """

    owner: object
    call: str
    moment: Moment
    nth: int = 1
    mood: Mood = "well"
    of: Literal["all", "large", "first"] = "all"


POINTS = {
    "before_claim": Point(PullStore, "claim", "before"),
    "mid_claim": Point(PullStore, "claim", "before commit"),
    "after_claim": Point(PullStore, "claim", "after"),
    "after_connect": Point(Ingestion, "stage", "before"),
    "heap_made": Point(heaps, "make", "after", of="large"),
    "mid_stage": Point(copying, "put", "after", nth=2),
    "after_stage": Point(Ingestion, "stage", "after commit", nth=2),
    "mid_renewal": Point(PullStore, "renew", "before commit", nth=2, mood="stalls"),
    "after_renewal": Point(PullStore, "renew", "after commit", nth=2, mood="stalls"),
    "before_restart": Point(Ingestion, "restart", "before", mood="falters"),
    "mid_restart": Point(Ingestion, "restart", "before commit", mood="falters"),
    "after_restart": Point(Ingestion, "restart", "after commit", mood="falters"),
    "mid_second_reading": Point(Ingestion, "stage", "after commit", nth=_GOOD_BATCHES + 2, mood="falters"),
    "mid_failure": Point(PullStore, "end", "before commit", mood="fails"),
    "before_merge": Point(ingestion, "fill", "before"),
    "set_locked": Point(leaves, "lock", "after", of="first"),
    "leaf_indexed": Point(leaves, "become", "after", nth=2, of="first"),
    "after_merge": Point(ingestion, "fill", "after"),
    "change_numbered": Point(ingestion, "note_change", "after"),
    "leaf_attached": Point(ingestion, "attach", "after", of="first"),
    "before_commit": Point(Ingestion, "commit", "before commit"),
    "after_commit": Point(Ingestion, "commit", "after commit"),
    "before_report": Point(Ingestion, "commit", "after"),
}


@dataclass(frozen=True)
class Life:
    """One attempt at a queued pull. It dies at `point`, if it has one, or before or after its `step`th at the store.

    Every statement there has two steps, and every commit. `begun` hears when the process is ready to claim the pull.
    A `large` one is staged and merged as such.
    """

    settings: Settings
    connector_id: UUID
    pull_id: UUID
    run_id: str
    mood: Mood = "well"
    point: str | None = None
    step: int | None = None
    large: bool = False


def live(life: Life, begun: Connection) -> None:
    """Claim the pull and run it to its end, if it is let."""
    store = open_store(life.settings)
    connector = store.connectors.get(life.connector_id)
    mood = life.mood
    if life.point is not None:
        point = POINTS[life.point]
        mood = point.mood
        _die_at(point, store.engine)
    if life.step is not None:
        die_at_step(life.step, store.engine)
    if mood == "stalls":
        pulling.LEASE_SECONDS = 0  # a heartbeat without pause
    if life.large:
        shelves.HELD_ROWS = merge._MANY = 0
    begun.send_bytes(b".")
    receipt = store.pulls.claim(life.pull_id, connector, life.run_id)
    pulling.run_pull(
        store,
        connector,
        receipt,
        lambda config: _Moody(opened(connector.connector_type, config), mood),  # type: ignore[arg-type,return-value]
        limits=pulling.Limits(pauses=(0, 0)),
    )


def opened(connector_type: str, config: Mapping[str, Any]) -> Source:
    """The folder of a file is open."""
    folders = [Path(config["path"]).parent] if "path" in config else []
    return open_source(connector_type, config, folders=folders)


class _Moody:
    """A real source, which after a few batches does as its mood says."""

    def __init__(self, source: Source, mood: Mood) -> None:
        self._source = source
        self._mood = mood

    @asynccontextmanager
    async def read(self, query: str, **options: Any) -> AsyncIterator[Reading]:
        self._source.named = self.named
        async with self._source.read(query, **options) as reading:
            yield replace(reading, batches=self._batches(reading.batches))

    async def _batches(self, batches: AsyncIterator[Batch]) -> AsyncIterator[Batch]:
        given = 0
        async for batch in batches:
            if given == _GOOD_BATCHES:
                match self._mood:
                    case "stalls":
                        await asyncio.Event().wait()
                    case "falters":
                        self._mood = "well"
                        raise SourceFailed("It falters.", transient=True)
                    case "fails":
                        raise SourceFailed("It fails.")
            yield batch
            given += 1


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at(point: Point, engine: sa.Engine) -> None:
    calls = itertools.count(1)
    here = threading.local()
    call = getattr(point.owner, point.call)

    @wraps(call)
    def called(*arguments: Any, **options: Any) -> Any:
        if next(calls) != point.nth:
            return call(*arguments, **options)
        if point.moment == "before":
            _die()
        here.inside = True
        try:
            answer = call(*arguments, **options)
        finally:
            here.inside = False
        if point.moment == "after":
            _die()
        return answer

    def moment(now: Moment) -> None:
        if point.moment == now and getattr(here, "inside", False):
            _die()

    setattr(point.owner, point.call, called)
    _around_commits(engine, lambda: moment("before commit"), lambda: moment("after commit"))


def die_at_step(last: int, engine: sa.Engine) -> None:
    steps = itertools.count(1)

    def step(*_: object) -> None:
        if next(steps) == last:
            _die()

    sa.event.listen(engine, "before_cursor_execute", step)
    sa.event.listen(engine, "after_cursor_execute", step)
    _around_commits(engine, step, step)


def _around_commits(engine: sa.Engine, before: Callable[[], None], after: Callable[[], None]) -> None:
    commit = engine.dialect.do_commit

    def committed(connection: Any) -> None:
        before()
        commit(connection)
        after()

    engine.dialect.do_commit = committed  # type: ignore[method-assign]
