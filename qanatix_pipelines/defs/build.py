"""All that Dagster sees of connectors, for a code location of our own or to be merged into another project's.

To import this module reads no setting, opens no store and changes nothing of the process.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from qanatix_pipelines.defs.assets import pull_asset
from qanatix_pipelines.defs.checks import asset_key, connector_checks, connector_health, health_asset
from qanatix_pipelines.defs.entity_sets import entity_set_spec, known_entity_sets
from qanatix_pipelines.defs.failures import failed_runs
from qanatix_pipelines.defs.looks import look_job
from qanatix_pipelines.defs.lost_pulls import lost_pulls_sensor
from qanatix_pipelines.defs.resources import STORE, SourceResource, StoreResource, source_key
from qanatix_pipelines.defs.schedules import schedules_sensor
from qanatix_pipelines.defs.sensors import connector_partitions
from qanatix_pipelines.defs.watches import watches_sensor
from qanatix_pipelines.naming import job_name
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import connector_types
from qanatix_pipelines.store.entity_sets import EntitySet


def build_defs(settings: Settings, store: StoreResource | None = None) -> dg.Definitions:
    """Assets, checks, jobs, sensors and resources by these settings, with the entity sets that the store has now.

    Each setting that was given becomes a field of a resource, which Dagster shows. Of a secret it shows the name of its
    variable: the usual one, or the one that a field of `store` names.

    Raises SettingsError for a key or a store that is missing or wrong. A code location without them would load,
    and then fail each pull.
    """
    kind, fields = (StoreResource, {}) if store is None else (type(store), store.given())
    store = kind.of(settings, **fields)
    with store.naming_its_variables():
        of_store = store.settings()
        of_store.encryption_keys()
        entity_sets = known_entity_sets(of_store)
    return with_entity_sets(settings, entity_sets, store)


def with_entity_sets(
    settings: Settings, entity_sets: Sequence[EntitySet], store: StoreResource | None = None
) -> dg.Definitions:
    """As `build_defs`, where these entity sets are known."""
    assets = [pull_asset(connector_type, settings.owner) for connector_type in connector_types()]
    jobs = pull_jobs()
    prefix = settings.asset_prefix if store is None else store.asset_prefix
    return dg.Definitions(
        assets=[
            *assets,
            health_asset(settings.owner),
            *(entity_set_spec(entity_set, settings.owner, prefix) for entity_set in entity_sets),
        ],
        asset_checks=[connector_checks],
        jobs=[*jobs, look_job],
        sensors=[
            connector_partitions,
            schedules_sensor(jobs),
            watches_sensor(jobs),
            lost_pulls_sensor(jobs),
            failed_runs,
            connector_health,
        ],
        resources={
            STORE: StoreResource.of(settings) if store is None else store,
            **{
                source_key(connector_type): SourceResource.of(settings, connector_type=connector_type)
                for connector_type in connector_types()
            },
        },
    )


def pull_jobs() -> list[Any]:
    """The job of each connector type. Dagster has no name for the type of a job that is not resolved yet."""
    return [
        dg.define_asset_job(
            job_name(connector_type),
            selection=dg.AssetSelection.assets(asset_key(connector_type)),
            description=f"One pull of one {connector_type} connector.",
            executor_def=dg.in_process_executor,  # one step: a second process buys nothing and costs a second
        )
        for connector_type in connector_types()
    ]
