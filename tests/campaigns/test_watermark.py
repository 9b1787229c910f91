"""No row is lost: what is committed late is in one of the pulls, though an earlier one has gone past its stamp."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.conftest import DEEP
from tests.campaigns.followers import Followed, naive, product
from tests.campaigns.writers import LastCommit, write
from tests.campaigns.written import (
    Written,
    WrittenMariaDB,
    WrittenMongoDB,
    WrittenMySQL,
    WrittenNeo4j,
    WrittenPostgreSQL,
    WrittenSQLite,
)
from tests.conftest import server
from tests.servers import Server

SECONDS = 60 if DEEP else 20
SEEDS = range(1, 6) if DEEP else [1]
# The least that a connector may have.
SHORT_OVERLAP = 2
# Longer than the writers hold their transactions; a row whose transaction took longer than this is not promised.
LONG_OVERLAP = 6

# More numbers than are handed out while a transaction is open; likewise.
COUNT_OVERLAP = 2000

TABLES: dict[str, type[Written]] = {
    "postgresql": WrittenPostgreSQL,
    "mysql": WrittenMariaDB,
    "mongodb": WrittenMongoDB,
    "neo4j": WrittenNeo4j,
    "sqlite": WrittenSQLite,
}
if DEEP:
    TABLES["mysql97"] = WrittenMySQL


@dataclass(frozen=True)
class Told:
    """What is committed at the source, by id, and what each follower has of it."""

    server: Server
    seed: int
    source: dict[int, int]
    committed: dict[int, LastCommit]
    followed: dict[str, Followed]


@pytest.fixture(scope="module", params=SEEDS)
def campaigns(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Told]]]:
    """Of all databases at once, for each waits for most of its time."""
    folder, seed = tmp_path_factory.mktemp("followed"), request.param
    with ThreadPoolExecutor(len(TABLES)) as threads:
        yield {name: threads.submit(_campaign, name, seed, folder / name) for name in TABLES}


@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.parametrize("written_server", list(TABLES))
def test_late_commits_are_not_lost(
    written_server: str, campaigns: dict[str, Future[Told]], figures: Callable[[str], None]
) -> None:
    told = campaigns[written_server].result()

    source, followed = told.source, told.followed
    assert source == {row: last.value for row, last in told.committed.items()}
    lost = {name: {row for row in source if it.values.get(row) != source[row]} for name, it in followed.items()}
    found = [f"{name} {len(lost[name])} lost, {it.pulls} pulls, x{it.reread:.1f}" for name, it in followed.items()]
    figures(f"watermark {told.server.name} seed {told.seed}: {len(source)} rows; {'; '.join(found)}")
    # A transaction that took longer than the overlap, on a machine that stood still, is promised nothing.
    promised = {
        "probe": set(source),
        "overlap": {row for row, last in told.committed.items() if last.seconds < LONG_OVERLAP},
        "count": {row for row, last in told.committed.items() if last.changes < COUNT_OVERLAP},
    }
    for name, rows in lost.items():
        rule = name.rpartition(" ")[2]
        if rule == "max":
            assert rows, f"{name} loses nothing, so there was nothing to lose"
        else:
            assert not rows & promised[rule], name


def _campaign(name: str, seed: int, folder: Path) -> Told:
    there = TABLES[name](server(name))
    folder.mkdir()
    ended = threading.Event()
    with ExitStack() as stack, ThreadPoolExecutor(16) as threads:
        following: dict[str, Future[Followed]] = {}

        def follow(rule: str, cursor: str, config: Mapping[str, Any] | None, **options: object) -> None:
            if config is not None:
                place = folder / f"{rule} {cursor}"
                opened = product(place, there.connector_type, config, there.query(cursor), there.allowed, **options)
                following[f"{cursor} by {rule}"] = threads.submit(stack.enter_context(opened).follow, ended)

        try:
            for stamp in there.stamps:
                follow("probe", stamp, there.seeing(), overlap=SHORT_OVERLAP)
                follow("overlap", stamp, there.blind(), overlap=LONG_OVERLAP)
            if there.number:
                follow("count", there.number, there.blind(), overlap=COUNT_OVERLAP, cursor_column=there.number)
            for cursor in there.late:
                following[f"{cursor} by max"] = threads.submit(naive, partial(there.rows, cursor), ended)
            end = time.monotonic() + SECONDS
            committed = asyncio.run(write(there.connect, there.language, seed, lambda: time.monotonic() > end))
        finally:
            ended.set()
        followed = {name: future.result() for name, future in following.items()}

    source = {row: value for row, value, _ in there.rows(there.stamps[0], None)}
    return Told(there.server, seed, source, committed, followed)
