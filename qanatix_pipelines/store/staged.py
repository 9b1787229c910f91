"""Staged rows, where nobody sees them: in the table `staged` for a pull, in a temporary one for the trial of a pull."""

from io import BytesIO
from typing import NamedTuple

import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from qanatix_pipelines.batches import parts
from qanatix_pipelines.store.engine import asked_directly

# The characters that COPY's text format requires to be escaped.
_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
_SPECIAL = r"[\\\n\r\t]"


class Staged(NamedTuple):
    """The staged rows of one attempt: those of `table` that are its `own`."""

    table: sa.Table
    own: sa.ColumnElement[bool]


def newest(transaction: sa.Connection, staged: Staged) -> tuple[sa.Subquery, sa.ColumnElement[bool]]:
    """A subquery of staged rows, and which of them to take: the newest of each entity."""
    of = staged.table.c
    own = sa.select(staged.table).where(staged.own)
    latest = of.seq.desc()
    if transaction.dialect.name == "postgresql":
        return own.ext(distinct_on(of.entity_id)).order_by(of.entity_id, latest).subquery(), sa.true()
    age = sa.func.row_number().over(partition_by=of.entity_id, order_by=latest)
    rows = own.add_columns(age.label("age")).subquery()
    return rows, rows.c.age == 1


def numbered(entities: pl.DataFrame, first: int) -> pl.DataFrame:
    """The entities of a batch as rows to stage, numbered from `first`."""
    return entities.select(
        pl.int_range(first, first + pl.len()).alias("seq"),
        pl.col("id").alias("entity_id"),
        *("source_id", "digest", "name", "data", "alike"),
    )


def insert_staged(transaction: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> None:
    """Insert `rows`, a frame with columns of `table`. On PostgreSQL, COPY is several times faster than INSERT."""
    if transaction.dialect.name == "postgresql":
        copy = f"COPY {table.fullname} ({', '.join(rows.columns)}) FROM STDIN"
        with asked_directly(transaction), transaction.connection.cursor().copy(copy) as stream:
            for part in parts(rows):
                stream.write(_copy_text(part))
    elif rows.height:
        values = ", ".join("?" * rows.width)
        insert = f"INSERT INTO {table.name} ({', '.join(rows.columns)}) VALUES ({values})"
        ids = pl.col("entity_id").bin.encode("hex")
        transaction.exec_driver_sql(insert, rows.with_columns(ids).rows())


def _copy_text(rows: pl.DataFrame) -> bytes:
    """Rows in COPY's text format (PostgreSQL documentation, COPY, "Text Format")."""
    texts = rows.select("source_id", "name", "data")
    # A search is many times faster than a replacement, and most columns of most batches have nothing to escape.
    special = texts.select(pl.all().str.contains(_SPECIAL).any()).row(0, named=True)
    escaped = [pl.col(name).str.replace_many(_ESCAPES) for name, found in special.items() if found]
    ids = pl.col("entity_id").bin.encode("hex")
    digests = pl.lit(r"\\x") + pl.col("digest").bin.encode("hex")
    written = BytesIO()
    rows.with_columns(*escaped, entity_id=ids, digest=digests).write_csv(
        written, include_header=False, separator="\t", null_value=r"\N", quote_style="never"
    )
    return written.getvalue()
