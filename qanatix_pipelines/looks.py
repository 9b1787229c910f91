"""A look at a source that is watched: one row, whose digest tells whether it has changed. It is no pull."""

import asyncio
import hashlib
import re

from qanatix_pipelines.connectors import Connector, Watch
from qanatix_pipelines.egress import Egress, GuardedLoop, refused
from qanatix_pipelines.errors import AddressRefused, QueryRejected, ResultUnusable, SourceError, SourceTimeout
from qanatix_pipelines.sources import Source, look_query
from qanatix_pipelines.watermarks import Window

# All that a look may take but for the connection's end, which has some seconds of its own.
LOOK_SECONDS = 5
# Two, so that the source is read to its end where there is one row, as there should be, and need not be interrupted.
_ROWS = 2
_PLACE = re.compile(r" at line (\d+),")


def look(connector: Connector, watch: Watch, source: Source, egress: Egress, seconds: float = LOOK_SECONDS) -> str:
    """A digest of the first row that the watch asks for; one of nothing if there is none.

    The source's rules for a pull's query hold for this one, too. Raises SourceError.
    """
    query = look_query(connector.connector_type, connector.query, watch)
    window = Window(integer=connector.cursor_column is not None)
    with asyncio.Runner(loop_factory=lambda: GuardedLoop(egress)) as runner:
        try:
            return runner.run(_digest(source, query, window, seconds))
        except QueryRejected as error:
            if watch.cursor_column is None:
                raise
            raise QueryRejected(_told(str(error), watch.cursor_column)) from None


def _told(rejected: str, column: str) -> str:
    """What is wrong with the connector's query, or its `column`: not with our own line, which stands before it."""
    place = _PLACE.search(rejected)
    if place is None:
        return rejected
    if place[1] != "1":
        return _PLACE.sub(f" at line {int(place[1]) - 1},", rejected, count=1)
    if "there is no such column" in rejected:
        return f"The query's result has no column {column!r}, which watch.cursor_column names."
    return f"The source cannot tell the greatest value of the column {column!r}, which watch.cursor_column names."


async def _digest(source: Source, query: str, window: Window, seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds) as clock:
            return await _first_row(source, query, window)
    except TimeoutError:
        if not clock.expired():
            raise
        raise SourceTimeout(f"The source did not answer the watch within {seconds:g} seconds.") from None
    except SourceError:
        if refused():
            raise AddressRefused from None
        raise


async def _first_row(source: Source, query: str, window: Window) -> str:
    digest = hashlib.sha256()
    async with source.read(query, window=window, batch_size=_ROWS) as reading:
        batch = await anext(aiter(reading.batches), None)
        if batch is not None:
            if 0 in batch.faults:
                sentence = batch.faults[0].reason.sentence
                raise ResultUnusable(f"The row that the watch asks for tells nothing. {sentence}")
            digest.update(repr((batch.frame.columns, batch.frame.row(0))).encode())
    return digest.hexdigest()
