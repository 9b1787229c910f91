"""The tables. On PostgreSQL they live in a schema of their own, for Dagster keeps its `alembic_version` in `public`."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator, UserDefinedType

from qanatix_pipelines.watermarks import Watermark

SCHEMA = "qanatix"
metadata = sa.MetaData(schema=SCHEMA)


class Instant(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite, which has no such type, keeps it without its zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class WatermarkText(TypeDecorator[Watermark]):
    """A watermark as text: an integer's digits, of which there may be more than 64 bits hold, or a time in UTC."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Watermark | None, _dialect: sa.Dialect) -> str | None:
        if isinstance(value, datetime):
            return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, _dialect: sa.Dialect) -> Watermark | None:
        if value is None:
            return None
        return datetime.fromisoformat(value).replace(tzinfo=UTC) if ":" in value else int(value)


class JsonText(UserDefinedType[str]):
    """JSON as it was written: PostgreSQL's `json`, for `jsonb` would refuse an escaped NUL and rewrite numbers."""

    cache_ok = True

    def column_expression(self, colexpr: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(colexpr, sa.Text)

    def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[Any]:
        return sa.cast(bindvalue, JsonText)


@compiles(JsonText, "postgresql")
def _json(*_: Any, **__: Any) -> str:
    return "JSON"


@compiles(JsonText, "sqlite")
def _text(*_: Any, **__: Any) -> str:
    return "TEXT"


connector = sa.Table(
    "connector",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("connector_type", sa.Text, nullable=False),
    sa.Column("vertical", sa.Text, nullable=False),
    sa.Column("entity_type", sa.Text, nullable=False),
    sa.Column("query", sa.Text, nullable=False),
    sa.Column("name_column", sa.Text),
    sa.Column("id_column", sa.Text),
    sa.Column("batch_size", sa.Integer, nullable=False),
    sa.Column("cursor_column", sa.Text),
    sa.Column("overlap", sa.BigInteger),
    sa.Column("credentials", sa.Text, nullable=False),
    # Which database the credentials are for, as a digest: NULL where it is not known.
    sa.Column("place", sa.LargeBinary),
    # What of them is no secret: where they lead, and as whom. NULL where it is not known.
    sa.Column("connection", sa.JSON(none_as_null=True)),
    # What they demand of TLS: NULL where it is not known.
    sa.Column("tls", sa.Text),
    # Unique for all tenants: they share Dagster's partitions.
    sa.Column("partition_key", sa.Text, nullable=False, unique=True),
    sa.Column("generation", sa.Integer, nullable=False, server_default="1"),
    sa.Column("watermark", WatermarkText),
    sa.Column("watermark_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("schedule", sa.JSON(none_as_null=True)),
    # NULL where nothing is scheduled, or paused.
    sa.Column("next_due_at", Instant),
    sa.Column("watch", sa.JSON(none_as_null=True)),
    # When to look next, NULL where nothing is watched, or paused.
    sa.Column("next_look_at", Instant),
    sa.Column("watched_at", Instant),
    # Of what was seen when a pull was last asked for; and of what was seen since and no run is known to pull yet.
    sa.Column("watch_digest", sa.Text),
    sa.Column("watch_asked", sa.Text),
    # How often it changed, so that what comes back to what it was is something new.
    sa.Column("watch_changes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("watch_failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("watch_error_code", sa.Text),
    sa.Column("watch_error_detail", sa.Text),
    sa.Index("connector_by_tenant", "tenant", "created_at", "id"),
    sa.Index("connector_by_due", "next_due_at"),
    sa.Index("connector_by_look", "next_look_at"),
)

pull = sa.Table(
    "pull",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    # No foreign key: a receipt outlives its connector.
    sa.Column("connector_id", sa.Uuid, nullable=False),
    sa.Column("run_id", sa.Text),
    # Who asked for it: NULL of those from before this was kept.
    sa.Column("trigger", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
    sa.Column("full_refresh", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("lease_until", Instant, nullable=False),
    # What the attempt has read so far; the counts below are those of a pull that completed.
    sa.Column("records_read", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("bytes_read", sa.BigInteger, nullable=False, server_default="0"),
    # When it had staged all of it, and went on to the merge.
    sa.Column("merging_since", Instant),
    sa.Column("records_pulled", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("records_ingested", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("duplicates_skipped", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("records_rejected", sa.BigInteger, nullable=False, server_default="0"),
    # Of the duplicates, those with another content than the row that counted.
    sa.Column("keys_repeated", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("warnings", sa.JSON, nullable=False, server_default="[]"),
    # Of the result: NULL where there is none.
    sa.Column("key_column", sa.Text),
    sa.Column("name_column", sa.Text),
    # A number for each reason that there was.
    sa.Column("rejected_by_reason", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("duration_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("watermark", WatermarkText),
    sa.Column("error_code", sa.Text),
    sa.Column("error_detail", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    # When its first run began it.
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
    sa.Index("pull_by_connector", "tenant", "connector_id", "created_at", "id"),
    sa.Index("pull_by_status", "tenant", "connector_id", "status", "created_at", "id"),
    sa.Index("pull_by_run", "run_id"),
)
# Two live pulls of one connector are not improbable but impossible.
sa.Index(
    "pull_live",
    pull.c.connector_id,
    unique=True,
    sqlite_where=pull.c.status.in_(["queued", "running"]),
    postgresql_where=pull.c.status.in_(["queued", "running"]),
)

# The first rows that a pull rejected.
rejection = sa.Table(
    "rejection",
    metadata,
    sa.Column("pull_id", sa.Uuid, primary_key=True),
    sa.Column("row", sa.BigInteger, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("connector_id", sa.Uuid, nullable=False),
    sa.Column("key", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("column", sa.Text),
    sa.Index("rejection_by_connector", "connector_id", "pull_id"),
)

staged = sa.Table(
    "staged",
    metadata,
    sa.Column("pull_id", sa.Uuid, primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("entity_id", sa.Uuid, nullable=False),
    sa.Column("source_id", sa.Text),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("name", sa.Text),
    sa.Column("data", JsonText, nullable=False),
    # How many rows of the source this one stands for.
    sa.Column("alike", sa.BigInteger, nullable=False, server_default="1"),
)

entity = sa.Table(
    "entity",
    metadata,
    # Two tenants' entities of one set and key have the same id.
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("vertical", sa.Text, nullable=False),
    sa.Column("entity_type", sa.Text, nullable=False),
    sa.Column("source_id", sa.Text),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("name", sa.Text),
    sa.Column("data", JsonText, nullable=False),
    sa.Column("connector_id", sa.Uuid, nullable=False),
    sa.Column("pull_id", sa.Uuid, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Index("entity_by_set", "tenant", "vertical", "entity_type", "created_at", "id"),
)

# How many entities a set has: to count them takes the longer, the more there are.
entity_set = sa.Table(
    "entity_set",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("vertical", sa.Text, primary_key=True),
    sa.Column("entity_type", sa.Text, primary_key=True),
    sa.Column("entities", sa.BigInteger, nullable=False),
)

# What a connector's completed pulls were like, so that nobody has to read all of its receipts.
connector_health = sa.Table(
    "connector_health",
    metadata,
    sa.Column("connector_id", sa.Uuid, primary_key=True),
    sa.Column("completed_at", Instant, nullable=False),
    sa.Column("had_rows", sa.Boolean, nullable=False),
    # Of the last pull, if it read everything, found nothing, and earlier ones had rows.
    sa.Column("emptied_at", Instant),
    # Pairs of a name and a type; none where each document has fields of its own.
    sa.Column("columns", sa.JSON, nullable=False),
    sa.Column("columns_before", sa.JSON),
    sa.Column("columns_changed_at", Instant),
    # The last pull that rejected rows, unless a later one has read everything and rejected none.
    sa.Column("rejected_pull_id", sa.Uuid),
    # The same for warnings.
    sa.Column("warned_pull_id", sa.Uuid),
    # Of the last result that told.
    sa.Column("key_column", sa.Text),
    sa.Column("name_column", sa.Text),
)

api_key = sa.Table(
    "api_key",
    metadata,
    # Unique for all tenants: by it, a key's tenant is found.
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    # Of the secret before the last rotation, and until when it is good.
    sa.Column("previous_digest", sa.LargeBinary),
    sa.Column("previous_until", Instant),
    # Words with blanks between them.
    sa.Column("scopes", sa.Text, nullable=False, server_default=""),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("last_used_at", Instant),
    sa.Column("revoked_at", Instant),
)

# One row for each secret of the environment: proof, without the secret, that the store was written with it.
secret_check = sa.Table(
    "secret_check",
    metadata,
    sa.Column("variable", sa.Text, primary_key=True),
    sa.Column("proof", sa.Text, nullable=False),
)
