"""Views of the store for one tenant; and for Dagster, all tenants, and which of them a partition or run belongs to."""

from copy import copy
from typing import Self
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.errors import NotFound
from qanatix_pipelines.receipts import LIVE
from qanatix_pipelines.store import tables
from qanatix_pipelines.tenants import Tenant


class OfTenant:
    """A view of the store that has only `tenant`'s rows. Each of its queries names the tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def of(self, tenant: Tenant) -> Self:
        """The same view for another tenant."""
        other = copy(self)
        other.tenant = tenant
        return other


class Tenants:
    def __init__(self, engine: sa.Engine) -> None:
        self._reader = engine.execution_options(reads=True)

    def all(self) -> list[Tenant]:
        """The tenants that have a connector or a live pull."""
        pull = tables.pull.c
        connectors = sa.select(tables.connector.c.tenant)
        with self._reader.connect() as connection:
            found = connection.execute(connectors.union(sa.select(pull.tenant).where(pull.status.in_(LIVE))))
            return [Tenant(name) for name in found.scalars()]

    def of_partition(self, key: str) -> Tenant:
        """The tenant of a partition's connector. Raises NotFound."""
        found = self._one(sa.select(tables.connector.c.tenant).where(tables.connector.c.partition_key == key))
        if found is None:
            raise NotFound("connector")
        return found

    def of_run(self, run_id: str) -> Tenant | None:
        """The tenant of a run's pull; None if the run has no pull."""
        return self._one(sa.select(tables.pull.c.tenant).where(tables.pull.c.run_id == run_id))

    def of_draft(self, draft_id: UUID) -> Tenant:
        """The tenant of a draft. Raises NotFound."""
        found = self._one(sa.select(tables.draft.c.tenant).where(tables.draft.c.id == draft_id))
        if found is None:
            raise NotFound("draft")
        return found

    def _one(self, query: sa.Select[str]) -> Tenant | None:
        with self._reader.connect() as connection:
            found = connection.execute(query).scalars().first()
        return None if found is None else Tenant(found)
