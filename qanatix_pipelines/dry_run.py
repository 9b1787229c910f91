"""The dry run of a connector: read its source as its next pull would, and compare the rows with the store."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from qanatix_pipelines.comparisons import Comparison
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.egress import DEVELOPMENT, Egress, run_guarded
from qanatix_pipelines.extents import NEW_ROWS, Extent
from qanatix_pipelines.limits import USUAL, Deadline, Limits
from qanatix_pipelines.merging import merged
from qanatix_pipelines.reading import read, tried_again
from qanatix_pipelines.sources.source import Source
from qanatix_pipelines.staging import Progress
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.trial import Trial


def run_dry_run(
    store: Store,
    connector: Connector,
    open_source: Callable[[Mapping[str, Any]], Source],
    *,
    extent: Extent = NEW_ROWS,
    limits: Limits = USUAL,
    egress: Egress = DEVELOPMENT,
    on_batch: Callable[[Progress], None] = lambda _progress: None,
) -> Comparison:
    """What a pull of this `extent` would do now. It has the deadlines of one, and leaves the store as it is.

    Its progress is told as a pull's is. Raises PullError and StoreUnavailable; any other exception is a fault of ours.
    """
    config = store.connectors.connection_config(connector)
    with Trial(store.engine, connector) as trial:
        return run_guarded(_dry_run(connector, open_source(config), trial, limits, on_batch, extent=extent), egress)


async def _dry_run(
    connector: Connector,
    source: Source,
    trial: Trial,
    limits: Limits,
    on_batch: Callable[[Progress], None],
    *,
    extent: Extent,
) -> Comparison:
    started = time.monotonic()
    deadline = Deadline(limits)

    async def attempt() -> Comparison:
        found = await read(connector, source, trial.stage, deadline, on_batch, extent=extent)
        return await merged(lambda: trial.compare(found.declared, found.roles), trial.cancel, limits, _untold)

    compared = await tried_again(attempt, trial.restart, limits)
    return compared.model_copy(update={"duration_seconds": time.monotonic() - started})


def _untold(_seconds: float) -> None:
    """A dry run has no receipt that would say how long it compares."""
