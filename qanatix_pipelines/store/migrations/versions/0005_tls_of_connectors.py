"""What credentials demand of TLS. It stays unknown for existing ones, because only a pull decrypts them."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.tables import SCHEMA

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    op.add_column("connector", sa.Column("tls", sa.Text), schema=schema)
