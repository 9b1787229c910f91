"""Tenants. Everything created before belongs to the tenant `default`."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.migrations.json_text import JsonText
from qanatix_pipelines.store.tables import SCHEMA

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    for table in ("connector", "pull", "api_key"):
        _add_tenant(schema, table)
    op.create_index("connector_by_tenant", "connector", ["tenant", "created_at", "id"], schema=schema)
    op.drop_index("pull_by_connector", "pull", schema=schema)
    op.create_index("pull_by_connector", "pull", ["tenant", "connector_id", "created_at"], schema=schema)
    op.drop_index("entity_by_set", "entity", schema=schema)
    if schema is None:
        _copy_entities()
    else:
        _add_tenant(schema, "entity")
        op.drop_constraint("entity_pkey", "entity", schema=schema)
        op.create_primary_key("entity_pkey", "entity", ["tenant", "id"], schema=schema)
    op.create_index("entity_by_set", "entity", ["tenant", "vertical", "entity_type", "created_at", "id"], schema=schema)


def _add_tenant(schema: str | None, table: str) -> None:
    op.add_column(table, sa.Column("tenant", sa.Text, nullable=False, server_default="default"), schema=schema)
    if schema is not None:  # an insert without a tenant must fail; SQLite cannot drop a default
        op.alter_column(table, "tenant", server_default=None, schema=schema)


def _copy_entities() -> None:
    """SQLite cannot change a table's primary key."""
    kept = [
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
    ]
    names = ", ".join(column.name for column in kept)
    op.rename_table("entity", "entity_of_all")
    op.create_table("entity", sa.Column("tenant", sa.Text, primary_key=True), *kept)
    op.execute(f"INSERT INTO entity (tenant, {names}) SELECT 'default', {names} FROM entity_of_all")
    op.drop_table("entity_of_all")
