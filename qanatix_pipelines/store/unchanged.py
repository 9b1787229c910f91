"""Which of a pull's rows the store keeps already, just as they are: these need not be staged, nor merged.

To look each of them up in PostgreSQL's index would cost as much as it saves. To read the digests of the whole set once,
in the order in which they lie, costs a tenth of that for each entity, and so is done once a pull has read a tenth as
many rows as its set has entities.

Of rows with one key the last one counts. So a row is left out only if none with its key has been staged before it. A
Bloom filter of fixed size tells: it may take a row for one that was staged, never the other way round.

If a row with other content follows one that was left out, the two have one key that is none. So the first of these is
preceded by a row that stands for all that were left out: an id, a digest's beginning, and how many. It is never merged,
for it is not the last of its id.
"""

from array import array
from collections.abc import Iterator
from itertools import islice
from typing import Any

import polars as pl
import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.engine import asked_directly
from qanatix_pipelines.store.entity_sets import counted

# A set that is larger is not read: 32 bytes are kept of each entity.
MOST_ENTITIES = 2_000_000
_SHARE = 10
_CHUNK = 50_000
# Of COPY's binary rows: how many fields, and two of sixteen bytes, each behind its length. A header stands before the
# first one, and what is shorter is the end.
_ID_AT, _DIGEST_AT, _ROW = 6, 26, 42
# The first digits of an id, which are those of a hash, say where in the filter it is: 2 ** 26 bits are 8 MiB.
_DIGITS, _SPARE_BITS = 7, 2
_FILTER_BYTES = 2 ** (4 * _DIGITS - _SPARE_BITS - 3)


class Unchanged:
    """Of one attempt, whose batches come in their order. Both methods raise StoreUnavailable."""

    def __init__(self, engine: sa.Engine, connector: Connector) -> None:
        self._engine, self._connector = engine, connector
        self._staged = bytearray(_FILTER_BYTES)
        self._seen = 0
        self._entities: int | None = None
        self._known: pl.DataFrame | None = None
        self._left_out: array[int] = array("I")  # how many rows, of each of the known

    def left_out(self, entities: pl.DataFrame) -> pl.DataFrame:
        """A batch's entities less those that need not be staged."""
        if self._entities is None:
            self._entities = self._count()
        if not 0 < self._entities <= MOST_ENTITIES:  # none will be left out, and nothing need be remembered
            return entities
        self._seen += entities.height
        positions = pl.col("id").str.head(_DIGITS).str.to_integer(base=16, dtype=pl.Int64) // 2**_SPARE_BITS
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
        """The entities, at these positions of the filter, less those that are known as they are."""
        asked = entities.select(pl.col("id", "digest").str.decode("hex")).select(_first, _high, _low)
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
            return counted(connection, self._connector)

    def _read(self) -> pl.DataFrame:
        """Of each entity 64 bits of its id, and its id and digest as one number of 128.

        Two of a set share the first by a chance of 2 ** -23, and then one is staged in vain; two contents share the
        other by one of 2 ** -100.
        """
        own = self._connector
        here = (own.tenant, own.vertical, own.entity_type)
        with self._engine.execution_options(reads=True).connect() as connection, asked_directly(connection):
            read = _copied if connection.dialect.name == "postgresql" else _selected
            known = [rows.select(_first, _high, _low) for rows in read(connection.connection.cursor(), here)]
        return pl.concat(known).sort("first") if known else pl.DataFrame(schema=_KNOWN)


def _standing(id_: str, known: dict[str, int], rows: int) -> dict[str, Any]:
    """What stands for so many rows that were left out, all as the entity of this id is known."""
    halves = (known[half] ^ int.from_bytes(bytes.fromhex(id_)[start : start + 8], "little") for half, start in _HALVES)
    digest = b"".join(half.to_bytes(8, "little") for half in halves).hex()
    return {"id": id_, "source_id": None, "digest": digest, "name": None, "data": "null", "alike": rows}


def _number(name: str, start: int) -> pl.Expr:
    """Eight bytes of an id or a digest."""
    return pl.col(name).bin.slice(start, 8).bin.reinterpret(dtype=pl.UInt64)


_HALVES = (("high", 0), ("low", 8))
_first = _number("id", 0).alias("first")
_high, _low = ((_number("id", start) ^ _number("digest", start)).alias(half) for half, start in _HALVES)
_KNOWN = dict.fromkeys(("first", "high", "low"), pl.UInt64)


def _copied(cursor: Any, here: tuple[str, ...]) -> Iterator[pl.DataFrame]:
    """PostgreSQL documentation, COPY, "Binary Format": a row is its two values, each behind its length."""
    digests = (
        f"SELECT id, substr(digest, 1, 16) FROM {tables.SCHEMA}.entity "
        "WHERE tenant = %s AND vertical = %s AND entity_type = %s"
    )
    with cursor.copy(f"COPY ({digests}) TO STDOUT (FORMAT binary)", here) as lines:
        while some := [bytes(line) for line in islice(lines, _CHUNK)]:
            row = pl.Series([line[-_ROW:] for line in some if len(line) >= _ROW], dtype=pl.Binary)
            yield row.to_frame("row").select(
                id=pl.col("row").bin.slice(_ID_AT, 16), digest=pl.col("row").bin.slice(_DIGEST_AT, 16)
            )


def _selected(cursor: Any, here: tuple[str, ...]) -> Iterator[pl.DataFrame]:
    cursor.execute("SELECT id, digest FROM entity WHERE tenant = ? AND vertical = ? AND entity_type = ?", here)
    while some := cursor.fetchmany(_CHUNK):
        rows = pl.DataFrame(some, schema={"id": pl.String, "digest": pl.Binary}, orient="row")
        yield rows.with_columns(pl.col("id").str.decode("hex"))
