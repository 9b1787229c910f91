"""Neo4j's clock, how far back its oldest transaction holds it, and what `:last_pull` is bound to by it."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, LiteralString

from qanatix_pipelines.watermarks import Watermark

Ask = Callable[[LiteralString], Awaitable[Any]]

# What :last_pull is on the first pull: below the start of the year 1, which other systems stamp for no time, and near
# enough for the server to count the milliseconds. 0000-01-01T00:00:00Z, in seconds since 1970.
_LEAST_SECONDS = -62_167_219_200
_LEAST_INTEGER = -(2**63)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def reach(ask: Ask, refusal: type[Exception]) -> tuple[datetime, datetime]:
    """The server's clock (UTC), and the same held back to the start of the oldest transaction that is still open.

    A node stamped in one of those may yet appear below the clock. What other users do is shown to those who have the
    privilege SHOW TRANSACTION, which in the Community Edition everybody has; for the rest the overlap stands in. `ask`
    gives the only value that a query returns, and raises `refusal` where the user may not have it.
    """
    now = _instant(await ask("RETURN datetime.realtime()"))
    try:
        oldest = await ask("SHOW TRANSACTIONS YIELD startTime RETURN min(datetime(toString(startTime)))")
    except refusal:
        oldest = None
    return now, now if oldest is None else min(now, _instant(oldest))


def _instant(told: Any) -> datetime:
    instant: datetime = told.to_native().astimezone(UTC)
    return instant


def bound(start: Watermark | None, connection: Any, *, integer: bool) -> object:
    """What `:last_pull` is bound to over a connection of the driver's; None stands for the least of its type."""
    if isinstance(start, datetime):
        return start
    if integer:
        return _LEAST_INTEGER if start is None else min(max(start, _LEAST_INTEGER), -_LEAST_INTEGER - 1)
    # The driver has no year before the first, but what it writes a time as has: it is not the same in all of Bolt.
    epoch = connection.new_hydration_scope().dehydration_hooks.get_transformer(_EPOCH)(_EPOCH)
    return type(epoch)(epoch.tag, _LEAST_SECONDS, 0, 0)
