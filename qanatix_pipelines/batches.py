"""What flows from a source to the store: batches of rows as Polars frames, and how each column becomes JSON."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from qanatix_pipelines.errors import ResultUnusable
from qanatix_pipelines.rejections import Fault

# Bytes, not rows, bound the memory: a batch of large rows holds few of them, and an oversized row is rejected.
MAX_BATCH_BYTES = 32 * 1024 * 1024
MAX_ROW_BYTES = 16 * 1024 * 1024
# Turning rows into JSON texts takes several times their size in memory, so a batch is turned in parts of this size.
_PART_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Column:
    """A column of a query's result.

    `dtype` is the column's type in a frame. A type that Polars cannot hold exactly (numeric, jsonb, an array) is
    carried as JSON text: `json` is true, and the text enters the entity unchanged. Any other text becomes a JSON
    string, and null becomes JSON's null. `sound` marks JSON text that our own code made: it is not checked again.
    """

    name: str
    source_type: str
    dtype: type[pl.DataType]
    json: bool = False
    sound: bool = False


def check_names(columns: Sequence[Column]) -> None:
    """Raise ResultUnusable if two columns share a name: neither a frame nor a JSON object can hold both."""
    names = [column.name for column in columns]
    if len(set(names)) != len(names):
        twice = ", ".join(sorted({repr(name) for name in names if names.count(name) > 1}))
        raise ResultUnusable(f"The query returns more than one column called {twice}: give each its own name.")


# The frame's column that holds each row as one JSON object. The NUL keeps it apart from every real column and field.
OBJECT = "\x00object"


@dataclass(frozen=True)
class Named:
    """The columns that a connector's options name. Without a `key`, the source's own key column is used."""

    key: str | None = None
    name: str = "name"
    cursor: str | None = None


@dataclass(frozen=True)
class Batch:
    """At least one row and at most `batch_size`; `frame` has `columns`, in that order.

    A source whose rows have different fields, or whose values carry their own types, makes the JSON itself. The frame
    then has `OBJECT`, each row's data without its name and sorted by key. Of the `columns` it has only those that are
    `Named`, as JSON texts; null there means that the row lacks the field. Keys that the source compares as equal have
    the same text.

    A batch ends early with the row that brings it to MAX_BATCH_BYTES. `faults` maps a row's position in the frame,
    from 0, to what the source found wrong with it; such a row is rejected. An oversized row (over MAX_ROW_BYTES) comes
    without any values; any other faulty row lacks only the value of the fault's column.
    """

    frame: pl.DataFrame
    columns: tuple[Column, ...]
    faults: Mapping[int, Fault] = field(default_factory=dict)


# A plan that names more tables than this is nobody's: it is not told.
MOST_TABLES = 1000
_MOST_ROWS = 2**63


def counted(told: object) -> int | None:
    """A number of rows that a source tells, to the nearest whole one. None if it can be no such number."""
    return round(told) if type(told) in (int, float) and 0 <= told < _MOST_ROWS else None  # type: ignore[operator,call-overload]


@dataclass(frozen=True)
class Scanned:
    """A table, or its like, that a query reads whole. `rows` is the planner's estimate; None if it makes none."""

    table: str
    rows: int | None


@dataclass(frozen=True)
class Plan:
    """What the source's planner expects of a query, without running it.

    `rows` is its estimate for the whole result. `sorts` says that the source sorts all rows before the first one comes.
    `index` serves the comparison with `:last_pull`; None if there is none, or the planner does not tell.
    """

    rows: int | None
    whole: tuple[Scanned, ...] = ()
    sorts: bool = False
    index: str | None = None


@dataclass(frozen=True)
class Expected:
    """What is known of a query before its rows.

    `last_pull_types` are the source's types that `:last_pull` is compared with, as far as it tells.
    Of those in `foreign_types` the comparison is never true, and no error either.
    """

    last_pull_types: tuple[str, ...] = ()
    plan: Plan | None = None
    foreign_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """One query, while it is read over one connection.

    `columns` are known before the first row; None if each document has fields of its own.
    `watermark` is the time by the source's clock up to which this reading is complete, once it has been read to the
    end. None if the query has no `:last_pull`, or if the source cannot tell.
    `id_column` is the key's column if the connector names none. With `id_required`, every row of the source has a key:
    if the result has the key's column, a row that is null there is rejected. Without `names_have_case`, `ID` names the
    column `id`. `expected` is told of a reading that is limited to some rows.
    """

    columns: tuple[Column, ...] | None
    watermark: datetime | None
    batches: AsyncIterator[Batch]
    id_column: str = "id"
    id_required: bool = False
    names_have_case: bool = True
    expected: Expected | None = None

    def spelled(self, name: str) -> str:
        """The spelling that this result uses for the column `name`; `name` itself if it has no such column."""
        names = [column.name for column in self.columns or ()]
        if self.names_have_case or name in names:
            return name
        return next((own for own in names if own.lower() == name.lower()), name)


async def first(batches: AsyncIterator[Batch], rows: int | None) -> AsyncIterator[Batch]:
    """The batches up to so many rows, and not one more is asked for; None for all."""
    left = rows
    while left is None or left > 0:
        batch = await anext(batches, None)
        if batch is None:
            return
        if left is not None:
            if batch.frame.height > left:
                faults = {row: fault for row, fault in batch.faults.items() if row < left}
                batch = Batch(batch.frame.head(left), batch.columns, faults)
            left -= batch.frame.height
        yield batch
        del batch  # before the next one is read


def parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """`rows` in slices of about 4 MiB. An empty frame has no slices."""
    return rows.iter_slices(max(1, rows.height * _PART_BYTES // max(1, round(rows.estimated_size()))))
