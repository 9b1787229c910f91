"""Entity sets in Dagster's lineage: its code location is loaded anew where it does not know one yet.

Nobody waits for that. A pull of a new set is shown without it, too; it then stands alone. The same is the cure where
Dagster has lost the process that has our code: it makes no other by itself.
"""

import asyncio
import time
from collections.abc import Iterable

from qanatix_api.runs import Runs
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.naming import CODE_LOCATION, CONNECTORS_KEY_PREFIX, entity_set_key

SHOWN = """
query Shown($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { dependencyKeys { path } } }
}
"""
RELOAD = """
mutation Reload($location: String!) { reloadRepositoryLocation(repositoryLocationName: $location) { __typename } }
"""
# Loading costs seconds of a core: the pull that follows a registration goes first, and many registrations share it.
SETTLE_SECONDS = 10.0
REST_SECONDS = 60.0

# An entity set's asset key, and that of the connectors which fill it.
_Edge = tuple[tuple[str, ...], tuple[str, ...]]


class Lineage:
    def __init__(self, runs: Runs, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._runs = runs
        self._settle_seconds = settle_seconds
        self._expected: set[_Edge] = set()
        self._lost = False
        self._loaded_at = float("-inf")
        self._showing: asyncio.Task[None] | None = None

    def expect(self, connector: Connector) -> None:
        """See to it that Dagster soon shows a connector's entity set below the connectors of its type."""
        key = entity_set_key(connector.tenant, connector.vertical, connector.entity_type)
        self._expected.add((tuple(key), (CONNECTORS_KEY_PREFIX, connector.connector_type)))
        self._begin()

    def revive(self) -> None:
        """Have Dagster load our code soon: it has not started a pull, and may have nothing that has the code."""
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
                await self._runs.answer(RELOAD, location=CODE_LOCATION)
                self._loaded_at = time.monotonic()

    async def _is_one_missing(self, expected: Iterable[_Edge]) -> bool:
        """False also where Dagster does not answer: it loads everything as it starts."""
        for key, parent in expected:
            answer = await self._runs.answer(SHOWN, key={"path": key})
            shown = answer.get("assetNodeOrError", {"dependencyKeys": [{"path": [*parent]}]})
            if [*parent] not in [dependency["path"] for dependency in shown.get("dependencyKeys", ())]:
                return True
        return False
