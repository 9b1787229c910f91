"""API keys with scopes, an end, a last use, and a secret that may be replaced."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.tables import SCHEMA, Instant

revision = "0003"
down_revision = "0002"

# What a key might do before it had scopes.
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
