"""Entity sets in Dagster's lineage: our code location is reloaded if it does not know a set yet.

Nobody waits for that. A pull of a set that is not known yet is shown, too, but without its lineage. A reload is also
the cure if Dagster has lost the process with our code, because it does not start another one by itself.
"""

import asyncio
import time
from collections.abc import Iterable

from qanatix_api.dagster import Runs
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.naming import CONNECTORS_KEY_PREFIX, entity_set_key

SHOWN = """
query Shown($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { dependencyKeys { path } } }
}
"""
RELOAD = """
mutation Reload($location: String!) { reloadRepositoryLocation(repositoryLocationName: $location) { __typename } }
"""
# A reload takes seconds of a core. It waits for the pull that follows a registration, and many registrations share it.
SETTLE_SECONDS = 10.0
REST_SECONDS = 60.0

# The asset key of an entity set, and that of the connectors that fill it.
_Edge = tuple[tuple[str, ...], tuple[str, ...]]


class Lineage:
    """`prefix` is the first part of the entity sets' asset keys, as in `Settings.asset_prefix`."""

    def __init__(self, runs: Runs, prefix: str | None = None, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._runs, self._prefix = runs, prefix
        self._settle_seconds = settle_seconds
        self._expected: set[_Edge] = set()
        self._lost = False
        self._loaded_at = float("-inf")
        self._showing: asyncio.Task[None] | None = None

    def expect(self, connector: Connector) -> None:
        """Have Dagster soon show a connector's entity set downstream of the connectors of its type."""
        key = entity_set_key(connector.tenant, connector.vertical, connector.entity_type, self._prefix)
        self._expected.add((tuple(key), (CONNECTORS_KEY_PREFIX, connector.connector_type)))
        self._begin()

    def revive(self) -> None:
        """Have Dagster reload our code soon: it did not start a pull, so the process with our code may be gone."""
        self._lost = True
        self._begin()

    def close(self) -> None:
        if self._showing is not None:
            self._showing.cancel()

    def _begin(self) -> None:
        if self._showing is None or self._showing.done():
            self._showing = asyncio.create_task(self._show())

    async def _show(self) -> None:
        while self._expected or self._lost:
            await asyncio.sleep(max(self._settle_seconds, self._loaded_at + REST_SECONDS - time.monotonic()))
            expected, self._expected = self._expected, set()
            lost, self._lost = self._lost, False
            if lost or await self._is_one_missing(expected):
                await self._runs.answer(RELOAD, location=self._runs.code_location)
                self._loaded_at = time.monotonic()

    async def _is_one_missing(self, expected: Iterable[_Edge]) -> bool:
        """False also if Dagster does not answer: it loads everything when it starts."""
        for key, parent in expected:
            answer = await self._runs.answer(SHOWN, key={"path": key})
            shown = answer.get("assetNodeOrError", {"dependencyKeys": [{"path": [*parent]}]})
            if [*parent] not in [dependency["path"] for dependency in shown.get("dependencyKeys", ())]:
                return True
        return False
