"""Neo4j: what it is called, what a query of it may say, and how it is read."""

from contextlib import AbstractAsyncContextManager

from qanatix_pipelines.batches import Reading
from qanatix_pipelines.sources.neo4j.config import Config
from qanatix_pipelines.sources.neo4j.query import parse_cypher
from qanatix_pipelines.sources.neo4j.slips import check_cypher
from qanatix_pipelines.sources.source import Asked, Source
from qanatix_pipelines.watermarks import Window


class Neo4j(Source):
    config_type = Config
    title = "Neo4j"
    kind = "neo4j"

    def __init__(self, config: Config) -> None:
        self._config = config

    @classmethod
    def check_query(cls, query: str) -> Asked:
        asked = parse_cypher(query).asked
        check_cypher(query)
        return asked

    def read(self, query: str, *, window: Window, batch_size: int) -> AbstractAsyncContextManager[Reading]:
        from qanatix_pipelines.sources.neo4j.reading import read  # it loads the driver

        return read(
            self._config,
            query,
            window=window,
            batch_size=batch_size,
            named=self.named,
            strong_accounts=self.strong_accounts,
            passed=self.passed,
        )


source = Neo4j
