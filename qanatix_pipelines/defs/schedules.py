"""One sensor for the schedules of all connectors. A schedule may change at any time without a reload in Dagster.

A schedule moves on only when the run that was due exists. Each run has a key, made of connector and time. So if a
process dies in between, the run is asked for again until it exists, and Dagster makes it once.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from qanatix_pipelines.defs.requests import add_partitions, run_request, submitted, waiting
from qanatix_pipelines.defs.resources import StoreResource
from qanatix_pipelines.errors import StoreUnavailable
from qanatix_pipelines.naming import NEXT_DUE_TAG
from qanatix_pipelines.schedules import Schedule
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.schedules import Due

INTERVAL_SECONDS = 15
# How many runs a tick asks for. The rest waits for the next tick: Dagster submits about four runs a second.
LIMIT = 100

log = logging.getLogger(__name__)


def schedules_sensor(jobs: Sequence[Any], clock: Callable[[], datetime] = now) -> dg.SensorDefinition:
    """`jobs` are the pulls' jobs, by Dagster's nameless type of a job that is not resolved yet."""

    @dg.sensor(
        name="connector_schedules",
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for a pull of each connector that its schedule has made due.",
    )
    def connector_schedules(
        context: dg.SensorEvaluationContext, qanatix_store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        """Asks for a pull of each connector that is due. All times that it missed are one pull."""
        try:
            requests = list(_requests(context.instance, qanatix_store.open(), clock()))
        except StoreUnavailable as error:
            return dg.SkipReason(f"{error} What is due stays due.")
        return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason("No connector is due.")

    return connector_schedules


def _requests(instance: dg.DagsterInstance, store: Store, at: datetime) -> Iterator[dg.RunRequest]:
    due = store.schedules.due(at, LIMIT)
    if not due:
        return
    runs = submitted(instance, [_key(one) for one in due])
    for one in due:
        if (run := runs.get(_key(one))) is not None:
            store.schedules.move_on(one, datetime.fromisoformat(run.tags[NEXT_DUE_TAG]))
    if runs:
        due = store.schedules.due(at, LIMIT)
    queued = waiting(instance, [one.partition_key for one in due])
    add_partitions(instance, due)
    for one in due:
        try:
            following = Schedule.model_validate(one.schedule).next_after(at)
        except ValueError:  # this machine does not know its time zone
            log.warning("The schedule of the connector %s cannot be followed here.", one.connector_id)
            continue
        if one.partition_key in queued:
            store.schedules.move_on(one, following)
        else:
            yield run_request(one, _key(one), "schedule", {NEXT_DUE_TAG: following.isoformat()})


def _key(due: Due) -> str:
    return f"{due.connector_id}/{int(due.due_at.timestamp())}"
