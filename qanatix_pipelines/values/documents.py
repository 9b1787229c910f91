"""Rows whose values are JSON texts, each typed by itself, as they become batches: documents, and a graph's records."""

from collections.abc import Mapping, Sequence

import polars as pl

from qanatix_pipelines.batches import MAX_BATCH_BYTES, MAX_ROW_BYTES, Batch, Column
from qanatix_pipelines.rejections import GIANT, Fault

# A batch ends early where its rows have more fields than these altogether: documents may use names of fields as keys.
MAX_COLUMNS = 500


class Gathering:
    """The rows of one batch after another.

    Each row has the columns `names`, or, where there are none given, fields of its own. `source_type` is what the
    source calls the type of them all.
    """

    def __init__(self, batch_size: int, source_type: str, names: Sequence[str] = ()) -> None:
        self._batch_size = batch_size
        self._source_type = source_type
        self._names = dict.fromkeys(names)
        self._begin()

    def _begin(self) -> None:
        self._rows: list[Mapping[str, str]] = []
        self._fields = dict(self._names)
        self._faults: dict[int, Fault] = {}
        self._bytes = 0

    def add(self, row: Mapping[str, str], *, giant: bool = False) -> Batch | None:
        """Take one more row, or the place of a `giant`. The batch that it had no place in, if one is full."""
        size = _bytes("".join([*row, *row.values()]))
        giant = giant or size > MAX_ROW_BYTES
        values, size = ({}, 0) if giant else (row, size)
        full = len(self._rows) == self._batch_size or self._bytes + size > MAX_BATCH_BYTES
        crowded = not self._names and len(self._fields.keys() | row.keys()) > MAX_COLUMNS
        batch = self.rest() if full or crowded else None
        if giant:
            self._faults[len(self._rows)] = GIANT
        self._fields |= dict.fromkeys(row)
        self._rows.append(values)
        self._bytes += size
        return batch

    def rest(self) -> Batch | None:
        """The batch of what was taken since the last one."""
        if not self._rows:
            return None
        # Sorted, for two batches of documents with the same fields should have the same columns.
        fields = tuple(self._names) or sorted(self._fields)
        columns = tuple(
            Column(field, self._source_type, pl.String, json=True, optional=not self._names, sound=True)
            for field in fields
        )
        texts = {field: [row.get(field) for row in self._rows] for field in fields}
        frame = pl.DataFrame(texts, schema=dict.fromkeys(fields, pl.String), height=len(self._rows))
        batch = Batch(frame, columns, self._faults)
        self._begin()
        return batch


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
