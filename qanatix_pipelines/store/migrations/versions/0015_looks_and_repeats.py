"""Drafts that are tested, answers that are repeated, keys, versions and clocks of connectors, and a pull's window."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.column_types import Instant, WatermarkText
from qanatix_pipelines.store.tables import SCHEMA

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    op.create_table(
        "draft",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("connector_id", sa.Uuid),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        schema=schema,
    )
    op.create_index("draft_by_expiry", "draft", ["expires_at"], schema=schema)
    op.create_table(
        "idempotency",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("api_key_id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        schema=schema,
    )
    op.create_index("idempotency_by_expiry", "idempotency", ["expires_at"], schema=schema)
    op.add_column("connector", sa.Column("key", sa.Text), schema=schema)
    op.add_column("connector", sa.Column("version", sa.Integer, nullable=False, server_default="1"), schema=schema)
    op.create_index("connector_by_key", "connector", ["tenant", "key"], unique=True, schema=schema)
    op.add_column("connector", sa.Column("source_clock", Instant), schema=schema)
    op.add_column("pull", sa.Column("since", WatermarkText), schema=schema)
    op.add_column("pull", sa.Column("until", WatermarkText), schema=schema)
    op.add_column("pull", sa.Column("row_limit", sa.BigInteger), schema=schema)
    op.add_column("pull", sa.Column("unheard_at", Instant), schema=schema)
    op.create_index("pull_by_tenant", "pull", ["tenant", "created_at", "id"], schema=schema)
