"""What flows from a source to the store: Polars frames whose columns say how they become JSON."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from qanatix_pipelines.errors import ResultUnusable
from qanatix_pipelines.rejections import Fault

# Memory is bounded by these and not by rows: a batch holds a few rows where they are large, and a row that is larger
# than the most an entity may have is set aside.
MAX_BATCH_BYTES = 32 * 1024 * 1024
MAX_ROW_BYTES = 16 * 1024 * 1024
# What stands between a batch's rows and their texts is several times its size, so it is made in parts of so much.
_PART_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Column:
    """A column of a query's result.

    `dtype` is what a frame holds it in. A type that Polars cannot hold exactly (numeric, jsonb, an array) travels as
    its own JSON text, `json=True`, which enters the entity as it stands; any other text is a JSON string. A null is
    JSON's null. Text that is `sound` was made JSON here, and not by a server: nobody need look whether it is.
    """

    name: str
    source_type: str
    dtype: type[pl.DataType]
    json: bool = False
    sound: bool = False


def check_names(columns: Sequence[Column]) -> None:
    """Raise ResultUnusable where two columns share a name: neither a frame nor an object can hold both."""
    names = [column.name for column in columns]
    if len(set(names)) != len(names):
        twice = ", ".join(sorted({repr(name) for name in names if names.count(name) > 1}))
        raise ResultUnusable(f"The query returns more than one column called {twice}: give each its own name.")


# The column of a frame in which each row is one JSON object. No field and no column can be called so.
OBJECT = "\x00object"


@dataclass(frozen=True)
class Named:
    """The columns that a connector means by its options. Without a `key` it is the source's own."""

    key: str | None = None
    name: str = "name"
    cursor: str | None = None


@dataclass(frozen=True)
class Batch:
    """At least one row and at most `batch_size`; `frame` has `columns`, in that order.

    Where rows have fields of their own, or are typed value by value, the source makes their JSON: the frame then has
    `OBJECT`, each row's data without its name, sorted by key; and of the `columns` only those that are `Named`, as JSON
    texts, where null is a field that is not there. The key's text is the same for what the source compares as equal.

    It is closed early by the row with which it has MAX_BATCH_BYTES, as the source sends them. `faults` are what the
    source found wrong with rows, by their places in the frame, from 0: they are rejected for that. Of a giant, a row
    over MAX_ROW_BYTES, it left all values out, else that of the fault's column.
    """

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    faults: Mapping[int, Fault] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """One query that is being read over one connection.

    `columns` is known before the first row, but not where each document has fields of its own: None there.
    `watermark` is how far the source has been seen by its own clock, if this is read to its end; None if the query does
    not ask for `:last_pull`, or if nothing is known of it.
    `id_column` is the key's column where the connector names none. Where `id_required`, a row without a key is none of
    the source's: it is rejected if the result has a key's column. Unless `names_have_case`, `ID` is the column `id`.
    """

    columns: tuple[Column, ...] | None
    watermark: datetime | None
    batches: AsyncIterator[Batch]
    id_column: str = "id"
    id_required: bool = False
    names_have_case: bool = True

    def spelled(self, name: str) -> str:
        """The name as the column that it means is called here; as it is, if there is none."""
        names = [column.name for column in self.columns or ()]
        if self.names_have_case or name in names:
            return name
        return next((own for own in names if own.lower() == name.lower()), name)


def parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """`rows` in slices of a few MiB. None of no rows."""
    return rows.iter_slices(max(1, rows.height * _PART_BYTES // max(1, round(rows.estimated_size()))))
