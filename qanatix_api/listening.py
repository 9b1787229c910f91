"""Whether the connection of a request that waits for a pull is still there."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from qanatix_api.logs import logger
from qanatix_api.repeats import has_key
from qanatix_pipelines.errors import StoreUnavailable
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.history import History

log = logger(__name__)


class Waiting:
    """A request that waits for a pull.

    If its connection is cut off meanwhile, that is noted at once on the pull's receipt. So a repeat of the request gets
    this receipt, and not that of a new pull, which would find nothing new. A request with an Idempotency-Key is
    answered again by that.
    """

    def __init__(self, request: Request, history: History, pull_id: UUID) -> None:
        self._request, self._history, self._pull_id = request, history, pull_id
        self._asked_at = now()
        self._repeats_by_key = has_key(request)
        self._listening: asyncio.Task[None] | None = None
        self._gone = False

    async def __aenter__(self) -> Self:
        if not self._repeats_by_key:
            self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening

    async def hear(self, receipt: Receipt) -> None:
        """Note that this request is answered with `receipt`, if one that came earlier was cut off."""
        if receipt.unheard_at is not None and not self._gone and not self._repeats_by_key:
            await self._note(self._history.note_heard, receipt.id, self._asked_at)

    async def _listen(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        await self._note(self._history.note_unheard, self._pull_id)

    async def _note(self, write: Callable[..., None], *what: Any) -> None:
        try:
            await run_in_threadpool(write, *what)
        except StoreUnavailable as error:
            log.warning("Whether the caller of pull %s has its answer was not kept: %s", self._pull_id, error)
