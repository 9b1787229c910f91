"""One sensor that looks at the sources of all connectors that are watched, and asks for pulls of those that changed.

What was seen is in the store, and nothing of it in Dagster but a digest. A change is settled there only when its run is
known to be there.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any

import dagster as dg

from qanatix_pipelines.defs.requests import add_partitions, run_request, submitted, waiting
from qanatix_pipelines.defs.resources import SourceResource, StoreResource
from qanatix_pipelines.errors import PullError, SourceTimeout, StoreUnavailable, WatchBroken
from qanatix_pipelines.looks import LOOK_SECONDS, look
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.watches import Asked, Look
from qanatix_pipelines.tracebacks import outline

INTERVAL_SECONDS = 15
# No look begins later in a tick, and none is waited for beyond LOOK_SECONDS more: Dagster allows a tick 60.
BUDGET_SECONDS = 20
LOOKS_AT_ONCE = 4
LIMIT = 100

log = logging.getLogger(__name__)


def watches_sensor(jobs: Sequence[Any], clock: Callable[[], datetime] = now) -> dg.SensorDefinition:
    """`jobs` are the pulls' jobs, by Dagster's nameless type of a job that is not resolved yet."""

    @dg.sensor(
        name="connector_watches",
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks at the sources that are watched, and asks for pulls of those that have changed.",
    )
    def connector_watches(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
        """Looks at the sources that are watched, and asks for a pull of each that has changed since the last look."""
        try:
            opened = store.open()
            _settle(context.instance, opened)
            _look_around(context.instance, store, opened, clock())
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


def _look_around(instance: dg.DagsterInstance, resource: StoreResource, store: Store, at: datetime) -> None:
    """Look at those that are due, within the budget. Whoever is left is first at the next tick."""
    due = store.watches.due(at, LIMIT)
    if not due:
        return
    queued = waiting(instance, [one.connector.partition_key for one in due])
    for one in due:
        if one.connector.partition_key in queued:
            store.watches.put_off(one, at)
    for one, outcome in _outcomes(resource, store, [one for one in due if one.connector.partition_key not in queued]):
        if isinstance(outcome, str):
            store.watches.see(one, outcome, at)
        else:
            log.info("The watch of the connector %s failed: %s", one.connector.id, outcome.code)
            store.watches.fail(one, outcome, at)


def _outcomes(resource: StoreResource, store: Store, due: Sequence[Look]) -> Iterator[tuple[Look, str | PullError]]:
    """A digest or an error for each that was begun in time."""
    end = time.monotonic() + BUDGET_SECONDS
    begun: dict[Future[str | PullError | None], Look] = {}
    # A resolver that does not answer cannot be interrupted: such a thread is left to itself.
    threads = ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="look")
    try:
        begun = {threads.submit(_outcome, resource, store, one, end): one for one in due}
        done, late = wait(begun, BUDGET_SECONDS + LOOK_SECONDS)
        for future in done:
            if (outcome := future.result()) is not None:
                yield begun[future], outcome
        for future in late:
            if not future.cancel():
                yield begun[future], SourceTimeout("The source did not answer the watch in time.")
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _outcome(resource: StoreResource, store: Store, one: Look, end: float) -> str | PullError | None:
    """None if there was no time left."""
    if time.monotonic() > end:
        return None
    connector = one.connector
    try:
        source = SourceResource(connector_type=connector.connector_type)
        config = store.of(connector.tenant).connectors.connection_config(connector)
        return look(connector, one.watch, source.open(config), resource.egress())
    except PullError as error:
        return error
    except StoreUnavailable:
        return None
    except Exception as error:  # noqa: BLE001  # no connector may end the tick; what it says may hold a row
        log.error("The watch of the connector %s broke: %s", connector.id, outline(error))  # noqa: TRY400
        return WatchBroken(type(error).__name__)


def _key(asked: Asked) -> str:
    return f"{asked.connector_id}/{asked.change}/{asked.digest[:16]}"
