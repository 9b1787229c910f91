"""Writers that stamp rows and commit them late: what a rule for the next `:last_pull` must not lose.

Of the transactions nine in ten are short, most others stay open for up to half a second, and one in two hundred for
seconds. Each writer is seeded, has a connection of its own, and writes rows of its own, so that none waits for another.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

WRITERS = 8

Run = Callable[[str], Awaitable[object]]


@dataclass(frozen=True)
class Language:
    """How a database says what a writer does; `{id}` and `{value}` are integers, and the server stamps the row."""

    begin: str
    insert: str
    update: str


@dataclass(frozen=True)
class LastCommit:
    """A row's last committed value, and for how long, and how many changes, its transaction was open at the most."""

    value: int
    seconds: float
    changes: int


async def write(
    connect: Callable[[], AbstractAsyncContextManager[Run]], language: Language, seed: int, ended: Callable[[], bool]
) -> dict[int, LastCommit]:
    """Let all writers write until that is true, and tell what they committed, by id."""
    written: dict[int, LastCommit] = {}
    changes = itertools.count()

    async def one(number: int) -> None:
        async with connect() as run:
            await _Writer(run, language, random.Random(f"{seed}/{number}"), number, written, changes).write(ended)

    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(one(number))
    return written


class _Writer:
    def __init__(
        self,
        run: Run,
        language: Language,
        chance: random.Random,
        number: int,
        written: dict[int, LastCommit],
        changes: Iterator[int],
    ) -> None:
        self._run = run
        self._language = language
        self._chance = chance
        self._written = written
        self._changes = changes
        self._first_id = number * 1_000_000
        self._ids = 0
        self._value = 0

    async def write(self, ended: Callable[[], bool]) -> None:
        transactions = 0
        while not ended():
            await self._transaction(self._hold(transactions))
            transactions += 1
            await asyncio.sleep(self._chance.uniform(0, 0.02))

    def _hold(self, number: int) -> float:
        """How long a transaction stays open after it has stamped. The tenth is long, so that every writer has one."""
        draw = 1 if number == 9 else self._chance.random()
        if draw < 0.9:
            return 0
        return self._chance.uniform(0.1, 0.5) if draw < 0.995 else self._chance.uniform(2, 4)

    async def _transaction(self, hold: float) -> None:
        began, before = time.monotonic(), next(self._changes)
        await self._run(self._language.begin)
        changed = dict([await self._change() for _ in range(self._chance.randint(1, 3))])
        if hold:
            await asyncio.sleep(hold)
            changed |= dict([await self._change()])
        if self._chance.random() < 0.03:
            await self._run("ROLLBACK")
            return
        await self._run("COMMIT")
        seconds, changes = time.monotonic() - began, next(self._changes) - before
        self._written.update({row: LastCommit(value, seconds, changes) for row, value in changed.items()})

    async def _change(self) -> tuple[int, int]:
        """Insert a row, or change one that is committed."""
        self._value += 1
        next(self._changes)
        known = self._first_id + self._chance.randint(1, self._ids) if self._ids else None
        if known in self._written and self._chance.random() < 0.5:
            row, statement = known, self._language.update
        else:
            self._ids += 1
            row, statement = self._first_id + self._ids, self._language.insert
        await self._run(statement.format(id=row, value=self._value))
        return row, self._value
