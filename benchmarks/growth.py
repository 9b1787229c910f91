"""What a row costs as the store grows: `make bench-growth`.

One entity set of each store, PostgreSQL and SQLite, is filled with `--rows` entities, in pulls of a million at most.
Once with few entities and once with all of them, new rows are pulled, and then the same rows again, unchanged. The last
column is the ratio of what a row costs with many entities to what it costs with few.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from uuid import uuid4

from benchmarks.sources import PostgreSQL
from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.pull import run_pull
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store.engine import PULL_PATIENCE_SECONDS
from qanatix_pipelines.store.opening import Store, open_store
from tests.sources.postgresql import server as postgresql

FEW = 100_000
STEP = 1_000_000
PROBE = 100_000


class Growth:
    """A store, and a source of items that it does not hold yet."""

    def __init__(self, store: Store, source: PostgreSQL, probes: int) -> None:
        self._store, self._source, self._probes = store, source, probes
        self._unused = count()

    def fill(self, first: int, last: int) -> float:
        """Seconds for each row of those with ids above `first`, up to `last`."""
        return self._pulled(self._connector(first, last), last - first)

    def probe(self) -> tuple[float, float]:
        """Seconds for a new row, and for the same one again."""
        taken = []
        for _ in range(self._probes):
            first = -PROBE * (next(self._unused) + 1)
            connector = self._connector(first, first + PROBE)
            taken.append([self._pulled(connector, PROBE), self._pulled(connector, 0, PROBE)])
        new, unchanged = (statistics.median(column) for column in zip(*taken, strict=True))
        return new, unchanged

    def _connector(self, first: int, last: int) -> Connector:
        self._source.fill(last, first)
        given = {
            "name": f"Items above {first}",
            "connector_type": self._source.connector_type,
            "connection_config": self._source.config,
            "query": self._source.query,
            "vertical": "bench",
            "entity_type": "item",
            "batch_size": 5000,
        }
        return self._store.connectors.add(NewConnector.model_validate(given))

    def _pulled(self, connector: Connector, new: int, rows: int | None = None) -> float:
        current = self._store.connectors.get(connector.id)
        receipt = self._store.pulls.begin(current, f"run-{uuid4()}")
        began = time.perf_counter()
        ended = run_pull(self._store, current, receipt, partial(open_source, current.connector_type)).receipt
        seconds = time.perf_counter() - began
        if (ended.records_pulled, ended.records_ingested) != (rows or new, new):
            raise RuntimeError(f"{new} of {rows or new} rows are new, and the receipt says {ended}")
        return seconds / (rows or new)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-growth ARGS=...", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--probes", type=int, default=3, help="how many pulls of 100,000 rows are measured each time")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}")
    source = PostgreSQL()
    targets = postgresql.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, address in (("PostgreSQL", targets.address), ("SQLite", f"sqlite:///{folder}/store.db")):
                settings = Settings(
                    data_dir=Path(folder), store_url=address, encryption_key=new_fernet_key(), pepper="p" * 32
                )
                _measure(
                    name, Growth(open_store(settings, PULL_PATIENCE_SECONDS), source, options.probes), options.rows
                )
    finally:
        targets.stop()
        source.stop()


def _measure(name: str, growth: Growth, rows: int) -> None:
    print(f"\n{name}\n\n| entities | | us a row | |\n|--:|---|--:|--:|")
    growth.fill(0, FEW)
    few = _probed(growth, FEW)
    for first, last in pairwise([FEW, *range(STEP, rows, STEP), rows]):
        print(f"| {last:,} | the last {last - first:,} of them | {growth.fill(first, last) * 1e6:.1f} | |", flush=True)
    many = _probed(growth, rows)
    for kind, before, after in zip(("new", "unchanged"), few, many, strict=True):
        print(f"| {rows:,} beside {FEW:,} | {kind} | | {after / before:.2f} |", flush=True)


def _probed(growth: Growth, entities: int) -> tuple[float, float]:
    new, unchanged = growth.probe()
    print(f"| {entities:,} | {PROBE:,} new ones | {new * 1e6:.1f} | |")
    print(f"| {entities:,} | {PROBE:,} unchanged ones | {unchanged * 1e6:.1f} | |", flush=True)
    return new, unchanged


if __name__ == "__main__":
    main()
