"""The types of the tables' columns, which SQLite and PostgreSQL keep each in its own way."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator, TypeEngine

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


class EntityId(TypeDecorator[UUID]):
    """A UUID. SQLite, which has no type for it, keeps its 16 bytes."""

    impl = sa.Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(sa.LargeBinary(16) if dialect.name == "sqlite" else sa.Uuid())

    def process_bind_param(self, value: UUID | None, dialect: sa.Dialect) -> UUID | bytes | None:
        return value.bytes if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, _dialect: sa.Dialect) -> UUID | None:
        return UUID(bytes=value) if isinstance(value, bytes) else value
