"""PostgreSQL: what it is called, what a query of it may say, and how it is read."""

from contextlib import AbstractAsyncContextManager

from qanatix_pipelines.batches import Reading
from qanatix_pipelines.sources.postgresql.config import Config, parse_dsn
from qanatix_pipelines.sources.postgresql.query import parse_postgresql
from qanatix_pipelines.sources.sql_source import SqlSource
from qanatix_pipelines.watermarks import Window


class PostgreSQL(SqlSource):
    config_type = Config
    title = "PostgreSQL"
    kind = "postgres"
    dialect = "postgres"
    quote = '"'
    parse = staticmethod(parse_postgresql)

    def __init__(self, config: Config) -> None:
        self._dsn = parse_dsn(config.dsn.get_secret_value())

    def read(self, query: str, *, window: Window, batch_size: int) -> AbstractAsyncContextManager[Reading]:
        from qanatix_pipelines.sources.postgresql.reading import read  # it loads the driver

        return read(
            self._dsn,
            query,
            window=window,
            batch_size=batch_size,
            strong_accounts=self.strong_accounts,
            passed=self.passed,
        )


source = PostgreSQL
