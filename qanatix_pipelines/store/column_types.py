"""The types of the tables' columns, which SQLite and PostgreSQL keep each in its own way."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator, UserDefinedType

from qanatix_pipelines.watermarks import Watermark


class Instant(TypeDecorator[datetime]):
    """An aware time in UTC. SQLite has no type for it and keeps it without its zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class WatermarkText(TypeDecorator[Watermark]):
    """A watermark as text: a time in UTC, or the digits of an integer, which may not fit into 64 bits."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Watermark | None, _dialect: sa.Dialect) -> str | None:
        if isinstance(value, datetime):
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, _dialect: sa.Dialect) -> Watermark | None:
        if value is None:
            return None
        return datetime.fromisoformat(value).replace(tzinfo=UTC) if ":" in value else int(value)


class JsonText(UserDefinedType[str]):
    """JSON as it was written. On PostgreSQL `json`, because `jsonb` refuses an escaped NUL and rewrites numbers."""

    cache_ok = True

    def column_expression(self, colexpr: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(colexpr, sa.Text)

    def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[Any]:
        return sa.cast(bindvalue, JsonText)


@compiles(JsonText, "postgresql")
def _json(*_: Any, **__: Any) -> str:
    return "JSON"


@compiles(JsonText, "sqlite")
def _text(*_: Any, **__: Any) -> str:
    return "TEXT"
