"""The store's time: UTC, in microseconds."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)
