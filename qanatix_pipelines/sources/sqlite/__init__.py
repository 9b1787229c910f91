"""SQLite: what it is called, what a query of it may say, and how a file of it is read."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from qanatix_pipelines.batches import Reading
from qanatix_pipelines.sources.sql_source import SqlSource
from qanatix_pipelines.sources.sqlite.config import Config
from qanatix_pipelines.sources.sqlite.query import DIALECT, parse_sqlite
from qanatix_pipelines.watermarks import Window


class SQLite(SqlSource):
    config_type = Config
    title = "SQLite"
    kind = "sqlite"
    folders: Sequence[Path] = ()
    dialect = DIALECT
    # In double quotes, SQLite would take a name that is no column's for a text.
    quote = "`"
    parse = staticmethod(parse_sqlite)

    def __init__(self, config: Config) -> None:
        self._config = config

    def read(self, query: str, *, window: Window, batch_size: int) -> AbstractAsyncContextManager[Reading]:
        from qanatix_pipelines.sources.sqlite.reading import read  # it loads the driver

        return read(
            self._config.path,
            self.folders,
            query,
            window=window,
            batch_size=batch_size,
            named=self.named,
            passed=self.passed,
        )


source = SQLite
