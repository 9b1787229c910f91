"""MongoDB's clock, and how far what it shows has come."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from qanatix_pipelines.errors import SourceFailed


def reach(hello: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """The server's clock, and how far it has seen: a member of a replica set to the last write of its majority."""
    replicated = hello.get("lastWrite", {}).get("majorityWriteDate")
    clock = hello.get("localTime")
    if not isinstance(clock, datetime):
        raise SourceFailed("The source does not tell its time.")
    reach = min(clock, replicated) if isinstance(replicated, datetime) else clock
    return clock.replace(tzinfo=UTC), reach.replace(tzinfo=UTC)
