"""Which of a pull's rows the store keeps already, just as they are: these need not be staged, nor merged.

To look each of them up in PostgreSQL's index would cost as much as it saves. To read the digests of the whole set once,
in the order in which they lie, costs a tenth of that for each entity, and so is done once a pull has read a tenth as
many rows as its set has entities.

Of rows with one key the last one counts. So a row is left out only if none with its key has been staged before it. A
Bloom filter of fixed size tells: it may take a row for one that was staged, never the other way round.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import polars as pl
import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.engine import asked_directly
from qanatix_pipelines.store.entity_sets import counted

# A set that is larger is not read: sixteen bytes are kept of each entity.
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

    def left_out(self, entities: pl.DataFrame) -> pl.DataFrame:
        """A batch's entities less those that need not be staged."""
        if self._entities is None:
            self._entities = self._count()
        if not 0 < self._entities <= MOST_ENTITIES:  # none will be left out, and nothing need be remembered
            return entities
        self._seen += entities.height
        positions = pl.col("id").str.head(_DIGITS).str.to_integer(base=16, dtype=pl.Int64) // 2**_SPARE_BITS
        position = entities.select(positions).to_series().to_list()
        found = self._found(entities, self._entities)
        unchanged = {place for place in found if not self._may_be_staged(position[place])}
        for place, at in enumerate(position):
            if place not in unchanged:
                self._staged[at >> 3] |= 1 << (at & 7)
        return entities.filter(~pl.int_range(pl.len()).is_in(list(unchanged))) if unchanged else entities

    def _may_be_staged(self, position: int) -> bool:
        return bool(self._staged[position >> 3] & 1 << (position & 7))

    def _found(self, entities: pl.DataFrame, kept: int) -> list[int]:
        """Where in the batch those are that the store keeps as they are, of `kept` entities of the set."""
        if self._known is None:
            if kept > _SHARE * self._seen:
                return []
            self._known = self._read()
        if self._known.is_empty():
            return []
        asked = entities.select(pl.col("id", "digest").str.decode("hex")).select(_high, _low)
        place = self._known["high"].search_sorted(asked["high"]).clip(0, self._known.height - 1)
        nearest = self._known[place]
        same = (asked["high"] == nearest["high"]) & (asked["low"] == nearest["low"])
        return same.arg_true().to_list()

    def _count(self) -> int:
        with self._engine.execution_options(reads=True).connect() as connection:
            return counted(connection, self._connector)

    def _read(self) -> pl.DataFrame:
        """An entity's id and digest as one number of 128 bits, which two of them share by a chance of 2 ** -100."""
        own = self._connector
        here = (own.tenant, own.vertical, own.entity_type)
        with self._engine.execution_options(reads=True).connect() as connection, asked_directly(connection):
            read = _copied if connection.dialect.name == "postgresql" else _selected
            pairs = [rows.select(_high, _low) for rows in read(connection.connection.cursor(), here)]
        return pl.concat(pairs).sort("high") if pairs else pl.DataFrame(schema={"high": pl.UInt64, "low": pl.UInt64})


def _half(start: int) -> pl.Expr:
    """Of ids and digests in bytes."""
    id_, digest = (pl.col(name).bin.slice(start, 8).bin.reinterpret(dtype=pl.UInt64) for name in ("id", "digest"))
    return id_ ^ digest


_high, _low = _half(0).alias("high"), _half(8).alias("low")


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
