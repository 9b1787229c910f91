"""The history of a connector's pulls: who asked for each, when it began, and indexes for its pages."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.tables import SCHEMA

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    op.add_column("pull", sa.Column("trigger", sa.Text), schema=schema)
    op.add_column("pull", sa.Column("started_at", Instant), schema=schema)
    op.drop_index("pull_by_connector", "pull", schema=schema)
    op.create_index("pull_by_connector", "pull", ["tenant", "connector_id", "created_at", "id"], schema=schema)
    op.create_index("pull_by_status", "pull", ["tenant", "connector_id", "status", "created_at", "id"], schema=schema)
