"""Processes that live until they have done something, or until a death meets them on the way."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from signal import SIGKILL
from typing import TypeVar

from tests.forked import forked

_LIFE_SECONDS = 120
# A process that is started looks after all others, and of two threads that ask how a child has ended one is not told.
_one_thread = threading.Lock()
_Life = TypeVar("_Life")


@dataclass(frozen=True)
class Death:
    """How one life ends: at a point, at a step, or so many seconds after it has begun."""

    point: str | None = None
    step: int | None = None
    seconds: float | None = None


def lived(live: Callable[[_Life, Connection], None], life: _Life, death: Death) -> float:
    """Have a process of its own `live` the life. How many seconds it lasted since it told that it has begun.

    It dies at points and steps by itself. After the seconds of its death it is killed.
    """
    hearing, telling = forked.Pipe(duplex=False)
    process = forked.Process(target=live, args=(life, telling))
    with _one_thread:
        process.start()
    telling.close()
    assert hearing.poll(_LIFE_SECONDS), "the life did not begin"
    started = time.monotonic()
    ended = wait([process.sentinel], _LIFE_SECONDS if death.seconds is None else death.seconds)
    seconds = time.monotonic() - started
    if death.seconds is not None and not ended:
        process.kill()
        wait([process.sentinel], _LIFE_SECONDS)
    with _one_thread:
        process.join(0)
        assert process.exitcode in (0, -SIGKILL), f"{life} ended with {process.exitcode}"
        process.close()
    hearing.close()
    return seconds
