"""A client of Dagster's GraphQL API: start the run of a pull, watch and stop it, add partitions."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, Self, TypeVar
from uuid import UUID

import httpx2

from qanatix_api.logs import logger
from qanatix_api.together import Together
from qanatix_api.webserver import Webserver
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import (
    NotFound,
    OrchestratorUnavailable,
    PullCancelled,
    PullNotStarted,
    StoreUnavailable,
    WrongStore,
)
from qanatix_pipelines.naming import (
    API,
    CONNECTOR_TAG,
    PARTITION_TAG,
    PULL_TAG,
    SOURCE_TAG,
    TENANT_TAG,
    TRIGGER_TAG,
    job_name,
    partitions_name,
)
from qanatix_pipelines.receipts import PullStatus, Receipt
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tenants import Tenant

log = logger(__name__)

# One request, whose mutations run in order: the partition must exist before the run. Adding it twice does no harm.
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
STATUSES = """
query Statuses($runs: [String!]!) { runsOrError(filter: {runIds: $runs}) { ... on Runs { results { runId status } } } }
"""
TERMINATE = """
mutation Terminate($run: String!) { terminateRun(runId: $run) { __typename } }
"""

TERMINATE_SECONDS = 5  # a deletion does not wait longer
CANCEL_SECONDS = 5  # a cancellation does not wait longer for the run to end

# The pause between two polls of a receipt is a tenth of the time waited so far. So an answer is at most a tenth late,
# and a long pull is not polled often. The run is polled only to notice that its process died.
_SHORTEST_POLL_SECONDS = 0.02
_POLL_SHARE = 0.1
_LONGEST_POLL_SECONDS = 1.0
# Polling a run costs Dagster more than polling a receipt costs the store. This pause doubles the time waited so far.
_RUN_POLL_SECONDS = 2.0
_LONGEST_RUN_POLL_SECONDS = 10.0
_RUN_END_POLL_SECONDS = 0.2

# Dagster terminates runs in these statuses. A run that is STARTING is polled until it has one of them.
_TERMINABLE = ("QUEUED", "STARTED")

# The status of a run that Dagster does not have.
_NO_RUN = ""

_Found = TypeVar("_Found")
_Wanted = TypeVar("_Wanted")


class RunEnd(StrEnum):
    """Dagster's final run statuses."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELED = "CANCELED"


