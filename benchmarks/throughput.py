"""Rows a second, from a database to deduplicated entities, beside other tools: `make bench`.

Each contestant is a process, timed from its start to its end. They take turns at a first pull, the same pull again,
and once more with one row in a hundred changed. What each wrote is counted every time. The targets are databases of one
PostgreSQL server, which is also the source if that is PostgreSQL. It has default settings, but durability is off.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from subprocess import PIPE
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from benchmarks.contestants import (
    INTO_SQLITE,
    LEAF,
    OURS,
    PEERS_OF,
    READERS_OF,
    SORTED,
    Contestant,
    Order,
    Place,
    copies_of,
)
from benchmarks.sources import SOURCES, PostgreSQL, Source
from qanatix_pipelines.store import leaves
from qanatix_pipelines.store.engine import connect
from tests.servers import Server
from tests.sources.postgresql import server as postgresql

ROOT = Path(__file__).resolve().parents[1]
PHASES = ("first", "unchanged", "1 % changed")


@dataclass(frozen=True)
class Run:
    seconds: float
    peak: int  # bytes, of its largest process


class Bench:
    """One source, and a server with a database for each contestant."""

    def __init__(self, source: Source, targets: Server, folder: Path, rows: int, *, alone: bool) -> None:
        self._source, self._targets, self._folder, self._rows = source, targets, folder, rows
        kind = type(source)
        self._contestants = [OURS, INTO_SQLITE, *(() if alone else PEERS_OF[kind])]
        self._readers = READERS_OF[kind][:1] if alone else READERS_OF[kind]
        self._copies = kind is PostgreSQL
        self._runs: dict[str, dict[Contestant, list[Run]]] = {phase: defaultdict(list) for phase in PHASES}
        for contestant in (*self._contestants, *self._readers):
            contestant.bin()

    def round(self) -> None:
        self._source.fill(self._rows)
        places = {contestant.name: self._place(contestant) for contestant in (*self._contestants, *self._readers)}
        for phase in PHASES:
            if phase == PHASES[2]:
                self._source.change()
            for contestant in self._contestants if phase != PHASES[0] else (*self._contestants, *self._readers):
                self._run(contestant, places[contestant.name], phase)
            if phase == PHASES[0] and self._copies:
                self._copy(places[OURS.name].target)

    def told(self) -> list[str]:
        """The lines of a table, of the medians."""
        lines = []
        for phase, runs_of in self._runs.items():
            ours = statistics.median(run.seconds for run in runs_of[OURS])
            for contestant, runs in runs_of.items():
                taken = statistics.median(run.seconds for run in runs)
                peak = max(run.peak for run in runs) / 2**20
                lines.append(
                    f"| {phase} | {contestant.name} | {taken:.1f} | {self._rows / taken:,.0f} | {ours / taken:.2f} "
                    f"| {peak:.0f} | {contestant.settings} |"
                )
        return lines

    def _run(self, contestant: Contestant, place: Place, phase: str) -> None:
        run = _timed(contestant.order(place, contestant.bin()), place.folder / "log")
        self._runs[phase][contestant].append(run)
        print(f"  {contestant.name}, {phase}: {run.seconds:.1f} s", file=sys.stderr, flush=True)
        if contestant.counted:
            counted = contestant.counted(place)
            if counted != (self._rows, self._rows * (self._rows + 1) // 2):
                raise RuntimeError(f"{contestant.name} has {counted} after {phase}")

    def _copy(self, entities: str) -> None:
        with psycopg.connect(entities) as connection:
            connection.execute(f"CREATE TABLE {SORTED} AS SELECT * FROM {LEAF} ORDER BY id".encode())
        for contestant in copies_of(entities):
            place = self._place(contestant)
            migrated = {**os.environ, "QANATIX_STORE_URL": place.target, "QANATIX_DATA_DIR": str(place.folder)}
            subprocess.run(
                [Path(sys.executable).with_name("qanatix"), "migrate"], env=migrated, check=True, stderr=PIPE
            )
            engine = connect(place.target)
            with engine.begin() as transaction:
                leaves.make(transaction, 1)
                leaves.attach(transaction, 1)
            engine.dispose()
            self._run(contestant, place, PHASES[0])

    def _place(self, contestant: Contestant) -> Place:
        name = "bench_" + "".join(letter if letter.isalnum() else "_" for letter in contestant.name.lower())
        with psycopg.connect(self._targets.address, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        target = urlsplit(self._targets.address)._replace(path=f"/{name}").geturl()
        with psycopg.connect(target) as connection:
            connection.execute("CREATE SCHEMA peer")
        return Place(self._source, target, Path(tempfile.mkdtemp(dir=self._folder)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--source", choices=SOURCES, action="append", help="may be given several times; else all")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="how many times each contestant does all of it")
    parser.add_argument("--alone", action="store_true", help="without the peers, which are downloaded")
    options = parser.parse_args()
    print(
        f"{options.rows:,} rows, medians of {options.rounds}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, "
        + ", ".join(
            f"{name} {version(name)}" for name in ("polars", "asyncpg", "asyncmy", "pymongo", "neo4j", "psycopg")
        )
    )
    for name in options.source or SOURCES:
        _measure(SOURCES[name], options.rows, options.rounds, alone=options.alone)


def _measure(kind: type[Source], rows: int, rounds: int, *, alone: bool) -> None:
    with ExitStack() as stack:
        source = kind()
        stack.callback(source.stop)
        targets = source.server
        if kind is not PostgreSQL:
            targets = postgresql.start()
            stack.callback(targets.stop)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(source, targets, folder, rows, alone=alone)
        for number in range(rounds):
            print(f"{source.name}, round {number + 1}", file=sys.stderr, flush=True)
            bench.round()
        print(
            f"\n{source.version} to PostgreSQL {targets.version}\n\n"
            "| pull | | seconds | rows/s | rate beside ours | peak MiB | settings |\n|---|---|--:|--:|--:|--:|---|"
        )
        print("\n".join(bench.told()), flush=True)


def _timed(order: Order, log: Path) -> Run:
    began = time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in order.command],
            cwd=ROOT,
            env={**os.environ, **order.environment},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
        assert process.stdin is not None
        process.stdin.write(order.given.encode())
        process.stdin.close()
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{order.command[0]} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    return Run(seconds, used.ru_maxrss * 1024)


if __name__ == "__main__":
    main()
