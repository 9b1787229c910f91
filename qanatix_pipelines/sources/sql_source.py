"""What the sources have in common that speak SQL: each says its dialect, how it quotes a name, and its parser."""

from collections.abc import Callable
from typing import ClassVar

from qanatix_pipelines.sources.slips import check_sql
from qanatix_pipelines.sources.source import Asked, Source
from qanatix_pipelines.sources.sql import NAME, UNTIL, SqlQuery, greatest


class SqlSource(Source):
    # sqlglot's name for it.
    dialect: ClassVar[str]
    # It stands around a name, and doubled within it.
    quote: ClassVar[str]
    # Raises QueryRejected.
    parse: Callable[[str], SqlQuery]

    @classmethod
    def check_query(cls, query: str) -> Asked:
        statement = cls.parse(query)
        check_sql(query, cls.dialect)
        return Asked(last_pull=statement.asks_for(NAME), until=statement.asks_for(UNTIL))

    @classmethod
    def newest(cls, query: str, column: str) -> str:
        quoted = cls.quote + column.replace(cls.quote, 2 * cls.quote) + cls.quote
        return greatest(cls.parse(query), quoted)
