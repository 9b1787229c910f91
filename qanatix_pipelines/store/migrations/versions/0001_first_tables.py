"""The first tables: connectors, receipts, staged rows, entities, API keys."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.migrations.json_text import JsonText
from qanatix_pipelines.store.tables import SCHEMA

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "connector",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("connector_type", sa.Text, nullable=False),
        sa.Column("vertical", sa.Text, nullable=False),
        sa.Column("entity_type", sa.Text, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("name_column", sa.Text),
        sa.Column("id_column", sa.Text),
        sa.Column("batch_size", sa.Integer, nullable=False),
        sa.Column("credentials", sa.Text, nullable=False),
        sa.Column("partition_key", sa.Text, nullable=False, unique=True),
        sa.Column("watermark", Instant),
        sa.Column("created_at", Instant, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "pull",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("connector_id", sa.Uuid, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("lease_until", Instant, nullable=False),
        sa.Column("records_pulled", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("records_ingested", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("duplicates_skipped", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("records_rejected", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("rejections", sa.JSON, nullable=False, server_default="[]"),
        sa.Column("duration_seconds", sa.Float, nullable=False, server_default="0"),
        sa.Column("watermark", Instant),
        sa.Column("error_code", sa.Text),
        sa.Column("error_detail", sa.Text),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("finished_at", Instant),
        schema=SCHEMA,
    )
    op.create_index("pull_by_connector", "pull", ["connector_id", "created_at"], schema=SCHEMA)
    op.create_index("pull_by_run", "pull", ["run_id"], schema=SCHEMA)
    live = sa.text("status IN ('queued', 'running')")
    op.create_index(
        "pull_live",
        "pull",
        ["connector_id"],
        unique=True,
        schema=SCHEMA,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_table(
        "staged",
        sa.Column("pull_id", sa.Uuid, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("entity_id", sa.Uuid, nullable=False),
        sa.Column("source_id", sa.Text),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("data", sa.Text, nullable=False),
        schema=SCHEMA,
        # Unlogged: if a crash loses staged rows, the pull reads its source again.
        prefixes=["UNLOGGED"] if op.get_bind().dialect.name == "postgresql" else [],
    )
    op.create_table(
        "entity",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("vertical", sa.Text, nullable=False),
        sa.Column("entity_type", sa.Text, nullable=False),
        sa.Column("source_id", sa.Text),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("data", JsonText, nullable=False),
        sa.Column("connector_id", sa.Uuid, nullable=False),
        sa.Column("pull_id", sa.Uuid, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        schema=SCHEMA,
    )
    op.create_index("entity_by_set", "entity", ["vertical", "entity_type", "created_at", "id"], schema=SCHEMA)
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "secret_check",
        sa.Column("variable", sa.Text, primary_key=True),
        sa.Column("proof", sa.Text, nullable=False),
        schema=SCHEMA,
    )
