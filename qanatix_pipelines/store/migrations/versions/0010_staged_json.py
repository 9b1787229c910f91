"""Staged data has the type JSON, so that PostgreSQL validates it while the source sends, and not in the merge."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.migrations.json_text import JsonText
from qanatix_pipelines.store.tables import SCHEMA

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    using = "data::json"
    op.alter_column("staged", "data", type_=JsonText(), existing_type=sa.Text, postgresql_using=using, schema=SCHEMA)
