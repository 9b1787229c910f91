"""Dagster's webserver, asked over its GraphQL API."""

from typing import Any

import httpx2

from qanatix_api.logs import logger
from qanatix_pipelines.errors import OrchestratorUnavailable
from qanatix_pipelines.naming import REPOSITORY

log = logger(__name__)

# A default launch imports Dagster in a new process, which takes seconds on a busy machine.
LAUNCH_SECONDS = 60
# After an outage of Dagster's database, its webserver answers 500 once for each pooled connection of its 3 storages,
# so a request is repeated three times. If that starts two runs for a pull, one claims it and the other one ends.
_STALE_CONNECTIONS = 3


class Webserver:
    """The one at `dagster_url`. `code_location` is the name under which Dagster has our code."""

    def __init__(self, dagster_url: str, client: httpx2.AsyncClient, code_location: str) -> None:
        self._endpoint = f"{dagster_url.rstrip('/')}/graphql"
        self._client = client
        self.code_location = code_location
        self.selector = {"repositoryLocationName": code_location, "repositoryName": REPOSITORY}

    async def start(self, document: str, job: str, tags: dict[str, str], **variables: Any) -> str | None:
        """Launch a run with these tags. Returns its id; None if it may have been launched.

        Raises OrchestratorUnavailable if it certainly was not.
        """
        execution = {
            "selector": {**self.selector, "pipelineName": job},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        try:
            answer = await self._ask(document, **variables, execution=execution)
        except httpx2.TimeoutException as error:
            if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
                raise OrchestratorUnavailable("its webserver does not answer") from None
            return None
        except httpx2.HTTPError:
            raise OrchestratorUnavailable("its webserver cannot be reached") from None
        launched = answer["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise OrchestratorUnavailable(self._refused(launched["__typename"], job))
        run_id: str = launched["run"]["runId"]
        return run_id

    async def answer(self, document: str, seconds: float = LAUNCH_SECONDS, **variables: Any) -> dict[str, Any]:
        """Dagster's answer; empty if it gives none."""
        try:
            return await self._ask(document, seconds, **variables)
        except (httpx2.HTTPError, OrchestratorUnavailable) as error:
            log.warning("Dagster did not answer (%s); going on without.", type(error).__name__)
            return {}

    async def _ask(self, document: str, seconds: float = LAUNCH_SECONDS, **variables: Any) -> dict[str, Any]:
        asked = {"query": document, "variables": variables}
        for _ in range(1 + _STALE_CONNECTIONS):
            response = await self._client.post(self._endpoint, json=asked, timeout=seconds)
            if response.status_code != httpx2.codes.INTERNAL_SERVER_ERROR:
                break
        if response.status_code != httpx2.codes.OK:
            raise OrchestratorUnavailable(f"its webserver answered {response.status_code}")
        try:
            data = response.json()["data"]
        except (ValueError, KeyError, TypeError):
            raise OrchestratorUnavailable("what answers at QANATIX_DAGSTER_URL is not its webserver") from None
        if not isinstance(data, dict):
            raise OrchestratorUnavailable("its webserver refused the request")
        return data

    def _refused(self, answer: str, job: str) -> str:
        """Why a launch was answered with one of Dagster's errors, and what to check."""
        if answer == "UnauthorizedError":
            return "its webserver starts no runs. Check that it runs without --read-only"
        return (
            f"it answered {answer} for the job {job!r} of the code location "
            f"{self.code_location!r}. Check that the code location is loaded, that it is of this release, and that "
            "QANATIX_CODE_LOCATION is its name"
        )
