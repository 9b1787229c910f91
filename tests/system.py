"""A running stack as a caller sees it: its API with a key, and Dagster's GraphQL."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx2

from tests import stack as stacks

RUN = """
query Run($id: ID!) {
  runOrError(runId: $id) {
    ... on Run {
      status runConfigYaml tags { key value }
      assets { key { path } }
      assetMaterializations {
        assetKey { path } partition metadataEntries { label ... on IntMetadataEntry { intValue } }
      }
      eventConnection { events { __typename ... on MessageEvent { message } } }
    }
  }
}
"""

STARTED = "{ runsOrError(filter: {statuses: [STARTED]}) { ... on Runs { results { runId tags { key value } } } } }"
PARTITIONS = """
{ assetNodeOrError(assetKey: {path: ["connectors", "postgresql"]}) { ... on AssetNode { partitionKeys } } }
"""


class System:
    """A running stack and a key to it."""

    def __init__(self, running: stacks.Stack) -> None:
        self.stack = running
        self.said: list[str] = []
        self.api = httpx2.Client(
            base_url=f"{running.api_url}/api/v1",
            headers={"Authorization": f"Bearer {running.command('keys', 'create')}"},
            timeout=120,
            event_hooks={"response": [self._note]},
        )

    def register(self, query: str, config: dict[str, Any], **fields: Any) -> dict[str, Any]:
        body = {
            "name": "Items",
            "connector_type": "postgresql",
            "vertical": "testing",
            "entity_type": f"item-{uuid4().hex[:8]}",
            "connection_config": config,
            "query": query,
        }
        response = self.api.post("/connectors", json=body | fields)
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def pull(self, connector: dict[str, Any]) -> httpx2.Response:
        return self.api.post(f"/connectors/{connector['id']}/pull")

    def ask_dagster(self, query: str, **variables: Any) -> Any:
        response = httpx2.post(
            f"{self.stack.dagster_url}/graphql",
            json={"query": query, "variables": variables},
            timeout=120,
            verify=False,
        )
        self.said.append(response.text)
        return response.json()["data"]

    def partitions(self) -> list[str]:
        """The partitions that Dagster shows of PostgreSQL's connectors."""
        keys: list[str] = self.ask_dagster(PARTITIONS)["assetNodeOrError"]["partitionKeys"]
        return keys

    def partition(self, connector: dict[str, Any]) -> str:
        """A connector's, once Dagster shows it."""
        found: list[str] = []
        end = connector["id"][:8]
        until(lambda: bool(found.extend(key for key in self.partitions() if key.endswith(end)) or found), seconds=180)
        return found[0]

    def run_of(self, connector: dict[str, Any]) -> str:
        """The id of a connector's run, once it has started."""
        found: list[str] = []

        def started() -> bool:
            for run in self.ask_dagster(STARTED)["runsOrError"]["results"]:
                tags = {tag["key"]: tag["value"] for tag in run["tags"]}
                if tags.get("dagster/partition", "").endswith(connector["id"][:8]):
                    found.append(run["runId"])
            return bool(found)

        until(started)
        return found[0]

    def _note(self, response: httpx2.Response) -> None:
        response.read()
        self.said.append(response.text + str(response.headers))


def finished(stack: System, run_id: str) -> dict[str, Any]:
    """Dagster's record of a run, once Dagster too has ended it: our receipt is a moment earlier."""
    run: dict[str, Any] = {}

    def ended() -> bool:
        run.update(stack.ask_dagster(RUN, id=run_id)["runOrError"])
        return run["status"] in ("SUCCESS", "FAILURE", "CANCELED")

    until(ended)
    return run


def process_of(stack: System, run_id: str) -> int:
    """The id of a run's process, as its event log tells it."""
    query = """
    query E($id: ID!) {
      logsForRun(runId: $id) { ... on EventConnection { events { ... on MessageEvent { message } } } }
    }
    """
    events: list[dict[str, Any]] = stack.ask_dagster(query, id=run_id)["logsForRun"]["events"]
    (said,) = [event["message"] for event in events if event["message"].startswith("Started process for run")]
    return int(said.partition("pid: ")[2].rstrip(")."))


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something has come about, and fail if it has not within so many seconds.

    What has been waited for longer is asked for less often: to ask Dagster takes a tenth of a second of a core.
    """
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < seconds, f"it did not come about within {seconds} s"
        time.sleep(min(1, max(0.1, waited / 20)))
