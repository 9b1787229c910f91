"""Sensors: Dagster's partitions are kept the same as the store's connectors."""

import dagster as dg

from qanatix_pipelines.defs.assets import partitions_of
from qanatix_pipelines.defs.resources import StoreResource
from qanatix_pipelines.sources import connector_types


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Keeps the partitions the same as the store's connectors.",
)
def connector_partitions(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
    """Adds and removes partitions where the API could not: Dagster was down, or the store was changed by hand."""
    registered: dict[str, set[str]] = {connector_type: set() for connector_type in connector_types()}
    opened = store.open()
    for tenant in opened.tenants.all():
        for connector in opened.of(tenant).connectors.list():
            registered[connector.connector_type].add(connector.partition_key)
    requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
    for connector_type in connector_types():
        partitions = partitions_of(connector_type)
        known = set(context.instance.get_dynamic_partitions(partitions.name or ""))
        if missing := registered[connector_type] - known:
            requests.append(partitions.build_add_request(sorted(missing)))
        if gone := known - registered[connector_type]:
            requests.append(partitions.build_delete_request(sorted(gone)))
    return dg.SensorResult(dynamic_partitions_requests=requests)
