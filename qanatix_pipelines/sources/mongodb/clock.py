"""MongoDB's clock, and up to which time its data is complete."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from qanatix_pipelines.errors import SourceFailed


def reach(hello: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """The server's clock, and the time up to which it has all data.

    A member of a replica set has it up to the last write that the majority has.
    """
    replicated = hello.get("lastWrite", {}).get("majorityWriteDate")
    clock = hello.get("localTime")
    if not isinstance(clock, datetime):
        raise SourceFailed("The source does not tell its time.")
    reach = min(clock, replicated) if isinstance(replicated, datetime) else clock
    return clock.replace(tzinfo=UTC), reach.replace(tzinfo=UTC)
