"""Runs that are killed while other connectors commit every five seconds: each is begun again within a minute.

What others commit is no sign of a dead pull's life, also where each commit holds the store's only lock.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests import stack as stacks
from tests.campaigns.conftest import DEEP
from tests.conftest import new_database, server
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System, process_of, until

KILLS = 30 if DEEP else 3
AT_ONCE = 6 if DEEP else 3
EVERY_SECONDS = 5
BEGUN_AGAIN_SECONDS = 60
ROWS = 200
# Twenty rows a second, for ten seconds: time to be killed in.
SLOW = f"SELECT n AS id, 'Item ' || n AS name, pg_sleep(0.05)::text AS slept FROM generate_series(1, {ROWS}) AS n"
CHANGING = "SELECT n AS id, clock_timestamp()::text AS name FROM generate_series(1, 100) AS n"


@dataclass(frozen=True)
class Told:
    """How long after each kill its pull was begun again, and how often others committed meanwhile."""

    waits: list[float]
    commits: int


@pytest.fixture(scope="module")
def campaigns(stack: System, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[Told]]:
    """Over both kinds of store at once, for it waits for most of its time."""
    with _on_postgresql(tmp_path_factory.mktemp("stack")) as other, ThreadPoolExecutor(2) as threads:
        return {kind: threads.submit(_campaign, kind, on) for kind, on in (("sqlite", stack), ("postgresql", other))}


@contextmanager
def _on_postgresql(folder: Path) -> Iterator[System]:
    running = stacks.start(folder, {"QANATIX_STORE_URL": new_database(server("postgresql"))})
    system = System(running)
    try:
        yield system
    finally:
        system.api.close()
        running.stop()


@pytest.mark.stack
@pytest.mark.server
@pytest.mark.timeout(600 if not DEEP else 3600)
def test_a_run_that_is_killed_while_others_commit_is_begun_again_within_a_minute(
    store_kind: str, campaigns: dict[str, Future[Told]], figures: Callable[[str], None]
) -> None:
    told = campaigns[store_kind].result()

    waits = told.waits
    figures(
        f"kill among others {store_kind}: {len(waits)} kills while others committed {told.commits} times, begun again "
        f"after {max(waits):.0f} s at the latest, {sum(waits) / len(waits):.0f} s on average"
    )
    assert max(waits) < BEGUN_AGAIN_SECONDS


def _campaign(store_kind: str, stack: System) -> Told:
    harness, random = PostgreSQLHarness(server("postgresql")), Random(f"20261130 {store_kind}")
    victims = [stack.register(SLOW, harness.config, batch_size=10) for _ in range(AT_ONCE)]
    others = [stack.register(CHANGING, harness.config) for _ in range(3)]
    waits: list[float] = []
    with _pulled_all_the_time(stack, others):
        while len(waits) < KILLS:
            killed = {}
            for victim in victims:
                pull = _begun(stack, victim)
                time.sleep(random.uniform(0, 2))
                os.kill(process_of(stack, _receipt(stack, pull)["run_id"]), signal.SIGKILL)
                killed[pull] = time.monotonic()
            waits += _waits(stack, killed)
            for pull in killed:
                until(lambda: _receipt(stack, pull)["ended_at"] is not None)  # noqa: B023
                ended = _receipt(stack, pull)
                assert (ended["status"], ended["attempts"], ended["records_pulled"]) == ("completed", 2, ROWS), ended
    return Told(waits, sum(_completed(stack, other) for other in others))


@contextmanager
def _pulled_all_the_time(stack: System, others: list[dict[str, Any]]) -> Iterator[None]:
    """One of them every five seconds, in turns, each with rows that have changed."""
    enough = threading.Event()

    def go_on() -> None:
        for other in cycle(others):
            if enough.wait(EVERY_SECONDS):
                return
            stack.api.post(f"/connectors/{other['id']}/pull?wait=false")

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def _begun(stack: System, connector: dict[str, Any]) -> str:
    """A pull that has read some rows."""
    pull: str = stack.api.post(f"/connectors/{connector['id']}/pull?wait=false").json()["pull_id"]
    until(lambda: _receipt(stack, pull)["progress"]["records_read"] > 0)
    return pull


def _waits(stack: System, killed: dict[str, float]) -> list[float]:
    """How long after its run was killed each pull had another, which had begun it."""
    waits: dict[str, float] = {}

    def all_begun() -> bool:
        for pull in killed.keys() - waits.keys():
            receipt = _receipt(stack, pull)
            if receipt["attempts"] == 2 and receipt["status"] != "queued":
                waits[pull] = time.monotonic() - killed[pull]
        return len(waits) == len(killed)

    until(all_begun, seconds=5 * BEGUN_AGAIN_SECONDS)
    return list(waits.values())


def _receipt(stack: System, pull: str) -> dict[str, Any]:
    receipt: dict[str, Any] = stack.api.get(f"/pulls/{pull}").json()
    return receipt


def _completed(stack: System, connector: dict[str, Any]) -> int:
    page = stack.api.get(f"/connectors/{connector['id']}/pulls", params={"status": "completed", "limit": 100}).json()
    return len(page["items"])
