"""Fills a set with what a pull has staged: into its leaf, or by making the first heap its leaf."""

from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from qanatix_pipelines.row_keys import Repeated
from qanatix_pipelines.store import leaves
from qanatix_pipelines.store.entity_sets import entities_in
from qanatix_pipelines.store.heaps import Heap
from qanatix_pipelines.store.leaves import Leaf, Made
from qanatix_pipelines.store.merge import merge
from qanatix_pipelines.store.planning import BY_HASH, planned
from qanatix_pipelines.store.repeated import drop_repeated
from qanatix_pipelines.store.shelves import Shelf
from qanatix_pipelines.store.staged import Staged


@dataclass(frozen=True)
class Filled:
    """How many entities are new or changed, which keys were repeated, and whether the leaf must be attached."""

    leaf: Leaf
    ingested: int = 0
    repeated: Repeated = field(default_factory=Repeated)
    attach: bool = False


def fill(transaction: sa.Connection, shelf: Shelf, made: Made) -> Filled:
    """Turn all that is on the shelf into entities, in the pull's final transaction. Raises StagingLost."""
    number = made.set_number
    leaf = leaves.leaf_of(transaction, number)
    if not shelf.rows:
        return Filled(leaf)
    staged = shelf.staged(transaction)
    attach = not leaves.exists(transaction, number)
    if attach:
        leaves.lock(transaction, number)
        attach = not leaves.exists(transaction, number)  # another pull may have made it meanwhile
    if attach and shelf.heap is not None:
        return Filled(leaf, *_become(transaction, shelf.heap, made, shelf.rows), attach=True)
    if attach:
        leaves.make(transaction, number)
    entities = entities_in(transaction, number)
    merged = merge(transaction, leaf, staged, made, rows=shelf.rows, entities=entities)
    shelf.spend(transaction)
    return Filled(leaf, *merged, attach=attach)


def _become(transaction: sa.Connection, heap: Heap, made: Made, rows: int) -> tuple[int, Repeated]:
    try:
        with transaction.begin_nested():
            leaves.become(transaction, heap.attempt, made)
    except IntegrityError:  # a key occurs twice
        with planned(transaction, BY_HASH):
            lost = drop_repeated(transaction, Staged(heap.table, sa.true()))
        leaves.become(transaction, heap.attempt, made)
        leaf = leaves.leaf_of(transaction, made.set_number).table
        return transaction.execute(sa.select(sa.func.count()).select_from(leaf)).scalar_one(), lost
    return rows, Repeated()
