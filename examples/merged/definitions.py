"""A project that has a store, a PostgreSQL and an executor of its own, with the connectors merged into it."""

from typing import Any

import dagster as dg

from qanatix_pipelines.defs.build import build_defs
from qanatix_pipelines.defs.resources import StoreResource
from qanatix_pipelines.settings import read_settings


class Warehouse(dg.ConfigurableResource[Any]):
    dsn: str


class Files(dg.ConfigurableResource[Any]):
    folder: str = "/tmp"  # noqa: S108  # nothing is written there


@dg.asset(group_name="reports")
def prices(postgresql: Warehouse, store: Files) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"from": postgresql.dsn, "to": store.folder})


# One `Definitions` at the module's top level, or Dagster does not know which one to load.
defs = dg.Definitions.merge(
    dg.Definitions(
        assets=[prices],
        resources={"postgresql": Warehouse(dsn="postgresql://warehouse/prices"), "store": Files()},
        executor=dg.multiprocess_executor.configured({"max_concurrent": 2}),
    ),
    # The team keeps both secrets in variables of its own. The rest is read from the variables that the README lists.
    build_defs(
        read_settings(),
        StoreResource(store_url=dg.EnvVar("TEAM_STORE_URL"), encryption_key=dg.EnvVar("TEAM_ENCRYPTION_KEY")),
    ),
)
