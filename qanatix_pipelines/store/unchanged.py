"""Leaves out rows that are already in the store with the same content: they need not be staged or merged.

An index lookup for each row would cost as much as it saves. Reading all digests of the entity set in one scan costs a
tenth of an index lookup per entity, so we scan once the pull has read one row per ten entities.

Of rows with the same key the last one counts. So a row is left out only if no row with its key was staged before. A
Bloom filter of fixed size decides that: it may wrongly report a row as staged, but never misses one.

If a row with different content follows rows that were left out, their key does not tell rows apart. To have that
counted, a placeholder is staged before it, which stands for all rows that were left out: their id, the beginning of
their digest, and their number. It is never merged, because it is not the last row of its id.
"""

from array import array
from collections.abc import Iterator
from itertools import islice
from typing import Any

import polars as pl
import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.store.engine import asked_directly
from qanatix_pipelines.store.entity_sets import find
from qanatix_pipelines.store.leaves import Leaf, leaf_of

# A larger set is not scanned, because 32 bytes per entity are held in memory.
MOST_ENTITIES = 2_000_000
_SHARE = 10
_CHUNK = 50_000
# A row of COPY's binary format is 42 bytes: the number of fields, and two fields of 16 bytes, each after its length. A
# header comes before the first row; the trailer is shorter than a row.
_ID_AT, _DIGEST_AT, _ROW = 6, 26, 42
# An id is a hash, so its first 26 bits give its position in the filter. The filter's 2 ** 26 bits are 8 MiB.
_SPARE_BITS = 6
_FILTER_BYTES = 2 ** (32 - _SPARE_BITS - 3)


class Unchanged:
    """The filter of one attempt, which must get its batches in their order."""

    def __init__(self, engine: sa.Engine, connector: Connector) -> None:
        self._engine, self._connector = engine, connector
        self._set_number = 0
        self._staged = bytearray(_FILTER_BYTES)
        self._seen = 0
        self._entities: int | None = None
        self._known: pl.DataFrame | None = None
        self._left_out: array[int] = array("I")  # how many rows were left out, by position in `_known`

    def left_out(self, entities: pl.DataFrame) -> pl.DataFrame:
        """The entities of a batch that must be staged, with placeholders. Raises StoreUnavailable."""
        if self._entities is None:
            self._entities = self._count()
        if not 0 < self._entities <= MOST_ENTITIES:  # nothing will be left out, so nothing is remembered
            return entities
        self._seen += entities.height
        positions = pl.col("id").bin.slice(0, 4).bin.reinterpret(dtype=pl.UInt32, endianness="big") // 2**_SPARE_BITS
        position = entities.select(positions).to_series().to_list()
        if self._known is None and self._entities <= _SHARE * self._seen:
            self._known = self._read()
            self._left_out = array("I", bytes(4 * self._known.height))
        if self._known is None or self._known.is_empty():
            for at in position:
                self._staged[at >> 3] |= 1 << (at & 7)
            return entities
        return self._less(entities, self._known, position)

    def _less(self, entities: pl.DataFrame, known: pl.DataFrame, position: list[int]) -> pl.DataFrame:
        """The entities without those that are unchanged. `position` has each entity's position in the filter."""
        asked = entities.select(_first, _high, _low)
        place = known["first"].search_sorted(asked["first"]).clip(0, known.height - 1)
        nearest = known[place]
        there = asked["first"] == nearest["first"]
        same = there & (asked["high"] == nearest["high"]) & (asked["low"] == nearest["low"])
        unchanged: list[int] = []
        followed: list[dict[str, Any]] = []
        facts = zip(position, *(one.to_list() for one in (entities["alike"], place, there, same)), strict=True)
        for row, (at, alike, kept, is_there, is_same) in enumerate(facts):
            if is_same and not self._staged[at >> 3] & 1 << (at & 7):
                unchanged.append(row)
                self._left_out[kept] += alike
                continue
            self._staged[at >> 3] |= 1 << (at & 7)
            if is_there and self._left_out[kept]:
                followed.append(_standing(entities["id"][row], known.row(kept, named=True), self._left_out[kept]))
                self._left_out[kept] = 0
        if unchanged:
            entities = entities.filter(~pl.int_range(pl.len()).is_in(unchanged))
        return pl.concat([pl.DataFrame(followed, schema=entities.schema), entities]) if followed else entities

    def _count(self) -> int:
        with self._engine.execution_options(reads=True).connect() as connection:
            found = find(connection, self._connector)
        if found is None:
            return 0
        self._set_number = found.number
        return found.entities

    def _read(self) -> pl.DataFrame:
        """For each entity 64 bits of its id, and 128 bits that combine id and digest.

        Two entities of a set share the 64 bits with a probability of 2 ** -23; then one is staged needlessly. Two
        contents share the 128 bits with a probability of 2 ** -100.
        """
        with self._engine.execution_options(reads=True).connect() as connection, asked_directly(connection):
            leaf = leaf_of(connection, self._set_number)
            read = _copied if connection.dialect.name == "postgresql" else _selected
            known = [rows.select(_first, _high, _low) for rows in read(connection.connection.cursor(), leaf)]
        return pl.concat(known).sort("first") if known else pl.DataFrame(schema=_KNOWN)


def _standing(id_: bytes, known: dict[str, int], rows: int) -> dict[str, Any]:
    """The placeholder for `rows` rows that were left out because they equal the known entity of this id."""
    halves = (known[half] ^ int.from_bytes(id_[start : start + 8], "little") for half, start in _HALVES)
    digest = b"".join(half.to_bytes(8, "little") for half in halves)
    return {"id": id_, "source_id": None, "digest": digest, "name": None, "data": "null", "alike": rows}


def _number(name: str, start: int) -> pl.Expr:
    """Eight bytes of an id or a digest as an integer."""
    return pl.col(name).bin.slice(start, 8).bin.reinterpret(dtype=pl.UInt64)


_HALVES = (("high", 0), ("low", 8))
_first = _number("id", 0).alias("first")
_high, _low = ((_number("id", start) ^ _number("digest", start)).alias(half) for half, start in _HALVES)
_KNOWN = dict.fromkeys(("first", "high", "low"), pl.UInt64)


def _copied(cursor: Any, leaf: Leaf) -> Iterator[pl.DataFrame]:
    """Ids and digests by COPY in binary (PostgreSQL documentation, COPY, "Binary Format")."""
    digests = f"SELECT id, substr(digest, 1, 16) FROM {leaf.table.fullname}"
    with cursor.copy(f"COPY ({digests}) TO STDOUT (FORMAT binary)") as lines:
        while some := [bytes(line) for line in islice(lines, _CHUNK)]:
            row = pl.Series([line[-_ROW:] for line in some if len(line) >= _ROW], dtype=pl.Binary)
            yield row.to_frame("row").select(
                id=pl.col("row").bin.slice(_ID_AT, 16), digest=pl.col("row").bin.slice(_DIGEST_AT, 16)
            )


def _selected(cursor: Any, leaf: Leaf) -> Iterator[pl.DataFrame]:
    cursor.execute("SELECT id, digest FROM entity WHERE set_number = ?", (leaf.number,))
    while some := cursor.fetchmany(_CHUNK):
        yield pl.DataFrame(some, schema={"id": pl.Binary, "digest": pl.Binary}, orient="row")
