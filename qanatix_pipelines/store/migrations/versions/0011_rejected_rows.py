"""A table of rejected rows, counts by reason on the receipt, and in the health the last pull that rejected rows."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.tables import SCHEMA

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    op.create_table(
        "rejection",
        sa.Column("pull_id", sa.Uuid, primary_key=True),
        sa.Column("row", sa.BigInteger, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("connector_id", sa.Uuid, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("column", sa.Text),
        schema=schema,
    )
    op.create_index("rejection_by_connector", "rejection", ["connector_id", "pull_id"], schema=schema)
    # It held the first twenty as sentences, without keys. Only Dagster has shown them, and it has its own copy.
    op.drop_column("pull", "rejections", schema=schema)
    counts = sa.Column("rejected_by_reason", sa.JSON, nullable=False, server_default="{}")
    op.add_column("pull", counts, schema=schema)
    op.add_column("connector_health", sa.Column("rejected_pull_id", sa.Uuid), schema=schema)
