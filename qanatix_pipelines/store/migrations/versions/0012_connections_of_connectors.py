"""What of a connector's credentials is no secret. Not known of those that are there: only a pull decrypts them."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.tables import SCHEMA

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    op.add_column("connector", sa.Column("connection", sa.JSON), schema=schema)
