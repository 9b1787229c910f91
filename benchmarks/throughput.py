"""Rows a second, from a PostgreSQL table to deduplicated entities, beside what others do: `make bench`.

Each contestant is a process, timed from its start to its end, in turns with the others: a first pull, the same again,
and again with one row in a hundred changed. What it wrote is counted each time. The source and the targets are one
server, as its documentation leaves it but for its durability, which is off for all of them alike.
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
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from subprocess import PIPE
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from benchmarks.contestants import COPY, OURS, PEERS_THAT_MERGE, READERS, Contestant, Order, Place, ours
from tests.servers import postgresql

ROOT = Path(__file__).resolve().parents[1]
PHASES = ("first", "unchanged", "1 % changed")
# Eleven columns of the usual types, some 250 bytes a row.
ITEMS = """
CREATE TABLE items AS
SELECT n AS id, 'Item ' || n AS name, (n * 1.25)::numeric(14, 2) AS price, n * 0.5::float8 AS weight, n % 7 AS kind,
       n % 3 = 0 AS active, md5(n::text) AS code, repeat('lorem ', 1 + (n % 10)::int) AS notes,
       now() - n * interval '1 s' AS updated_at, (now() - n * interval '1 s')::date AS day,
       jsonb_build_object('n', n, 'of', ARRAY[n, n + 1]) AS extra
FROM generate_series(1, {}::bigint) n
"""
SQLITE = ours("ours, into SQLite", lambda _place: None, "")


@dataclass(frozen=True)
class Run:
    seconds: float
    peak: int  # bytes, of its largest process


class Bench:
    """One server: the source's database, and one for each contestant."""

    def __init__(self, address: str, folder: Path, rows: int) -> None:
        self._source, self._folder, self.rows = address, folder, rows
        self._runs: dict[tuple[str, str], list[Run]] = defaultdict(list)

    def round(self, contestants: list[Contestant]) -> None:
        self._fill()
        places = {contestant.name: self._place(contestant) for contestant in contestants}
        for phase in PHASES:
            if phase == PHASES[2]:
                self._change()
            for contestant in contestants:
                if contestant in READERS and phase != PHASES[0]:
                    continue
                self._run(contestant, places[contestant.name], phase)
            if phase == PHASES[0]:
                self._copy(places[OURS.name].target)

    def told(self, contestants: list[Contestant]) -> list[str]:
        lines = []
        for phase in PHASES:
            mine = self._median(OURS.name, phase)
            for contestant in contestants:
                if runs := self._runs.get((contestant.name, phase)):
                    taken = self._median(contestant.name, phase)
                    peak = max(run.peak for run in runs) / 2**20
                    lines.append(
                        f"| {phase} | {contestant.name} | {taken:.1f} | {self.rows / taken:,.0f} | {mine / taken:.2f} "
                        f"| {peak:.0f} | {contestant.settings} |"
                    )
        return lines

    def _median(self, name: str, phase: str) -> float:
        return statistics.median(run.seconds for run in self._runs[name, phase])

    def _run(self, contestant: Contestant, place: Place, phase: str) -> None:
        programs = contestant.bin()
        run = _timed(contestant.order(place, programs), place.folder / "log")
        self._runs[contestant.name, phase].append(run)
        print(f"  {contestant.name}, {phase}: {run.seconds:.1f} s", file=sys.stderr, flush=True)
        if contestant.counted:
            with psycopg.connect(place.target) as connection:
                counted = connection.execute(contestant.counted.encode()).fetchone()
            if counted != (self.rows, self.rows * (self.rows + 1) // 2):
                raise RuntimeError(f"{contestant.name} has {counted} after {phase}")

    def _copy(self, entities: str) -> None:
        place = self._place(COPY)
        migrated = {**os.environ, "QANATIX_STORE_URL": place.target, "QANATIX_DATA_DIR": str(place.folder)}
        subprocess.run([Path(sys.executable).with_name("qanatix"), "migrate"], env=migrated, check=True, stdout=PIPE)
        self._run(COPY, replace(place, source=entities), PHASES[0])

    def _fill(self) -> None:
        with psycopg.connect(self._source, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS items")
            connection.execute(ITEMS.format(self.rows).encode())
            connection.execute("ALTER TABLE items ADD PRIMARY KEY (id)")
            connection.execute("VACUUM ANALYZE items")

    def _change(self) -> None:
        with psycopg.connect(self._source, autocommit=True) as connection:
            connection.execute("UPDATE items SET code = 'changed' WHERE id % 100 = 0")

    def _place(self, contestant: Contestant) -> Place:
        name = "bench_" + "".join(letter if letter.isalnum() else "_" for letter in contestant.name.lower())
        with psycopg.connect(self._source, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        target = urlsplit(self._source)._replace(path=f"/{name}").geturl()
        with psycopg.connect(target) as connection:
            connection.execute("CREATE SCHEMA peer")
        return Place(self._source, target, Path(tempfile.mkdtemp(dir=self._folder)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="how often each contestant does all of it")
    parser.add_argument("--alone", action="store_true", help="without the peers, which are downloaded")
    options = parser.parse_args()
    contestants = [OURS, SQLITE, *READERS[:1]] if options.alone else [OURS, SQLITE, *PEERS_THAT_MERGE, *READERS]
    for contestant in contestants:
        contestant.bin()
    server = postgresql.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(server.address, Path(folder), options.rows)
            for number in range(options.rounds):
                print(f"round {number + 1}", file=sys.stderr, flush=True)
                bench.round(contestants)
            _say_versions(server.version, options.rows, options.rounds)
            print("\n".join(bench.told([*contestants, COPY])))
    finally:
        server.stop()


def _say_versions(server: str, rows: int, rounds: int) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("polars", "asyncpg", "psycopg", "sqlalchemy"))
    print(
        f"{rows:,} rows, medians of {rounds}; Python {platform.python_version()}, {packages}, PostgreSQL {server}; "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n\n"
        "| pull | | seconds | rows/s | rate beside ours | peak MiB | settings |\n|---|---|--:|--:|--:|--:|---|"
    )


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
