"""Attempts of pulls, changes of connectors, and integer cursors."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.tables import SCHEMA

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    for column in (
        sa.Column("cursor_column", sa.Text),
        sa.Column("overlap", sa.BigInteger),
        sa.Column("place", sa.LargeBinary),
        sa.Column("generation", sa.Integer, nullable=False, server_default="1"),
        sa.Column("watermark_at", Instant),
    ):
        op.add_column("connector", column, schema=schema)
    op.add_column("pull", sa.Column("attempt", sa.Integer, nullable=False, server_default="1"), schema=schema)
    op.add_column(
        "pull", sa.Column("full_refresh", sa.Boolean, nullable=False, server_default=sa.false()), schema=schema
    )
    for table in ("connector", "pull"):
        _as_text(schema, table)
    _stage_by_attempt(schema)


def _as_text(schema: str | None, table: str) -> None:
    """A watermark may now be an integer. SQLite cannot change a column's type, so a new column replaces the old one."""
    name = table if schema is None else f"{schema}.{table}"
    as_text = "watermark" if schema is None else "to_char(watermark AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    op.add_column(table, sa.Column("reached", sa.Text), schema=schema)
    op.execute(f"UPDATE {name} SET reached = {as_text}")
    op.drop_column(table, "watermark", schema=schema)
    op.alter_column(table, "reached", new_column_name="watermark", schema=schema)


def _stage_by_attempt(schema: str | None) -> None:
    """The table is made again, empty. A pull whose staged rows are gone reads its source again."""
    op.drop_table("staged", schema=schema)
    op.create_table(
        "staged",
        sa.Column("pull_id", sa.Uuid, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("entity_id", sa.Uuid, nullable=False),
        sa.Column("source_id", sa.Text),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("data", sa.Text, nullable=False),
        schema=schema,
    )
