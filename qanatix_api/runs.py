"""Dagster, over its public GraphQL: start the run of a pull, ask how it goes, keep its partitions in step."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self, TypeVar
from uuid import UUID

import httpx2

from qanatix_api.logs import logger
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import (
    NotFound,
    OrchestratorUnavailable,
    PullCancelled,
    PullNotStarted,
    StoreUnavailable,
)
from qanatix_pipelines.naming import (
    API,
    CODE_LOCATION,
    CONNECTOR_TAG,
    PARTITION_TAG,
    PULL_TAG,
    REPOSITORY,
    SOURCE_TAG,
    TENANT_TAG,
    TRIGGER_TAG,
    job_name,
    partitions_name,
)
from qanatix_pipelines.pulls import Pull, PullStatus
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tenants import Tenant

log = logger(__name__)

# One request, its mutations in order: the partition must be there before the run is (a second time does no harm).
LAUNCH = """
mutation Launch($set: String!, $partition: String!, $selector: RepositorySelector!, $execution: ExecutionParams!) {
  addDynamicPartition(partitionsDefName: $set, partitionKey: $partition, repositorySelector: $selector) { __typename }
  launchRun(executionParams: $execution) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
  }
}
"""
ADD_PARTITION = """
mutation Add($set: String!, $partition: String!, $selector: RepositorySelector!) {
  addDynamicPartition(partitionsDefName: $set, partitionKey: $partition, repositorySelector: $selector) { __typename }
}
"""
STATUS = """
query Status($run: ID!) { runOrError(runId: $run) { __typename ... on Run { status } } }
"""
TERMINATE = """
mutation Terminate($run: String!) { terminateRun(runId: $run) { __typename } }
"""

# A default launch imports Dagster in a new process, which takes seconds on a busy machine.
LAUNCH_SECONDS = 60
TERMINATE_SECONDS = 5  # who asks for a deletion does not wait for longer
CANCEL_SECONDS = 5  # nor who cancels a pull, until its run has ended
# When Dagster's database was away, its webserver answers 500 for each of its three storages' connections that it had
# kept. Of two runs that were started for one pull by that, one takes it and the other one ends.
_STALE_CONNECTIONS = 3
SELECTOR = {"repositoryLocationName": CODE_LOCATION, "repositoryName": REPOSITORY}

# A receipt is asked for when a tenth more time has passed, so an answer is late by that at most, and a pull that takes
# long, or waits with many others, is not asked for often. The run is asked only to notice that its process died.
_SHORTEST_POLL_SECONDS = 0.02
_POLL_SHARE = 0.1
_LONGEST_POLL_SECONDS = 1.0
# It costs Dagster more than a receipt costs the store: it is asked when as much time again has passed.
_RUN_POLL_SECONDS = 2.0
_LONGEST_RUN_POLL_SECONDS = 10.0
_RUN_END_POLL_SECONDS = 0.2

# The statuses in which Dagster takes a termination; a run that is starting is asked about again.
_TERMINABLE = ("QUEUED", "STARTED")

_Found = TypeVar("_Found")


class RunEnd(StrEnum):
    """The run statuses of Dagster's in which nothing more happens."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELED = "CANCELED"


