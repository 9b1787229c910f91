"""A look at a source that is watched: one row, whose digest tells whether it has changed. It is no pull."""

import asyncio
import hashlib

from qanatix_pipelines.connectors import Connector, Watch
from qanatix_pipelines.egress import Egress, GuardedLoop, refused
from qanatix_pipelines.errors import AddressRefused, ResultUnusable, SourceError, SourceTimeout
from qanatix_pipelines.sources import Source, look_query
from qanatix_pipelines.watermarks import Window

# All that a look may take but for the connection's end, which has some seconds of its own.
LOOK_SECONDS = 5
# Two, so that the source is read to its end where there is one row, as there should be, and need not be interrupted.
_ROWS = 2


def look(connector: Connector, watch: Watch, source: Source, egress: Egress, seconds: float = LOOK_SECONDS) -> str:
    """A digest of the first row that the watch asks for; one of nothing if there is none.

    The source's rules for a pull's query hold for this one, too. Raises SourceError.
    """
    query = look_query(connector.connector_type, connector.query, watch)
    window = Window(integer=connector.cursor_column is not None)
    with asyncio.Runner(loop_factory=lambda: GuardedLoop(egress)) as runner:
        return runner.run(_digest(source, query, window, seconds))


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
