"""API keys with scopes, an expiry, a last use, and a secret that can be rotated."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.tables import SCHEMA

revision = "0003"
down_revision = "0002"

# A key without scopes could do all of this.
EVERYTHING = "admin connectors:read connectors:write entities:read pulls:run"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    for column in (
        sa.Column("scopes", sa.Text, nullable=False, server_default=""),
        sa.Column("previous_digest", sa.LargeBinary),
        sa.Column("previous_until", Instant),
        sa.Column("expires_at", Instant),
        sa.Column("last_used_at", Instant),
        sa.Column("revoked_at", Instant),
    ):
        op.add_column("api_key", column, schema=schema)
    name = "api_key" if schema is None else f"{schema}.api_key"
    op.execute(f"UPDATE {name} SET scopes = '{EVERYTHING}'")