class Runs:
    """Dagster's side of one tenant's pulls. `dagster_url` is its webserver's address.

    `readers` are threads that do nothing but read receipts: others may be held up by what they write.
    """

    def __init__(self, dagster_url: str, store: Store, client: httpx2.AsyncClient, readers: Executor) -> None:
        self._endpoint = f"{dagster_url.rstrip('/')}/graphql"
        self._connectors, self._pulls = store.connectors, store.pulls
        self._client = client
        self._readers = readers

    def of(self, tenant: Tenant) -> Self:
        """Another tenant's."""
        other = copy(self)
        other._connectors, other._pulls = self._connectors.of(tenant), self._pulls.of(tenant)  # noqa: SLF001
        return other

    async def begin(self, receipt: Pull, connector: Connector) -> Pull:
        """Start the run of a connector's queued pull, or end the pull. The receipt, as far as this has changed it."""
        try:
            await self.launch(receipt, connector)
        except OrchestratorUnavailable as error:
            reason = PullNotStarted(error)
            try:
                await asyncio.to_thread(self._pulls.end, receipt, reason)
                return await self._read(self._pulls.get, receipt.id)
            except StoreUnavailable:  # its sensor will begin the pull, once both are back
                log.warning("It could not be noted that the pull %s was not started.", receipt.id)
            ended = {"status": PullStatus.FAILED, "error_code": reason.code, "error_detail": str(reason)}
            return receipt.model_copy(update=ended)
        except (NotFound, StoreUnavailable) as error:  # the connector is gone, and so the pull; or its time will come
            log.warning("The pull %s could not be begun: %s", receipt.id, error)
        return receipt

    async def launch(self, receipt: Pull, connector: Connector) -> None:
        """Start the run of a connector's queued pull. Raises OrchestratorUnavailable if it surely was not started.

        The run is told a partition and a pull's id: no credentials, no query, no configuration.
        """
        source = await self._read(self._connectors.source_of, connector.id)
        execution = {
            "selector": {**SELECTOR, "pipelineName": job_name(connector.connector_type)},
            "executionMetadata": {
                "tags": [
                    {"key": PARTITION_TAG, "value": connector.partition_key},
                    {"key": PULL_TAG, "value": str(receipt.id)},
                    {"key": TRIGGER_TAG, "value": API},
                    {"key": CONNECTOR_TAG, "value": connector.partition_key},
                    {"key": SOURCE_TAG, "value": source},
                    {"key": TENANT_TAG, "value": connector.tenant},
                ]
            },
        }
        try:
            answer = await self._ask(LAUNCH, **_partition(connector), execution=execution)
        except httpx2.TimeoutException as error:
            if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
                raise OrchestratorUnavailable("its webserver does not answer") from None
            return  # it may well have started: the receipt will tell
        except httpx2.HTTPError:
            raise OrchestratorUnavailable("its webserver cannot be reached") from None
        launched = answer["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            raise OrchestratorUnavailable(f"it answered {launched['__typename']}; is the code location loaded?")
        run_id = launched["run"]["runId"]
        try:
            if not await asyncio.to_thread(self._pulls.name_run, receipt.id, run_id):
                await self.terminate(run_id)
        except StoreUnavailable:  # it is on its way all the same, and names itself when it begins
            log.warning("The run of pull %s could not be noted: the store does not answer.", receipt.id)

    async def wait(self, receipt: Pull, seconds: float) -> Pull:
        """The receipt of a pull once it has ended, or as it was when last seen within `seconds`.

        A pull whose run has ended without a word is begun again, so that nobody waits for a process that died. A store
        that is away meanwhile is waited for: the pull does so, too.
        """
        began = time.monotonic()
        ask_run_at = began + _RUN_POLL_SECONDS
        while True:
            with suppress(StoreUnavailable):
                receipt = await self._read(self._pulls.get, receipt.id)
                if receipt.status.live and time.monotonic() >= ask_run_at:
                    pause = min(max(_RUN_POLL_SECONDS, time.monotonic() - began), _LONGEST_RUN_POLL_SECONDS)
                    ask_run_at = time.monotonic() + pause
                    await self._revive_if_dead(receipt)
            waited = time.monotonic() - began
            if not receipt.status.live or waited >= seconds:
                return receipt
            await asyncio.sleep(min(max(_SHORTEST_POLL_SECONDS, _POLL_SHARE * waited), _LONGEST_POLL_SECONDS))

    async def add_partition(self, connector: Connector) -> None:
        """Show a new connector in Dagster. If Dagster is away, its sensor does it later."""
        await self.answer(ADD_PARTITION, **_partition(connector))

    async def terminate(self, run_id: str) -> None:
        """Ask Dagster to stop a run."""
        await self.answer(TERMINATE, seconds=TERMINATE_SECONDS, run=run_id)

    async def answer(self, document: str, seconds: float = LAUNCH_SECONDS, **variables: Any) -> dict[str, Any]:
        """What Dagster answers; nothing if it does not."""
        try:
            return await self._ask(document, seconds, **variables)
        except (httpx2.HTTPError, OrchestratorUnavailable) as error:
            log.warning("Dagster did not answer (%s); going on without.", type(error).__name__)
            return {}

    async def cancel(self, receipt: Pull) -> Pull:
        """End a pull as cancelled, if it has not ended, and ask Dagster to stop its run. The receipt as it is then.

        Raises NotFound, StoreUnavailable.
        """
        cancelling = asyncio.to_thread(self._pulls.cancel, receipt.id)
        if receipt.run_id is None:
            return await cancelling
        # At once, for the pull's final transaction may hold SQLite's only lock until its run is stopped.
        cancelled, _ = await asyncio.gather(cancelling, self.terminate(receipt.run_id))
        return cancelled

    async def ended(self, receipt: Pull) -> bool:
        """Whether the run of a cancelled pull is seen to end within a few seconds; True if there is none."""
        if receipt.run_id is None:
            return True
        began = time.monotonic()
        while time.monotonic() - began < CANCEL_SECONDS:
            answer = await self.answer(STATUS, seconds=CANCEL_SECONDS, run=receipt.run_id)
            if not answer:
                return False
            status = answer["runOrError"].get("status")
            if status is None or status in tuple(RunEnd):
                return True
            if status in _TERMINABLE:  # it was just starting
                await self.terminate(receipt.run_id)
            await asyncio.sleep(_RUN_END_POLL_SECONDS)
        return False

    async def _revive_if_dead(self, receipt: Pull) -> None:
        answer = await self.answer(STATUS, run=receipt.run_id or "")
        if not answer:
            return  # no run could be begun now, and that must not cost the pull one of its attempts
        status = answer["runOrError"].get("status")
        if status == RunEnd.CANCELED:
            # If the receipt was ended meanwhile, by the run's last words, this changes nothing.
            await asyncio.to_thread(self._pulls.end, receipt, PullCancelled())
            return
        # Dagster itself does not notice when a run's whole host dies. A run that is still starting gives no sign yet.
        silent = datetime.now(UTC) > receipt.lease_until and (receipt.status is PullStatus.RUNNING or status is None)
        if (silent or status in (RunEnd.SUCCESS, RunEnd.FAILURE)) and await asyncio.to_thread(
            self._pulls.retry, receipt
        ):
            try:
                await self.launch(receipt, await self._read(self._connectors.get, receipt.connector_id))
            except (OrchestratorUnavailable, NotFound) as error:  # the sensor of lost pulls tries again
                log.warning("The pull %s could not be begun again: %s", receipt.id, error)

    async def _read(self, get: Callable[[UUID], _Found], wanted: UUID) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._readers, get, wanted)

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


def _partition(connector: Connector) -> dict[str, Any]:
    return {
        "set": partitions_name(connector.connector_type),
        "partition": connector.partition_key,
        "selector": SELECTOR,
    }
