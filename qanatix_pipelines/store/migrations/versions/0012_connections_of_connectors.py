"""What of the credentials is no secret. It stays unknown for existing ones, because only a pull decrypts them."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.tables import SCHEMA

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    op.add_column("connector", sa.Column("connection", sa.JSON), schema=schema)
