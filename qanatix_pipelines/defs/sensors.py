"""Sensors: Dagster's partitions are kept the same as the store's connectors.

All tenants share them, and whatever Dagster does with them: none is taken away that an unfinished backfill names.
"""

import dagster as dg

from qanatix_pipelines.defs.assets import partitions_of
from qanatix_pipelines.defs.backfills import partitions_named
from qanatix_pipelines.defs.resources import StoreResource
from qanatix_pipelines.sources import connector_types


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Keeps the partitions the same as the store's connectors.",
)
def connector_partitions(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
    """Adds partitions where the API could not, as Dagster was down, and removes those of deleted connectors."""
    assert context.repository_def is not None  # noqa: S101  # Dagster always gives it
    known = {connector_type: _known(context.instance, connector_type) for connector_type in connector_types()}
    registered = _registered(store)  # later: what was registered meanwhile must not look as if it were deleted
    kept = set(partitions_named(context.instance, context.repository_def))  # last: hardly one can begin in between
    requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    for connector_type in connector_types():
        partitions = partitions_of(connector_type)
        if missing := registered[connector_type] - known[connector_type]:
            requests.append(partitions.build_add_request(sorted(missing)))
        if gone := known[connector_type] - registered[connector_type] - kept:
            requests.append(partitions.build_delete_request(sorted(gone)))
    return dg.SensorResult(dynamic_partitions_requests=requests)


def _known(instance: dg.DagsterInstance, connector_type: str) -> set[str]:
    return set(instance.get_dynamic_partitions(partitions_of(connector_type).name or ""))


def _registered(store: StoreResource) -> dict[str, set[str]]:
    """The partitions of all tenants' connectors, by their types."""
    found: dict[str, set[str]] = {connector_type: set() for connector_type in connector_types()}
    opened = store.open()
    for tenant in opened.tenants.all():
        for connector in opened.of(tenant).connectors.list():
            found[connector.connector_type].add(connector.partition_key)
    return found
