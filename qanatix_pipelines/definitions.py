"""The code location: `dagster dev` and every run load `defs` from here."""

import dagster as dg

from qanatix_pipelines.defs.assets import pull_asset
from qanatix_pipelines.defs.lost_pulls import lost_pulls_sensor
from qanatix_pipelines.defs.resources import SourceResource, StoreResource
from qanatix_pipelines.defs.schedules import schedules_sensor
from qanatix_pipelines.defs.sensors import connector_partitions
from qanatix_pipelines.defs.watches import watches_sensor
from qanatix_pipelines.naming import job_name
from qanatix_pipelines.settings import read_settings
from qanatix_pipelines.sources import connector_types

# A code location without its key would load, and then fail each pull: better that it says so at once.
_settings = read_settings()
_settings.encryption_keys()
_settings.egress()

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

defs = dg.Definitions(
    assets=list(_assets.values()),
    jobs=_jobs,
    sensors=[connector_partitions, lost_pulls_sensor(_jobs), schedules_sensor(_jobs), watches_sensor(_jobs)],
    resources={
        "store": StoreResource(),
        **{connector_type: SourceResource(connector_type=connector_type) for connector_type in connector_types()},
    },
    executor=dg.in_process_executor,  # for the UI's own Materialize button
)
