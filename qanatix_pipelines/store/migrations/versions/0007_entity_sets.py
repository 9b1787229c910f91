"""The number of entities of each set, counted once here and then kept by pulls; and the health of connectors."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.tables import SCHEMA

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    op.create_table(
        "entity_set",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("vertical", sa.Text, primary_key=True),
        sa.Column("entity_type", sa.Text, primary_key=True),
        sa.Column("entities", sa.BigInteger, nullable=False),
        schema=schema,
    )
    op.create_table(
        "connector_health",
        sa.Column("connector_id", sa.Uuid, primary_key=True),
        sa.Column("completed_at", Instant, nullable=False),
        sa.Column("had_rows", sa.Boolean, nullable=False),
        sa.Column("emptied_at", Instant),
        sa.Column("columns", sa.JSON, nullable=False),
        sa.Column("columns_before", sa.JSON),
        sa.Column("columns_changed_at", Instant),
        schema=schema,
    )
    prefix = "" if schema is None else f"{schema}."
    op.execute(
        f"INSERT INTO {prefix}entity_set (tenant, vertical, entity_type, entities) "
        f"SELECT tenant, vertical, entity_type, count(*) FROM {prefix}entity GROUP BY tenant, vertical, entity_type"
    )
