"""Neo4j's clock, the start of its oldest open transaction, and what `:last_pull` and `:until` are bound to."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, LiteralString, NamedTuple

from qanatix_pipelines.sources.driver import LEAST_INTEGER
from qanatix_pipelines.watermarks import Watermark

Ask = Callable[[LiteralString], Awaitable[Any]]


class Extreme(NamedTuple):
    """What a placeholder without a watermark is bound to: seconds since 1970, or an integer."""

    seconds: int
    integer: int


# On the first pull, :last_pull is 0000-01-01T00:00:00Z. That is before the start of year 1, which other systems write
# for "no time", and late enough for the server to count its milliseconds.
LEAST = Extreme(-62_167_219_200, LEAST_INTEGER)
# Without an end, :until is in the year 292278994: the last second whose milliseconds the server can count.
GREATEST = Extreme(9_223_372_036_854_775, -LEAST_INTEGER - 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def reach(ask: Ask, refusal: type[Exception]) -> tuple[datetime, datetime]:
    """The server's clock (UTC), and up to when its data is complete: the start of the oldest open transaction.

    A node that such a transaction stamped appears when it commits, with a time before the clock. Seeing other users'
    transactions needs the privilege SHOW TRANSACTION, which everybody has in the Community Edition. Without it, the
    overlap covers them. `ask` gives the only value that a query returns, and raises `refusal` if the user may not ask.
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


def bound(mark: Watermark | None, extreme: Extreme, connection: Any, *, integer: bool) -> object:
    """What a placeholder is bound to. None stands for the `extreme`. `connection` is the driver's."""
    if isinstance(mark, datetime):
        return mark
    if integer or mark is not None:
        return extreme.integer if mark is None else min(max(mark, LEAST.integer), GREATEST.integer)
    # The driver's times have the years 1 to 9999, and Bolt's structure has more. Its tag and fields differ by Bolt's
    # version, so the driver makes one for 1970.
    epoch = connection.new_hydration_scope().dehydration_hooks.get_transformer(_EPOCH)(_EPOCH)
    return type(epoch)(epoch.tag, extreme.seconds, 0, 0)
