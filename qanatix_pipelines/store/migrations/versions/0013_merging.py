"""Since when a pull's present attempt merges what it has staged: it reads no more, and may yet take long."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.tables import SCHEMA, Instant

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    op.add_column("pull", sa.Column("merging_since", Instant), schema=schema)
