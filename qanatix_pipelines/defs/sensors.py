"""The sensor that keeps Dagster's partitions the same as the store's connectors.

All tenants share the partitions. A partition of an unfinished backfill stays, or Dagster would end the backfill.
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
def connector_partitions(context: dg.SensorEvaluationContext, qanatix_store: StoreResource) -> dg.SensorResult:
    """Adds partitions that the API could not add while Dagster was down. Removes those of deleted connectors."""
    assert context.repository_def is not None  # noqa: S101  # Dagster always gives it
    known = {connector_type: _known(context.instance, connector_type) for connector_type in connector_types()}
    registered = _registered(qanatix_store)  # read second: a connector registered in between must not look deleted
    kept = set(partitions_named(context.instance, context.repository_def))  # last: hardly a backfill begins after it
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


def _registered(resource: StoreResource) -> dict[str, set[str]]:
    """The partitions of all tenants' connectors, by type."""
    found: dict[str, set[str]] = {connector_type: set() for connector_type in connector_types()}
    opened = resource.open()
    for tenant in opened.tenants.all():
        for connector in opened.of(tenant).connectors.list():
            found[connector.connector_type].add(connector.partition_key)
    return found
