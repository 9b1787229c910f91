"""What a pull found out about its rows' keys: their column, how many are repeated, and warnings."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.tables import SCHEMA

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    op.add_column("staged", sa.Column("alike", sa.BigInteger, nullable=False, server_default="1"), schema=schema)
    repeated = sa.Column("keys_repeated", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("pull", repeated, schema=schema)
    op.add_column("pull", sa.Column("warnings", sa.JSON, nullable=False, server_default="[]"), schema=schema)
    for table in ("pull", "connector_health"):
        op.add_column(table, sa.Column("key_column", sa.Text), schema=schema)
        op.add_column(table, sa.Column("name_column", sa.Text), schema=schema)
    op.add_column("connector_health", sa.Column("warned_pull_id", sa.Uuid), schema=schema)
