"""The check of a watched source: it reads one row, whose digest tells whether the source has changed."""

import asyncio
import hashlib
import re

from qanatix_pipelines.connectors import Connector, Watch
from qanatix_pipelines.egress import Egress, refused, run_guarded
from qanatix_pipelines.errors import AddressRefused, QueryRejected, ResultUnusable, SourceError, SourceTimeout
from qanatix_pipelines.sources import look_query
from qanatix_pipelines.sources.source import Source
from qanatix_pipelines.watermarks import Window

# How long a check may take, without the closing of the connection, which has its own limit.
LOOK_SECONDS = 5
# Two, so that a result of one row, as it should be, is read to its end and its query need not be interrupted.
_ROWS = 2
_PLACE = re.compile(r" at line (\d+),")


def look(connector: Connector, watch: Watch, source: Source, egress: Egress, seconds: float = LOOK_SECONDS) -> str:
    """The SHA-256 hex digest of the first row that the watch's query returns; that of no bytes if it returns none.

    The query of a watch obeys the same rules as that of a pull. Raises SourceError.
    """
    query = look_query(connector.connector_type, connector.query, watch)
    window = Window(integer=connector.cursor_column is not None)
    try:
        return run_guarded(_digest(source, query, window, seconds), egress)
    except QueryRejected as error:
        if watch.cursor_column is None:
            raise
        raise QueryRejected(_told(str(error), watch.cursor_column)) from None


def _told(rejected: str, column: str) -> str:
    """The rejection in terms of the connector's query or `column`, without the line that we put before the query."""
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
