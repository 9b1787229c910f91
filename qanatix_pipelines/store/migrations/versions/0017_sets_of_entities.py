"""Each set has a number and counts its changes. Entities are partitioned by set, and keep the place of their row.

The entities themselves are moved afterwards (`moving`), and then the old table is dropped (0018).
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op

from qanatix_pipelines.store.column_types import EntityId, Instant
from qanatix_pipelines.store.tables import SCHEMA

revision = "0017"
down_revision = "0016"

_FUNCTIONS = Path(__file__).with_name("0017_functions.sql")


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    schema = None if sqlite else SCHEMA
    _number_sets(schema)
    op.add_column("pull", sa.Column("set_number", sa.Integer), schema=schema)
    op.add_column("pull", sa.Column("change_number", sa.BigInteger), schema=schema)
    op.create_index("pull_by_change", "pull", ["set_number", "change_number"], unique=True, schema=schema)

    op.rename_table("entity", "entity_before", schema=schema)
    op.create_table(
        "entity",
        *_of_the_source(),
        sa.Column("set_number", sa.Integer, nullable=False),
        sa.Column("connector_id", sa.Uuid, nullable=False),
        sa.Column("pull_id", sa.Uuid, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        schema=schema,
        postgresql_partition_by="LIST (set_number)",
    )
    # Staged rows are of pulls that are not running now.
    op.drop_table("staged", schema=schema)
    if sqlite:
        op.drop_index("entity_by_set", "entity_before")
        op.create_index(
            "entity_before_by_set", "entity_before", ["tenant", "vertical", "entity_type", "created_at", "id"]
        )
        op.create_index("entity_by_id", "entity", ["id", "set_number"], unique=True)
        op.create_index("entity_by_set", "entity", ["set_number", "created_at", "row"])
        op.create_index("entity_by_pull", "entity", ["pull_id", "row"])
        return
    op.create_table(
        "staged",
        sa.Column("pull_id", sa.Uuid, nullable=False),
        *_of_the_source(),
        sa.Column("alike", sa.BigInteger, nullable=False),
        schema=schema,
        prefixes=["UNLOGGED"],
    )
    op.create_index("staged_by_pull", "staged", ["pull_id"], schema=schema)
    # As text that has no parameters: it is full of colons and percent signs.
    op.get_bind().connection.cursor().execute(_FUNCTIONS.read_text())


def _of_the_source() -> list[sa.Column[Any]]:
    return [
        sa.Column("row", sa.BigInteger, nullable=False),
        sa.Column("id", EntityId, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("source_id", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("data", sa.Text, nullable=False),
    ]


def _number_sets(schema: str | None) -> None:
    prefix = "" if schema is None else f"{schema}."
    op.rename_table("entity_set", "entity_set_before", schema=schema)
    op.create_table(
        "entity_set",
        sa.Column("number", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("vertical", sa.Text, nullable=False),
        sa.Column("entity_type", sa.Text, nullable=False),
        sa.Column("entities", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("changes", sa.BigInteger, nullable=False, server_default="0"),
        schema=schema,
    )
    op.create_index(
        "entity_set_by_name", "entity_set", ["tenant", "vertical", "entity_type"], unique=True, schema=schema
    )
    op.execute(
        f"INSERT INTO {prefix}entity_set (tenant, vertical, entity_type, entities) SELECT tenant, vertical, "
        f"entity_type, entities FROM {prefix}entity_set_before ORDER BY tenant, vertical, entity_type"
    )
    op.drop_table("entity_set_before", schema=schema)
