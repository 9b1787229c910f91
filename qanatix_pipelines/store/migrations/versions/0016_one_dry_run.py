"""A connector has one dry run at a time."""

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.tables import SCHEMA

revision = "0016"
down_revision = "0015"
_LIVE = sa.text("kind = 'dry_run' AND answer IS NULL")


def upgrade() -> None:
    schema = None if op.get_bind().dialect.name == "sqlite" else SCHEMA
    # Drafts are gone within hours anyway, and some of them may be of one connector.
    draft = sa.table("draft", sa.column("kind"), sa.column("answer"), schema=schema)
    op.execute(draft.delete().where(draft.c.kind == "dry_run", draft.c.answer.is_(None)))
    op.create_index(
        "draft_live",
        "draft",
        ["connector_id"],
        unique=True,
        schema=schema,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    )
