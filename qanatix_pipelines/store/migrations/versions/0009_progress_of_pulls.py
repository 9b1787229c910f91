"""The progress of a pull's current attempt."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.tables import SCHEMA

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    for column in ("records_read", "bytes_read"):
        op.add_column("pull", sa.Column(column, sa.BigInteger, nullable=False, server_default="0"), schema=schema)
    # Completed pulls have read all that they pulled.
    pull = sa.table("pull", sa.column("records_read"), sa.column("records_pulled"), schema=schema)
    op.execute(pull.update().values(records_read=pull.c.records_pulled))
