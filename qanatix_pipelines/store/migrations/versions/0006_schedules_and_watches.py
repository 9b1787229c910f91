"""Automatic pulls: schedules, watches with what they saw, and pauses."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.tables import SCHEMA

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    for column in (
        sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("schedule", sa.JSON),
        sa.Column("next_due_at", Instant),
        sa.Column("watch", sa.JSON),
        sa.Column("next_look_at", Instant),
        sa.Column("watched_at", Instant),
        sa.Column("watch_digest", sa.Text),
        sa.Column("watch_asked", sa.Text),
        sa.Column("watch_changes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("watch_failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("watch_error_code", sa.Text),
        sa.Column("watch_error_detail", sa.Text),
    ):
        op.add_column("connector", column, schema=schema)
    op.create_index("connector_by_due", "connector", ["next_due_at"], schema=schema)
    op.create_index("connector_by_look", "connector", ["next_look_at"], schema=schema)
