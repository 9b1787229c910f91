"""Writes frames into tables: on PostgreSQL by COPY in its binary format, on SQLite by INSERT."""

import polars as pl
import sqlalchemy as sa

from qanatix_pipelines.batches import parts
from qanatix_pipelines.store.engine import asked_directly


def put(transaction: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> None:
    """Insert `rows`, a frame with columns of `table`. UUIDs in it are 16 bytes."""
    if rows.is_empty():
        return
    if transaction.dialect.name == "postgresql":
        _copy(transaction, table, rows)
        return
    values = ", ".join("?" * rows.width)
    transaction.exec_driver_sql(f"INSERT INTO {table.name} ({', '.join(rows.columns)}) VALUES ({values})", rows.rows())


def _copy(transaction: sa.Connection, table: sa.Table, rows: pl.DataFrame) -> None:
    from pgpq import ArrowToPostgresBinaryEncoder  # with Arrow, which the API does not need

    copy = f"COPY {table.fullname} ({', '.join(rows.columns)}) FROM STDIN (FORMAT binary)"
    encoder = None
    with asked_directly(transaction), transaction.connection.cursor().copy(copy) as stream:
        for part in parts(rows):
            arrow = part.to_arrow()
            if encoder is None:
                encoder = ArrowToPostgresBinaryEncoder(arrow.schema)
                stream.write(encoder.write_header())
            for batch in arrow.to_batches():
                stream.write(encoder.write_batch(batch))
        if encoder is not None:
            stream.write(encoder.finish())
