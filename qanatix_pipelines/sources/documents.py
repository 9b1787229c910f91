"""Batches of rows whose values each have their own type: documents, and a graph's records."""

from collections.abc import AsyncIterator, Mapping, Sequence
from json.encoder import encode_basestring

import polars as pl

from qanatix_pipelines.batches import MAX_BATCH_BYTES, MAX_ROW_BYTES, OBJECT, Batch, Column, Named
from qanatix_pipelines.rejections import OVERSIZED, Fault

# A larger row is read in a thread: heartbeats, deadlines and cancels must not wait for it.
LARGE_BYTES = 2**16
# At most so many fields of a reading are listed as columns, for documents may use values as field names. Fields that
# the connector names are always listed.
MAX_COLUMNS = 500

# The JSON texts of its fields, its key by `key_text`, and its fault. A row with a fault only takes its place.
Row = tuple[Mapping[str, str], str | None, Fault | None]


async def at_most(count: int, rows: AsyncIterator[Row]) -> AsyncIterator[Row]:
    """The first `count` rows, which is 1 or more. After the last of them nothing more is asked for."""
    async for row in rows:
        yield row
        count -= 1
        if not count:
            return


class _Members(dict[str, str]):
    """The beginning of an object's member, such as `"name":`, by the field's name. Keeps at most MAX_COLUMNS."""

    def __missing__(self, field: str) -> str:
        member = f"{encode_basestring(field)}:"
        if len(self) < MAX_COLUMNS:
            self[field] = member
        return member


class Gathering:
    """Gathers rows into batches. Each row is one JSON text of an object, with the `named` columns beside it.

    A row costs as much as its text, however many fields it has. All rows have the columns `names`; without `names`,
    each row has fields of its own. `source_type` is what the source calls the type of every field.
    """

    def __init__(self, batch_size: int, source_type: str, named: Named, names: Sequence[str] = ()) -> None:
        self._batch_size = batch_size
        self._source_type = source_type
        self._named = named
        self._wanted = tuple(dict.fromkeys(name for name in (named.key, named.name, named.cursor) if name is not None))
        self._members = _Members((name, f"{encode_basestring(name)}:") for name in names)
        self._columns: tuple[Column, ...] = ()
        self._begin()

    def _begin(self) -> None:
        self._objects: list[str | None] = []
        self._texts: dict[str, list[str | None]] = {name: [] for name in self._wanted}
        self._faults: dict[int, Fault] = {}
        self._bytes = 0

    def add(self, row: Mapping[str, str], key: str | None = None, *, fault: Fault | None = None) -> Batch | None:
        """Take one more row. Returns the batch before it, if that one is full."""
        members, named = self._members, self._named
        text = "{" + ",".join([members[field] + row[field] for field in sorted(row) if field != named.name]) + "}"
        size = _bytes(text) + _bytes(row.get(named.name, ""))
        if size > MAX_ROW_BYTES:
            row, key, fault = {}, None, OVERSIZED
        size = 0 if fault else size
        full = len(self._objects) == self._batch_size or self._bytes + size > MAX_BATCH_BYTES
        batch = self.rest() if full else None
        if fault is not None:
            self._faults[len(self._objects)] = fault
        self._objects.append(None if fault else text)
        for wanted, texts in self._texts.items():
            texts.append(key if wanted == named.key else row.get(wanted))
            if wanted in row and wanted not in members:
                members[wanted] = f"{encode_basestring(wanted)}:"
        self._bytes += size
        return batch

    async def filled(self, rows: AsyncIterator[Row]) -> Batch | None:
        """The next batch of these rows. None if none is left."""
        async for row, key, fault in rows:
            if (full := self.add(row, key, fault=fault)) is not None:
                return full
        return self.rest()

    def rest(self) -> Batch | None:
        """The rows that were taken since the last batch. None if there are none."""
        if not self._objects:
            return None
        if len(self._columns) < len(self._members):
            # Sorted, so that two readings of the same fields have the same columns.
            self._columns = tuple(
                Column(field, self._source_type, pl.String, json=True, sound=True) for field in sorted(self._members)
            )
        texts = {name: texts for name, texts in self._texts.items() if name in self._members} | {OBJECT: self._objects}
        frame = pl.DataFrame(texts, schema=dict.fromkeys(texts, pl.String))
        batch = Batch(frame, self._columns, self._faults)
        self._begin()
        return batch


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
