"""The part of a pull that follows its reading: the store's work in a thread, with a deadline."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from qanatix_pipelines.errors import MergeTimeout, PullCancelled
from qanatix_pipelines.limits import Limits
from qanatix_pipelines.receipts import LEASE_SECONDS

_Done = TypeVar("_Done")


async def merged(
    merge: Callable[[], _Done], cancel: Callable[[], None], limits: Limits, on_merge: Callable[[float], None]
) -> _Done:
    """The result of `merge`, which is called in a thread. `cancel` has it raise PullCancelled there.

    `on_merge` is told every ten seconds for how many it has gone on. Raises MergeTimeout, unless `merge` ends before it
    can be cancelled.
    """
    begun = time.monotonic()
    merging = asyncio.create_task(asyncio.to_thread(merge))
    try:
        while (left := begun + limits.merge_seconds - time.monotonic()) > 0:
            await asyncio.wait({merging}, timeout=min(left, LEASE_SECONDS / 3))
            if merging.done():
                return merging.result()
            await asyncio.to_thread(on_merge, time.monotonic() - begun)
        await asyncio.to_thread(cancel)
        return await merging
    except PullCancelled:
        if left > 0:
            raise
        raise MergeTimeout(limits.merge_seconds) from None
    except asyncio.CancelledError:
        await asyncio.to_thread(cancel)  # a cancelled task does not stop its thread
        raise
