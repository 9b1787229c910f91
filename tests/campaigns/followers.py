"""Those who follow a source that is written: the product, pull after pull, and the rule that everybody writes first."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.pull import run_pull
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.opening import Store, open_store

PAUSE_SECONDS = 0.2
# Alembic makes the tables of one store at a time in a process.
_one_thread = threading.Lock()


@dataclass
class Followed:
    """What a follower has of the source, by id, and what it took to get it."""

    values: Mapping[int, int]
    pulls: int
    pulled: int
    ingested: int

    @property
    def reread(self) -> float:
        """Rows read for each that was new or changed."""
        return self.pulled / max(self.ingested, 1)


@dataclass
class Product:
    """A store and one connector in it."""

    store: Store
    connector: Connector
    allowed: Mapping[str, Any]
    receipts: list[Receipt] = field(default_factory=list, init=False)

    def pull(self) -> None:
        current = self.store.connectors.get(self.connector.id)
        receipt = self.store.pulls.begin(current, f"run-{uuid4()}")
        opened = partial(open_source, current.connector_type, **self.allowed)
        self.receipts.append(run_pull(self.store, current, receipt, opened).receipt)

    def follow(self, ended: threading.Event) -> Followed:
        """Pull until a while after the writing has `ended`: the last pull begins after that."""
        _repeat(self.pull, ended)
        pulled = sum(receipt.records_pulled for receipt in self.receipts)
        ingested = sum(receipt.records_ingested for receipt in self.receipts)
        return Followed(self.values(), len(self.receipts), pulled, ingested)

    def values(self) -> dict[int, int]:
        with self.store.engine.connect() as connection:
            rows = connection.execute(sa.select(tables.entity.c.data)).scalars()
            entities = [json.loads(data) for data in rows]
        return {int(entity["id"]): int(entity["value"]) for entity in entities}


@contextmanager
def product(
    folder: Path,
    connector_type: str,
    config: Mapping[str, Any],
    query: str,
    allowed: Mapping[str, Any] | None = None,
    **options: object,
) -> Iterator[Product]:
    """A store of its own, in SQLite, with a connector whose query returns `id` and `value`.

    `allowed` is what `open_source` is told beside the config.
    """
    folder.mkdir()
    settings = Settings(data_dir=folder, encryption_key=new_fernet_key(), pepper="that these tests alone know")
    with _one_thread:
        store = open_store(settings)
    given = {
        "name": "Written",
        "connector_type": connector_type,
        "vertical": "testing",
        "entity_type": "item",
        "connection_config": dict(config),
        "query": query,
    }
    try:
        yield Product(store, store.connectors.add(NewConnector.model_validate(given | options)), allowed or {})
    finally:
        store.engine.dispose()


def naive(read: Callable[[Any], list[tuple[int, int, Any]]], ended: threading.Event) -> Followed:
    """Follow by the greatest stamp seen: `read` gives (id, value, stamp) of what is stamped later, or of all."""
    values: dict[int, int] = {}
    pulls = pulled = 0
    last = None

    def pull_once() -> None:
        nonlocal last, pulls, pulled
        rows = read(last)
        values.update({row: value for row, value, _ in rows})
        last = max((stamp for *_, stamp in rows), default=last)
        pulls += 1
        pulled += len(rows)

    _repeat(pull_once, ended)
    return Followed(values, pulls, pulled, pulled)


def _repeat(pull_once: Callable[[], None], ended: threading.Event) -> None:
    while True:
        last = ended.is_set()
        pull_once()
        if last:
            return
        ended.wait(PAUSE_SECONDS)
