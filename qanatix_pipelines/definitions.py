"""The code location: `dagster dev` and every run load `defs` from here."""

from collections.abc import Sequence

import dagster as dg

from qanatix_pipelines.defs.assets import pull_asset
from qanatix_pipelines.defs.checks import connector_checks, connector_health, health_asset
from qanatix_pipelines.defs.entity_sets import entity_set_spec, known_entity_sets
from qanatix_pipelines.defs.failures import failed_runs
from qanatix_pipelines.defs.lost_pulls import lost_pulls_sensor
from qanatix_pipelines.defs.resources import SourceResource, StoreResource
from qanatix_pipelines.defs.retention import retention, retention_schedule
from qanatix_pipelines.defs.schedules import schedules_sensor
from qanatix_pipelines.defs.sensors import connector_partitions
from qanatix_pipelines.defs.watches import watches_sensor
from qanatix_pipelines.naming import job_name
from qanatix_pipelines.settings import read_settings
from qanatix_pipelines.sources import connector_types
from qanatix_pipelines.store.entity_sets import EntitySet

# A code location without its key or its store would load, and then fail each pull: better that it says so at once.
_settings = read_settings()
_settings.encryption_keys()
_settings.store_address()

_assets = {connector_type: pull_asset(connector_type) for connector_type in connector_types()}

_jobs = [
    dg.define_asset_job(
        job_name(connector_type),
        selection=dg.AssetSelection.assets(asset),
        description=f"One pull of one {connector_type} connector.",
        executor_def=dg.in_process_executor,  # one step: a second process buys nothing and costs a second
    )
    for connector_type, asset in _assets.items()
]


def with_entity_sets(entity_sets: Sequence[EntitySet]) -> dg.Definitions:
    """All that Dagster sees, where these entity sets are known."""
    return dg.Definitions(
        assets=[*_assets.values(), health_asset, *map(entity_set_spec, entity_sets)],
        asset_checks=[connector_checks],
        jobs=[*_jobs, retention],
        schedules=[retention_schedule],
        sensors=[
            connector_partitions,
            schedules_sensor(_jobs),
            watches_sensor(_jobs),
            lost_pulls_sensor(_jobs),
            failed_runs,
            connector_health,
        ],
        resources={
            "store": StoreResource(),
            **{connector_type: SourceResource(connector_type=connector_type) for connector_type in connector_types()},
        },
        executor=dg.in_process_executor,  # for the UI's own Materialize button
    )


defs = with_entity_sets(known_entity_sets(_settings))
