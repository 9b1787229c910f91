"""MongoDB: what it is called, what a query of it may say, and how it is read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from qanatix_pipelines.batches import Reading
from qanatix_pipelines.sources.mongodb.config import Config
from qanatix_pipelines.sources.mongodb.faults import SnapshotLost
from qanatix_pipelines.sources.mongodb.query import newest, parse_mongo_query
from qanatix_pipelines.sources.mongodb.slips import check_filter
from qanatix_pipelines.sources.source import Asked, Source
from qanatix_pipelines.watermarks import Window


class MongoDB(Source):
    config_type = Config
    title = "MongoDB"
    kind = "mongodb"

    def __init__(self, config: Config) -> None:
        self._config = config
        self._snapshots = True

    @classmethod
    def check_query(cls, query: str) -> Asked:
        check_filter(query)
        return parse_mongo_query(query).asked

    @classmethod
    def newest(cls, query: str, column: str) -> str:
        return newest(query, column)

    @asynccontextmanager
    async def read(self, query: str, *, window: Window, batch_size: int) -> AsyncIterator[Reading]:
        from qanatix_pipelines.sources.mongodb.reading import read  # it loads the driver

        try:
            async with read(
                self._config,
                query,
                window=window,
                batch_size=batch_size,
                named=self.named,
                strong_accounts=self.strong_accounts,
                snapshots=self._snapshots,
                passed=self.passed,
            ) as reading:
                yield reading
        except SnapshotLost:
            self._snapshots = False  # for the next attempt
            raise


source = MongoDB
