"""A store whose one connector was pulled once, and what its next pull ought to do, whatever happens to the store."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from qanatix_pipelines.connectors import NewConnector
from qanatix_pipelines.pull import Limits, Progress, run_pull
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store.opening import open_store
from tests.campaigns.contents import contents, made, put_back
from tests.sources.postgresql.harness import PostgreSQLHarness

# Rows of a kilobyte.
QUERY = "SELECT id, name, repeat(md5(id::text), 30) AS text FROM items WHERE updated_at > :last_pull ORDER BY id"
FIRST, SECOND, CHANGED = 150, 300, 10
BATCH_SIZE = 60
BATCHES = SECOND // BATCH_SIZE


class Subject:
    """`settings` are of an empty store. `kept` is what it held before the second pull, which can be made again."""

    def __init__(self, settings: Settings, harness: PostgreSQLHarness) -> None:
        self.store = open_store(settings)
        _fill(harness, FIRST)
        new = NewConnector(
            name="Items",
            connector_type="postgresql",
            vertical="testing",
            entity_type="item",
            connection_config=harness.config,
            query=QUERY,
            batch_size=BATCH_SIZE,
        )
        self.connector_id = self.store.connectors.add(new).id
        self.pull()
        _fill(harness, SECOND)
        for item in range(1, CHANGED + 1):
            harness.forget_name(item)
        self.kept = contents(self.store.engine)
        receipt = self.pull()
        assert (receipt.records_ingested, receipt.duplicates_skipped) == (SECOND - FIRST + CHANGED, FIRST - CHANGED)
        self._clean = self._made(receipt.id)

    def put_back(self) -> None:
        put_back(self.store.engine, self.kept)

    def begin(self) -> Receipt:
        return self.store.pulls.begin(self.store.connectors.get(self.connector_id), "run")

    def pull(
        self, receipt: Receipt | None = None, on_batch: Callable[[Progress], None] = lambda _progress: None
    ) -> Receipt:
        """Run a pull that was begun, or a new one."""
        receipt = receipt or self.begin()
        connector = self.store.connectors.get(self.connector_id)
        opening = partial(open_source, connector.connector_type)
        limits = Limits(pauses=(0, 0))
        return run_pull(self.store, connector, receipt, opening, limits=limits, on_batch=on_batch).receipt

    def again(self, pull: Receipt) -> Receipt:
        """Run the next attempt of a pull that is live yet, as the sensor would have it, else another pull."""
        pull = self.store.pulls.get(pull.id)
        if not pull.status.live:
            return self.pull()
        assert self.store.pulls.retry(pull)
        return self.pull(self.store.pulls.claim(pull.id, self.store.connectors.get(self.connector_id), "next run"))

    def as_clean(self, pull: Receipt) -> bool:
        """Whether the store is now as the second pull leaves it that nothing happens to."""
        return self._made(pull.id) == self._clean

    def untouched(self) -> bool:
        """Whether nothing of the second pull is to be seen."""
        found = contents(self.store.engine)
        return all(found[table] == self.kept[table] for table in ("connector", "entity"))

    def _made(self, pull_id: UUID) -> dict[str, Any]:
        found = made(self.store.engine, self.kept, pull_id)
        del found["other receipts"]  # there may be one of a pull that failed
        return found


def _fill(harness: PostgreSQLHarness, rows: int) -> None:
    harness.fill(rows)
    harness.touch(range(1, rows + 1))
