"""What endpoints work with. `create_app` makes it and puts it into the application's state."""

from dataclasses import dataclass, replace
from typing import Annotated, Self

from fastapi import Depends, Request

from qanatix_api.auth import caller
from qanatix_api.dagster import Runs
from qanatix_api.lineage import Lineage
from qanatix_api.looks import Looks
from qanatix_pipelines.keys import KeyRecord
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tenants import Tenant


@dataclass(frozen=True)
class Services:
    settings: Settings
    store: Store
    keys: KeyStore
    runs: Runs
    looks: Looks
    lineage: Lineage

    def of(self, tenant: Tenant) -> Self:
        """The same for another tenant."""
        return replace(
            self,
            store=self.store.of(tenant),
            keys=self.keys.of(tenant),
            runs=self.runs.of(tenant),
            looks=self.looks.of(tenant),
        )


async def services(request: Request) -> Services:
    given: Services = request.app.state.services
    return given


async def callers_services(
    shared: Annotated[Services, Depends(services)], key: Annotated[KeyRecord, Depends(caller)]
) -> Services:
    """The services for the caller's tenant, so that no endpoint has to choose it."""
    return shared.of(key.tenant)


Given = Annotated[Services, Depends(callers_services)]
# For the default tenant: for endpoints that need no key.
Shared = Annotated[Services, Depends(services)]
