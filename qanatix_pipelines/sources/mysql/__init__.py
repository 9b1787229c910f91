"""MySQL and MariaDB: what they are called, what a query of theirs may say, and how they are read."""

from contextlib import AbstractAsyncContextManager

from qanatix_pipelines.batches import Reading
from qanatix_pipelines.sources.mysql.config import Config
from qanatix_pipelines.sources.mysql.query import parse_mysql
from qanatix_pipelines.sources.sql_source import SqlSource
from qanatix_pipelines.watermarks import Window


class MySQL(SqlSource):
    config_type = Config
    title = "MySQL and MariaDB"
    kind = "mysql"
    dialect = "mysql"
    quote = "`"
    parse = staticmethod(parse_mysql)

    def __init__(self, config: Config) -> None:
        self._config = config

    def read(self, query: str, *, window: Window, batch_size: int) -> AbstractAsyncContextManager[Reading]:
        from qanatix_pipelines.sources.mysql.reading import read  # it loads the driver

        return read(
            self._config,
            query,
            window=window,
            batch_size=batch_size,
            strong_accounts=self.strong_accounts,
            passed=self.passed,
        )


source = MySQL
