"""One sensor that looks at the sources of all watched connectors, and asks for pulls of those that changed.

What a look saw is kept in the store; Dagster gets a digest of it. A change is settled in the store only when its run
exists.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any

import dagster as dg

from qanatix_pipelines.defs.requests import add_partitions, run_request, submitted, waiting
from qanatix_pipelines.defs.resources import STORE, SourceResource, source_key
from qanatix_pipelines.errors import PullError, SourceTimeout, StoreUnavailable, WatchBroken
from qanatix_pipelines.sources import connector_types
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.watches import Asked, DueWatch
from qanatix_pipelines.tracebacks import outline
from qanatix_pipelines.watch import LOOK_SECONDS, look

INTERVAL_SECONDS = 15
# After this time a tick begins no more looks, and waits LOOK_SECONDS for those that it has begun. Dagster allows a tick
# 60 seconds.
BUDGET_SECONDS = 20
LOOKS_AT_ONCE = 4
LIMIT = 100

log = logging.getLogger(__name__)

Sources = Mapping[str, SourceResource]


def watches_sensor(jobs: Sequence[Any], clock: Callable[[], datetime] = now) -> dg.SensorDefinition:
    """`jobs` are the pulls' jobs, by Dagster's nameless type of a job that is not resolved yet."""

    @dg.sensor(
        name="connector_watches",
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={STORE, *map(source_key, connector_types())},
        description="Looks at the sources that are watched, and asks for pulls of those that have changed.",
    )
    def connector_watches(
        context: dg.SensorEvaluationContext, **_resources: Any
    ) -> dg.SensorResult | dg.SkipReason:  # a direct call of the sensor passes its resources as arguments, too
        """Looks at the watched sources, and asks for a pull of each that has changed since its last look."""
        try:
            opened: Store = getattr(context.resources, STORE).open()
            sources = {name: getattr(context.resources, source_key(name)) for name in connector_types()}
            _settle(context.instance, opened)
            _look_around(context.instance, sources, opened, clock())
            asked = opened.watches.asked(LIMIT)
        except StoreUnavailable as error:
            return dg.SkipReason(f"{error} What has changed is seen at the next look.")
        add_partitions(context.instance, asked)
        requests = [run_request(one, _key(one), "watch", {}) for one in asked]
        return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason("No source has changed.")

    return connector_watches


def _settle(instance: dg.DagsterInstance, store: Store) -> None:
    asked = store.watches.asked(LIMIT)
    runs = submitted(instance, [_key(one) for one in asked])
    for one in asked:
        if _key(one) in runs:
            store.watches.settle(one)


def _look_around(instance: dg.DagsterInstance, sources: Sources, store: Store, at: datetime) -> None:
    """Make the looks that are due, as far as the time allows. The rest comes first at the next tick."""
    due = store.watches.due(at, LIMIT)
    if not due:
        return
    queued = waiting(instance, [one.connector.partition_key for one in due])
    for one in due:
        if one.connector.partition_key in queued:
            store.watches.put_off(one, at)
    for one, outcome in _outcomes(sources, store, [one for one in due if one.connector.partition_key not in queued]):
        if isinstance(outcome, str):
            store.watches.see(one, outcome, at)
        else:
            log.info("The watch of the connector %s failed: %s", one.connector.id, outcome.code)
            store.watches.fail(one, outcome, at)


def _outcomes(sources: Sources, store: Store, due: Sequence[DueWatch]) -> Iterator[tuple[DueWatch, str | PullError]]:
    """A digest or an error for each look that began in time."""
    end = time.monotonic() + BUDGET_SECONDS
    begun: dict[Future[str | PullError | None], DueWatch] = {}
    # A thread that waits for a resolver cannot be interrupted, so it is left to end by itself.
    threads = ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="look")
    try:
        begun = {threads.submit(_outcome, sources, store, one, end): one for one in due}
        done, late = wait(begun, BUDGET_SECONDS + LOOK_SECONDS)
        for future in done:
            if (outcome := future.result()) is not None:
                yield begun[future], outcome
        for future in late:
            if not future.cancel():
                yield begun[future], SourceTimeout("The source did not answer the watch in time.")
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _outcome(sources: Sources, store: Store, one: DueWatch, end: float) -> str | PullError | None:
    """None if no time was left."""
    if time.monotonic() > end:
        return None
    connector = one.connector
    try:
        source = sources[connector.connector_type]
        config = store.of(connector.tenant).connectors.connection_config(connector)
        return look(connector, one.watch, source.open(config), source.egress())
    except PullError as error:
        return error
    except StoreUnavailable:
        return None
    except Exception as error:  # noqa: BLE001  # no connector may end the tick; the text may hold a row
        log.error("The watch of the connector %s broke: %s", connector.id, outline(error))  # noqa: TRY400
        return WatchBroken(type(error).__name__)


def _key(asked: Asked) -> str:
    return f"{asked.connector_id}/{asked.change}/{asked.digest[:16]}"
