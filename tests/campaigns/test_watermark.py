"""No row is lost: what is committed late is in one of the pulls, though an earlier one has gone past its stamp."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.conftest import DEEP
from tests.campaigns.followers import Followed, naive, product
from tests.campaigns.writers import write
from tests.campaigns.written import (
    Written,
    WrittenMariaDB,
    WrittenMongoDB,
    WrittenMySQL,
    WrittenNeo4j,
    WrittenPostgreSQL,
)
from tests.conftest import server

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
}
if DEEP:
    TABLES["mysql97"] = WrittenMySQL


@pytest.fixture(params=list(TABLES))
def written_server(request: pytest.FixtureRequest) -> Written:
    return TABLES[request.param](server(request.param))


@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.parametrize("seed", SEEDS)
def test_late_commits_are_not_lost(
    written_server: Written, seed: int, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    there = written_server
    seconds = SECONDS if there.connector_type in ("postgresql", "mysql") else SECONDS / 2
    ended = threading.Event()
    with ExitStack() as stack, ThreadPoolExecutor(16) as threads:
        following: dict[str, Future[Followed]] = {}

        def follow(rule: str, cursor: str, config: Mapping[str, Any] | None, **options: object) -> None:
            if config is not None:
                folder = tmp_path / f"{rule} {cursor}"
                opened = product(folder, there.connector_type, config, there.query(cursor), **options)
                following[f"{cursor} by {rule}"] = threads.submit(stack.enter_context(opened).follow, ended)

        try:
            for stamp in there.stamps:
                follow("probe", stamp, there.seeing(), overlap=SHORT_OVERLAP)
                follow("overlap", stamp, there.blind(), overlap=LONG_OVERLAP)
            if there.number:
                follow("count", there.number, there.blind(), overlap=COUNT_OVERLAP, cursor_column=there.number)
            for cursor in there.late:
                following[f"{cursor} by max"] = threads.submit(naive, partial(there.rows, cursor), ended)
            end = time.monotonic() + seconds
            committed = asyncio.run(write(there.connect, there.language, seed, lambda: time.monotonic() > end))
        finally:
            ended.set()
        followed = {name: future.result() for name, future in following.items()}

    source = {row: value for row, value, _ in there.rows(there.stamps[0], None)}
    assert source == {row: last.value for row, last in committed.items()}
    lost = {name: {row for row in source if it.values.get(row) != source[row]} for name, it in followed.items()}
    told = [f"{name} {len(lost[name])} lost, {it.pulls} pulls, x{it.reread:.1f}" for name, it in followed.items()]
    figures(f"watermark {there.server.name} seed {seed}: {len(source)} rows; {'; '.join(told)}")
    # A transaction that took longer than the overlap, on a machine that stood still, is promised nothing.
    promised = {
        "probe": set(source),
        "overlap": {row for row, last in committed.items() if last.seconds < LONG_OVERLAP},
        "count": {row for row, last in committed.items() if last.changes < COUNT_OVERLAP},
    }
    for name, rows in lost.items():
        rule = name.rpartition(" ")[2]
        if rule == "max":
            assert rows, f"{name} loses nothing, so there was nothing to lose"
        else:
            assert not rows & promised[rule], name
