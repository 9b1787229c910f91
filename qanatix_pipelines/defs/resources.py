"""Resources. None has a field that is secret: Dagster shows a resource's configuration to who can open its UI."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import dagster as dg

from qanatix_pipelines.egress import Egress
from qanatix_pipelines.limits import Limits
from qanatix_pipelines.settings import Settings, read_settings
from qanatix_pipelines.sources import Source, open_source
from qanatix_pipelines.store.engine import PULL_PATIENCE_SECONDS
from qanatix_pipelines.store.opening import Store, open_store


class StoreResource(dg.ConfigurableResource[Any]):
    """The store of connectors, pulls and entities. Its address and keys come from the process's environment."""

    def open(self) -> Store:
        return _opened()

    def settings(self) -> Settings:
        """What the process's environment decides."""
        return read_settings()

    def limits(self) -> Limits:
        """How long a pull may take, by the process's environment."""
        settings = read_settings()
        return Limits(settings.answer_seconds, settings.pull_seconds, merge_seconds=settings.merge_seconds)

    def egress(self) -> Egress:
        """Where a pull may connect to, by the process's environment."""
        return read_settings().egress()


@cache
def _opened() -> Store:
    """One store a process, opened when a run or a sensor first asks, never when definitions load.

    Where the process has other keys than the store, a pull's receipt can say so, which the store's opening could not.
    """
    return open_store(read_settings(), PULL_PATIENCE_SECONDS, proven=False)


class SourceResource(dg.ConfigurableResource[Any]):
    """Databases of one type. Opened with a connector's credentials, inside a run or for a look only."""

    connector_type: str

    def open(self, connection_config: Mapping[str, Any]) -> Source:
        allowed = read_settings().allow_strong_accounts
        return open_source(self.connector_type, connection_config, strong_accounts=allowed)