class Runs(Webserver):
    """Dagster's side of one tenant's pulls.

    `readers` are threads that only read receipts, because other threads may wait for the store's write lock.
    """

    def __init__(
        self, dagster_url: str, store: Store, client: httpx2.AsyncClient, readers: Executor, code_location: str
    ) -> None:
        super().__init__(dagster_url, client, code_location)
        self._connectors, self._pulls = store.connectors, store.pulls
        self._readers = readers
        # Whoever waits shares these with all others of its tenant: what they poll is read by one query.
        self._receipts: dict[Tenant, Together[UUID, Receipt]] = {}
        self._statuses = Together(self._read_statuses)

    def of(self, tenant: Tenant) -> Self:
        """The same for another tenant."""
        other = copy(self)
        other._connectors, other._pulls = self._connectors.of(tenant), self._pulls.of(tenant)  # noqa: SLF001
        return other

    async def begin(self, receipt: Receipt, connector: Connector) -> Receipt:
        """Launch the run of a connector's queued pull, or end the pull. Returns the receipt as it is then."""
        try:
            await self.launch(receipt, connector)
        except OrchestratorUnavailable as error:
            reason = PullNotStarted(error)
            try:
                await asyncio.to_thread(self._pulls.end, receipt, reason)
                return await self._read(self._pulls.get, receipt.id)
            except StoreUnavailable:  # the sensor begins the pull once both are back
                log.warning("It could not be noted that the pull %s was not started.", receipt.id)
            ended = {"status": PullStatus.FAILED, "error_code": reason.code, "error_detail": str(reason)}
            return receipt.model_copy(update=ended)
        except (NotFound, StoreUnavailable) as error:  # deleted with its pull; or the sensor tries later
            log.warning("The pull %s could not be begun: %s", receipt.id, error)
        return receipt

    async def launch(self, receipt: Receipt, connector: Connector) -> None:
        """Launch the run of a connector's queued pull. Raises OrchestratorUnavailable if it certainly was not launched.

        The run gets a partition and the pull's id, but no credentials, query or configuration.
        """
        source = await self._read(self._connectors.source_of, connector.id)
        tags = {
            PARTITION_TAG: connector.partition_key,
            PULL_TAG: str(receipt.id),
            TRIGGER_TAG: API,
            CONNECTOR_TAG: connector.partition_key,
            SOURCE_TAG: source,
            TENANT_TAG: connector.tenant,
            **receipt.extent.tags(),
        }
        variables = {**_partition(connector), "selector": self.selector}
        run_id = await self.start(LAUNCH, job_name(connector.connector_type), tags, **variables)
        if run_id is None:
            return  # the receipt will tell
        try:
            if not await asyncio.to_thread(self._pulls.name_run, receipt.id, run_id):
                await self.terminate(run_id)
        except StoreUnavailable:  # the run is launched all the same, and writes its id itself
            log.warning("The run of pull %s could not be noted: the store does not answer.", receipt.id)

    async def has_ended(self, run_id: str) -> bool:
        """Whether Dagster says that a run has ended. False if it does not answer."""
        answer = await self.answer(STATUS, run=run_id)
        return bool(answer) and answer["runOrError"].get("status") in tuple(RunEnd)

    async def wait(self, receipt: Receipt, seconds: float) -> Receipt:
        """The receipt of a pull once it has ended, or the last one that was read within `seconds`.

        If the run ended without updating the receipt, the pull is retried: nobody waits for a process that died. If it
        succeeded without beginning the pull, its store is another one, and the pull has failed.
        While the store does not answer, this waits for it, as the pull does.
        """
        began = time.monotonic()
        ask_run_at = began + _RUN_POLL_SECONDS
        while True:
            with suppress(StoreUnavailable):
                receipt = await self._receipt(receipt.id)
                if receipt.status.live and time.monotonic() >= ask_run_at:
                    pause = min(max(_RUN_POLL_SECONDS, time.monotonic() - began), _LONGEST_RUN_POLL_SECONDS)
                    ask_run_at = time.monotonic() + pause
                    await self._revive_if_dead(receipt)
            waited = time.monotonic() - began
            if not receipt.status.live or waited >= seconds:
                return receipt
            await asyncio.sleep(min(max(_SHORTEST_POLL_SECONDS, _POLL_SHARE * waited), _LONGEST_POLL_SECONDS))

    async def add_partition(self, connector: Connector) -> None:
        """Add a new connector's partition in Dagster. If Dagster is away, the sensor adds it later."""
        await self.answer(ADD_PARTITION, **_partition(connector), selector=self.selector)

    async def terminate(self, run_id: str) -> None:
        """Ask Dagster to stop a run."""
        await self.answer(TERMINATE, seconds=TERMINATE_SECONDS, run=run_id)

    async def cancel(self, receipt: Receipt) -> Receipt:
        """Cancel a pull, if it has not ended, and ask Dagster to stop its run. Returns the receipt afterwards.

        Raises NotFound, StoreUnavailable.
        """
        cancelling = asyncio.to_thread(self._pulls.cancel, receipt.id)
        if receipt.run_id is None:
            return await cancelling
        # Both at once: the pull's final transaction may hold SQLite's only lock until its run is stopped.
        cancelled, _ = await asyncio.gather(cancelling, self.terminate(receipt.run_id))
        return cancelled

    async def ended(self, receipt: Receipt) -> bool:
        """Whether the run of a cancelled pull ends within CANCEL_SECONDS; True if it has no run."""
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
            if status in _TERMINABLE:  # it was STARTING before
                await self.terminate(receipt.run_id)
            await asyncio.sleep(_RUN_END_POLL_SECONDS)
        return False

    async def _revive_if_dead(self, receipt: Receipt) -> None:
        status = await self._statuses.get(receipt.run_id or "")
        if status is None:
            return  # no run could be launched now: do not use up an attempt of the pull
        if status == RunEnd.CANCELED:
            # If the run has ended the receipt meanwhile, this changes nothing.
            await asyncio.to_thread(self._pulls.end, receipt, PullCancelled())
            return
        if status == RunEnd.SUCCESS and receipt.status is PullStatus.QUEUED:
            await asyncio.to_thread(self._pulls.end, receipt, WrongStore())
            return
        # Dagster does not notice if a run's whole host dies. A run that is still starting sends no heartbeat yet.
        silent = datetime.now(UTC) > receipt.lease_until and (receipt.status is PullStatus.RUNNING or status == _NO_RUN)
        if (silent or status in (RunEnd.SUCCESS, RunEnd.FAILURE)) and await asyncio.to_thread(
            self._pulls.retry, receipt
        ):
            try:
                await self.launch(receipt, await self._read(self._connectors.get, receipt.connector_id))
            except (OrchestratorUnavailable, NotFound) as error:  # the sensor of lost pulls tries again
                log.warning("The pull %s could not be begun again: %s", receipt.id, error)

    async def _receipt(self, pull_id: UUID) -> Receipt:
        """The receipt of a pull as it is now. Raises NotFound and StoreUnavailable."""
        pulls = self._pulls
        if pulls.tenant not in self._receipts:
            self._receipts[pulls.tenant] = Together(partial(self._read, pulls.several))
        receipt = await self._receipts[pulls.tenant].get(pull_id)
        if receipt is None:
            raise NotFound("pull")
        return receipt

    async def _read_statuses(self, run_ids: Sequence[str]) -> Mapping[str, str]:
        """The statuses of runs; empty if Dagster does not answer."""
        answer = await self.answer(STATUSES, runs=run_ids)
        if not answer:
            return {}
        found = {run["runId"]: run["status"] for run in answer["runsOrError"].get("results", ())}
        return dict.fromkeys(run_ids, _NO_RUN) | found

    async def _read(self, get: Callable[[_Wanted], _Found], wanted: _Wanted) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._readers, get, wanted)


def _partition(connector: Connector) -> dict[str, Any]:
    return {
        "set": partitions_name(connector.connector_type),
        "partition": connector.partition_key,
    }
