"""Which window of its source a connector's pull reads, and what that will bind `:last_pull` to."""

from datetime import datetime, timedelta

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.extents import NEW_ROWS, Extent
from qanatix_pipelines.watermarks import Watermark, Window


def window_of(connector: Connector, at: datetime, extent: Extent) -> Window:
    """The window of a pull of this `extent` that begins `at` this time, by the store's clock."""
    integer, overlap = connector.cursor_column is not None, connector.effective_overlap
    if extent.since is not None:
        return Window(extent.since, integer=integer, until=extent.until, rows=extent.limit, exact=True)
    if extent.full_refresh or connector.watermark is None:
        return Window(overlap=overlap, integer=integer, rows=extent.limit)
    return Window(connector.watermark, overlap, _since_read(connector, at), integer, rows=extent.limit)


def next_last_pull(connector: Connector, at: datetime) -> Watermark | None:
    """What a pull that begins `at` this time binds `:last_pull` to, if the source's clock goes as the store's does.

    A watermark that was set by hand came without the source's clock: then it is taken to show what the store's does.
    """
    passed = _since_read(connector, at)
    clock = at if connector.source_clock is None else connector.source_clock + passed
    return window_of(connector, at, NEW_ROWS).started(clock, passed)


def _since_read(connector: Connector, at: datetime) -> timedelta:
    return max(at - (connector.watermark_at or at), timedelta(0))
