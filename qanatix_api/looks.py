"""Looks at a connector before it pulls: tests and dry runs, each a run in Dagster that answers a draft.

The run is where pulls run, with their network and their rules. Dagster is told the draft's id and nothing of what it
asks. Whoever asked waits for the answer. When the caller goes, the run is ended, and the draft is deleted. Only a dry
run that takes long goes on by itself: its answer is asked for later, by the draft's id.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self
from uuid import UUID

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from qanatix_api.dagster import RunEnd, Runs
from qanatix_api.logs import logger
from qanatix_api.refusals import LOST, NOT_STARTED, DryRunLost, LookFailed, Refusal, TestQueued
from qanatix_pipelines.conflicts import DryRunInProgress
from qanatix_pipelines.errors import NotFound, OrchestratorUnavailable, StoreUnavailable
from qanatix_pipelines.naming import API, DRAFT_TAG, KIND_TAG, LOOK_JOB, SOURCE_TAG, TENANT_TAG, TRIGGER_TAG
from qanatix_pipelines.store.drafts import LIFETIME, DraftStore, Kind
from qanatix_pipelines.tenants import Tenant

log = logger(__name__)

LOOK = """
mutation Look($execution: ExecutionParams!) {
  launchRun(executionParams: $execution) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
  }
}
"""
OF_DRAFT = """
query Looking($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 1) { __typename ... on Runs { results { runId status } } }
}
"""
_NOT_BEGUN = ("NOT_STARTED", "QUEUED")
# A caller that does not wait still learns that Dagster is away, if that shows within this time.
LAUNCH_SECONDS = 5
# As for a pull: the pause between two looks at the store is a tenth of the time waited so far.
_SHORTEST_POLL_SECONDS = 0.02
_POLL_SHARE = 0.1
_LONGEST_POLL_SECONDS = 1.0
# The run is asked only to notice that its process died.
_RUN_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class _Look:
    """A draft, and the launch of its run."""

    kind: Kind
    draft_id: UUID
    launching: asyncio.Task[str | None]


class Looks:
    """One tenant's looks. `readers` are threads that only read the store."""

    def __init__(self, runs: Runs, drafts: DraftStore, readers: Executor) -> None:
        self._runs, self._drafts, self._readers = runs, drafts, readers
        self._ending: set[asyncio.Task[None]] = set()

    def of(self, tenant: Tenant) -> Self:
        """The same for another tenant."""
        other = copy(self)
        other._runs, other._drafts = self._runs.of(tenant), self._drafts.of(tenant)  # noqa: SLF001
        return other

    async def ask(
        self,
        request: Request,
        kind: Kind,
        asked: dict[str, Any],
        *,
        connector_id: UUID | None = None,
        source: str,
        seconds: float,
    ) -> dict[str, Any]:
        """What the run answers to what is `asked`.

        `source` is the connector's `source_name`, by which runs are counted. Raises LookFailed with what kept the run
        from answering; NOT_STARTED, also if it waits in a queue for all that time; LOST if there is no answer
        within `seconds`, or the caller of `request` goes; StoreUnavailable.
        """
        look = await self._begin(kind, asked, connector_id, source, LIFETIME)
        answer = None
        try:
            answer = await self._answered(request, look, seconds)
            if answer is None and await self._is_queued(look.draft_id):
                raise TestQueued
        finally:
            self._afterwards(self._end(look, answered=answer is not None))
        if answer is None:
            raise LOST[kind](f"the run gave none within {seconds:g} seconds")
        return _result(answer)

    async def ask_on(
        self,
        request: Request,
        kind: Kind,
        asked: dict[str, Any],
        *,
        connector_id: UUID,
        source: str,
        seconds: float,
        lifetime: timedelta,
    ) -> tuple[UUID, dict[str, Any] | None]:
        """The draft's id, and what the run answers; None if that takes longer than `seconds`: then the look goes on.

        Raises as `ask` does, but for that; and DryRunInProgress if the connector has a dry run that goes on.
        """
        try:
            look = await self._begin(kind, asked, connector_id, source, lifetime)
        except DryRunInProgress as error:
            if not await self._note_loss(error.dry_run_id):
                raise
            look = await self._begin(kind, asked, connector_id, source, lifetime)
        over = True
        answer = None
        try:
            if seconds == 0:
                await asyncio.wait({look.launching}, timeout=LAUNCH_SECONDS)
            answer = await self._answered(request, look, seconds)
            over = answer is not None
        finally:
            self._afterwards(self._end(look, answered=answer is not None) if over else self._note_launch(look))
        return look.draft_id, None if answer is None else _result(answer)

    async def result(self, draft_id: UUID, kind: Kind, connector_id: UUID) -> dict[str, Any] | None:
        """What a look has answered; None if it goes on. It stays. Raises NotFound, LookFailed."""
        await self._check(draft_id, kind, connector_id)
        answer = await run_in_threadpool(self._drafts.answered, draft_id)
        if answer is None and await self._note_loss(draft_id):
            answer = await run_in_threadpool(self._drafts.answered, draft_id)
        return None if answer is None else _result(answer)

    async def drop(self, draft_id: UUID, kind: Kind, connector_id: UUID) -> None:
        """End a look, and forget its answer. Raises NotFound."""
        await self._check(draft_id, kind, connector_id)
        await run_in_threadpool(self._drafts.drop, draft_id)
        run = await self._run_of(draft_id)
        if run is not None and run["status"] not in tuple(RunEnd):
            await self._runs.terminate(run["runId"])

    async def _check(self, draft_id: UUID, kind: Kind, connector_id: UUID) -> None:
        draft = await run_in_threadpool(self._drafts.take, draft_id)
        if (draft.kind, draft.connector_id) != (kind, connector_id):
            raise NotFound("draft")

    async def _note_loss(self, draft_id: UUID) -> bool:
        """Whether the run of a look has ended. If it ended without an answer, that is its answer."""
        run = await self._run_of(draft_id)
        if run is None or run["status"] not in tuple(RunEnd):
            return False
        await self._tell(draft_id, DryRunLost("the run was ended before it could give one"))
        return True

    async def _tell(self, draft_id: UUID, error: Refusal) -> None:
        """Answer a draft that has no answer yet."""
        with suppress(NotFound):
            told = {"error": {"code": error.code, "detail": str(error)}}
            await run_in_threadpool(self._drafts.answer, draft_id, told)

    async def _is_queued(self, draft_id: UUID) -> bool:
        run = await self._run_of(draft_id)
        return run is not None and run["status"] in _NOT_BEGUN

    async def _run_of(self, draft_id: UUID) -> dict[str, str] | None:
        """The run of a draft; None if it has none yet, or Dagster does not answer."""
        tagged = {"tags": [{"key": DRAFT_TAG, "value": str(draft_id)}]}
        answer = await self._runs.answer(OF_DRAFT, filter=tagged)
        found: list[dict[str, str]] = answer["runsOrError"].get("results", []) if answer else []
        return next(iter(found), None)

    async def _begin(
        self, kind: Kind, asked: dict[str, Any], connector_id: UUID | None, source: str, lifetime: timedelta
    ) -> _Look:
        draft_id = await run_in_threadpool(self._drafts.add, kind, asked, connector_id, lifetime)
        tags = {
            DRAFT_TAG: str(draft_id),
            KIND_TAG: kind,
            SOURCE_TAG: source,
            TENANT_TAG: self._drafts.tenant,
            TRIGGER_TAG: API,
        }
        return _Look(kind, draft_id, asyncio.create_task(self._runs.start(LOOK, LOOK_JOB, tags)))

    def _afterwards(self, work: Coroutine[Any, Any, None]) -> None:
        """In a task of its own, for the answer is not to wait for it, and a caller who goes is not to stop it."""
        ending = asyncio.create_task(work)
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _note_launch(self, look: _Look) -> None:
        """If the run of a look that goes on cannot be launched, that is its answer."""
        try:
            await look.launching
        except OrchestratorUnavailable as error:
            with suppress(StoreUnavailable):
                await self._tell(look.draft_id, NOT_STARTED[look.kind](error))

    async def finish(self) -> None:
        """Wait until all that is over is cleared away."""
        await asyncio.gather(*self._ending)

    async def _answered(self, request: Request, look: _Look, seconds: float) -> dict[str, Any] | None:
        """The answer; None if there is none within `seconds`."""
        began = time.monotonic()
        ask_run_at = began + _RUN_POLL_SECONDS
        while True:
            ended = False
            if time.monotonic() >= ask_run_at:  # before the answer is read: a run writes it before it ends
                ended = await self._has_ended(look)
                ask_run_at = time.monotonic() + _RUN_POLL_SECONDS
            with suppress(StoreUnavailable):
                answer = await self._read(self._drafts.answered, look)
                if answer is not None:
                    return answer
            waited = time.monotonic() - began
            if ended:
                raise LOST[look.kind]("the run was ended before it could give one")
            if look.launching.done():
                _launched(look)
            if waited >= seconds:
                return None
            if await request.is_disconnected():
                raise LOST[look.kind]("nobody waits for it any more")
            await asyncio.sleep(min(max(_SHORTEST_POLL_SECONDS, _POLL_SHARE * waited), _LONGEST_POLL_SECONDS))

    async def _has_ended(self, look: _Look) -> bool:
        run_id = _launched(look) if look.launching.done() else None
        return run_id is not None and await self._runs.has_ended(run_id)

    async def _end(self, look: _Look, *, answered: bool) -> None:
        """Delete the draft; then end its run, unless that has answered. A run that begins later finds no draft."""
        try:
            await run_in_threadpool(self._drafts.drop, look.draft_id)
        except StoreUnavailable:  # it is swept later
            log.warning("The draft %s could not be deleted yet: the store does not answer.", look.draft_id)
        with suppress(OrchestratorUnavailable):
            run_id = await look.launching
            if run_id is not None and not answered:
                await self._runs.terminate(run_id)

    async def _read(self, get: Callable[[UUID], dict[str, Any] | None], look: _Look) -> dict[str, Any] | None:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, get, look.draft_id)
        except NotFound:
            raise LOST[look.kind]("it took longer than a draft is kept") from None


def _result(answer: dict[str, Any]) -> dict[str, Any]:
    """What a run has answered. Raises LookFailed if it could not."""
    if (error := answer.get("error")) is not None:
        raise LookFailed(**error)
    result: dict[str, Any] = answer["result"]
    return result


def _launched(look: _Look) -> str | None:
    try:
        return look.launching.result()
    except OrchestratorUnavailable as error:
        raise NOT_STARTED[look.kind](error) from None
