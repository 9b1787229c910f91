"""What flows from a source to the store: Polars frames whose columns say how they become JSON."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl


@dataclass(frozen=True)
class Column:
    """A column of a query's result.

    `dtype` is what a frame holds it in. A type that Polars cannot hold exactly (numeric, jsonb, an array) travels as
    its own JSON text, `json=True`, which enters the entity as it stands; any other text is a JSON string. A null is
    JSON's null, but in an `optional` column, a field that not every document has, it means that the field is not there.
    """

    name: str
    source_type: str
    dtype: type[pl.DataType]
    json: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Batch:
    """At least one row and at most `batch_size`; `frame` has `columns`, in that order."""

    frame: pl.DataFrame
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Reading:
    """One query that is being read over one connection.

    `columns` is known before the first row, but not where each document has fields of its own: None there.
    `watermark` is how far the source has been seen by its own clock, if this is read to its end; None if the query does
    not ask for `:last_pull`, or if nothing is known of it.
    `id_column` is the key's column where the connector names none.
    """

    columns: tuple[Column, ...] | None
    watermark: datetime | None
    batches: AsyncIterator[Batch]
    id_column: str = "id"
