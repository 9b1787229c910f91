"""Where an attempt's rows are staged until its final transaction.

On PostgreSQL those of a small pull stay in memory, because a table that is made and dropped leaves dead rows in the
catalog; those of a larger one are in a heap. On SQLite all are in a temporary table, so that only the final transaction
takes the lock.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import polars as pl
import sqlalchemy as sa

from qanatix_pipelines.errors import StagingLost
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.store import copying, heaps, leaves, tables
from qanatix_pipelines.store.heaps import Heap
from qanatix_pipelines.store.scratch import Scratch
from qanatix_pipelines.store.staged import Staged, numbered

# A pull that has read no more than this stays in memory. It holds some batches there anyway.
HELD_ROWS = 20_000
HELD_BYTES = 8 * 1024 * 1024
# SQLSTATE undefined_table (PostgreSQL documentation, appendix A).
_UNDEFINED_TABLE = "42P01"

Tell = Callable[[sa.Connection], None]


class Shelf(ABC):
    """The staged rows of one attempt, and their number. Each method raises StoreFull and StoreUnavailable.

    `heap` is a table of them that may become the leaf of the set, if there is one.
    """

    def __init__(self, engine: sa.Engine, set_number: int) -> None:
        self._engine = engine
        self.set_number = set_number
        self.rows = 0
        self.heap: Heap | None = None

    @abstractmethod
    def keep(self, entities: pl.DataFrame, tell: Tell, *, again: bool) -> None:
        """Stage the entities of a batch. `tell` is called in a transaction, the same if there is one.

        `again` says that an earlier try may have succeeded, and only its answer was lost.
        """

    @abstractmethod
    def transaction(self) -> AbstractContextManager[sa.Connection]:
        """A context with the final transaction."""

    @abstractmethod
    def staged(self, transaction: sa.Connection) -> Staged:
        """What was staged, in the final transaction. Raises StagingLost if rows are missing."""

    @abstractmethod
    def spend(self, transaction: sa.Connection) -> None:
        """Forget it, as part of the final transaction."""

    @abstractmethod
    def forget(self) -> None:
        """Forget it, once it is spent or dropped."""

    @abstractmethod
    def drop(self) -> None:
        """Drop it."""


class MemoryOrHeap(Shelf):
    """On PostgreSQL. Once nobody calls `drop`, because the process was killed, `heaps.sweep` does it."""

    def __init__(self, engine: sa.Engine, receipt: Receipt, set_number: int) -> None:
        super().__init__(engine, set_number)
        self._receipt = receipt
        self._held: list[pl.DataFrame] = []
        self._first: bool | None = None  # whether the set has no leaf

    def keep(self, entities: pl.DataFrame, tell: Tell, *, again: bool) -> None:
        if self._first is None:
            with self._engine.connect() as connection:
                self._first = not leaves.exists(connection, self.set_number)
        rows = numbered(entities, self.rows, alike=not self._first)
        if self.heap is None and self._fits(rows):
            with self._engine.begin() as transaction:
                tell(transaction)
            self._held.append(rows)
        else:
            heap = self.heap or Heap(self._receipt.id, self._receipt.attempt, leaf=self._first)
            with self._as_long_as_it_is_there(tell), self._engine.begin() as transaction:
                if self.heap is None:
                    heaps.make(transaction, heap)
                if again:
                    first = 0 if self._held else self.rows
                    transaction.execute(heap.table.delete().where(heap.table.c.row >= first))
                for part in (*self._held, rows):
                    copying.put(transaction, heap.table, part)
                # Last, because it locks the receipt: a process that is stopped inside COPY must not hold that lock.
                tell(transaction)
            self.heap = heap
            self._held.clear()
        self.rows += rows.height

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as transaction:
            yield transaction

    def staged(self, transaction: sa.Connection) -> Staged:
        if self.heap is not None:
            if not heaps.holds(transaction, self.heap, self.rows):
                raise StagingLost
            return Staged(self.heap.table, sa.true())
        own = {"pull_id": pl.lit(self._receipt.id.bytes)}
        for rows in self._held:
            alike = {} if "alike" in rows.columns else {"alike": pl.lit(1, pl.Int64)}
            copying.put(transaction, tables.staged, rows.with_columns(**own, **alike))
        return Staged(tables.staged, tables.staged.c.pull_id == self._receipt.id)

    def spend(self, transaction: sa.Connection) -> None:
        if self.heap is not None:
            heaps.drop(transaction, self.heap.pull_id, self.heap.attempt)
        else:
            transaction.execute(tables.staged.delete().where(tables.staged.c.pull_id == self._receipt.id))

    def forget(self) -> None:
        self._held.clear()

    def drop(self) -> None:
        if self.heap is not None:
            with self._engine.begin() as transaction:
                heaps.drop(transaction, self.heap.pull_id, self.heap.attempt)

    def _fits(self, rows: pl.DataFrame) -> bool:
        held = [*self._held, rows]
        return self.rows + rows.height <= HELD_ROWS and sum(one.estimated_size() for one in held) <= HELD_BYTES

    @contextmanager
    def _as_long_as_it_is_there(self, tell: Tell) -> Iterator[None]:
        """If the heap was swept, raise what `tell` says of that."""
        try:
            yield
        except Exception as error:
            if getattr(getattr(error, "orig", error), "sqlstate", None) != _UNDEFINED_TABLE:
                raise
            with self._engine.begin() as transaction:
                tell(transaction)
            raise StagingLost from None


class Temporary(Shelf):
    """On SQLite."""

    def __init__(self, engine: sa.Engine, set_number: int) -> None:
        super().__init__(engine, set_number)
        self._scratch: Scratch | None = None

    def keep(self, entities: pl.DataFrame, tell: Tell, *, again: bool) -> None:
        rows = numbered(entities, self.rows)
        if self._scratch is None:
            self._scratch = Scratch(self._engine)
        self._scratch.put(rows, instead=again)
        with self._engine.begin() as transaction:
            tell(transaction)
        self.rows += rows.height

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        if self._scratch is None:
            with self._engine.begin() as transaction:
                yield transaction
        else:
            with self._scratch.writing() as transaction:
                yield transaction

    def staged(self, _transaction: sa.Connection) -> Staged:
        return Scratch.staged

    def spend(self, transaction: sa.Connection) -> None:
        """It is gone with its connection."""

    def forget(self) -> None:
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def drop(self) -> None:
        """It is gone with its connection."""


def shelf_of(engine: sa.Engine, receipt: Receipt, set_number: int) -> Shelf:
    """Where the rows of the attempt of `receipt` are staged, which fills the set of this number."""
    if engine.dialect.name == "postgresql":
        return MemoryOrHeap(engine, receipt, set_number)
    return Temporary(engine, set_number)
