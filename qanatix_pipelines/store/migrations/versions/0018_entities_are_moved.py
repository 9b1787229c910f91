"""The table that had the entities of all sets is dropped, once they are moved."""

from alembic import op

from qanatix_pipelines.store.tables import SCHEMA

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    op.drop_table("entity_before", schema=schema)
