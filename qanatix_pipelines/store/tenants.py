"""Views of one tenant's, and for Dagster, which works for all tenants, which there are and whose a thing is."""

from copy import copy
from typing import Self

import sqlalchemy as sa

from qanatix_pipelines.errors import NotFound
from qanatix_pipelines.pulls import LIVE
from qanatix_pipelines.store import tables
from qanatix_pipelines.tenants import Tenant


class OfTenant:
    """A view of the store in which `tenant`'s rows are, and no others: each of its queries names it."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def of(self, tenant: Tenant) -> Self:
        """The same view of another tenant's."""
        other = copy(self)
        other.tenant = tenant
        return other


class Tenants:
    def __init__(self, engine: sa.Engine) -> None:
        self._reader = engine.execution_options(reads=True)

    def all(self) -> list[Tenant]:
        """Those that have a connector or a live pull."""
        pull = tables.pull.c
        connectors = sa.select(tables.connector.c.tenant)
        with self._reader.connect() as connection:
            found = connection.execute(connectors.union(sa.select(pull.tenant).where(pull.status.in_(LIVE))))
            return [Tenant(name) for name in found.scalars()]

    def of_partition(self, key: str) -> Tenant:
        """Whose the connector of a partition is. Raises NotFound."""
        found = self._one(sa.select(tables.connector.c.tenant).where(tables.connector.c.partition_key == key))
        if found is None:
            raise NotFound("connector")
        return found

    def of_run(self, run_id: str) -> Tenant | None:
        """Whose the pull of a run is, if the run has one."""
        return self._one(sa.select(tables.pull.c.tenant).where(tables.pull.c.run_id == run_id))

    def _one(self, query: sa.Select[str]) -> Tenant | None:
        with self._reader.connect() as connection:
            found = connection.execute(query).scalars().first()
        return None if found is None else Tenant(found)
