"""When a pull's current attempt began to merge. It has read everything by then, but may still take long."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.column_types import Instant
from qanatix_pipelines.store.tables import SCHEMA

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    op.add_column("pull", sa.Column("merging_since", Instant), schema=schema)
