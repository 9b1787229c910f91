"""The tables. On PostgreSQL they have their own schema, because Dagster's `alembic_version` may be in `public`."""

import sqlalchemy as sa

from qanatix_pipelines.store.column_types import EntityId, Instant, WatermarkText

SCHEMA = "qanatix"
metadata = sa.MetaData(schema=SCHEMA)
# What of an entity comes from its source. The rest is the same for all entities that a pull makes.
FROM_SOURCE = ("row", "id", "digest", "source_id", "name", "data")

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
    # The digest of the credentials' SourceIdentity. NULL if not known.
    sa.Column("place", sa.LargeBinary),
    # What of the credentials is no secret: the server and the user. NULL if not known.
    sa.Column("connection", sa.JSON(none_as_null=True)),
    # What the credentials demand of TLS. NULL if not known.
    sa.Column("tls", sa.Text),
    # Unique across tenants, which share Dagster's partitions.
    sa.Column("partition_key", sa.Text, nullable=False, unique=True),
    sa.Column("generation", sa.Integer, nullable=False, server_default="1"),
    sa.Column("watermark", WatermarkText),
    sa.Column("watermark_at", Instant),
    # What the source's clock showed then. NULL if the watermark was set by hand, or by an older release.
    sa.Column("source_clock", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("schedule", sa.JSON(none_as_null=True)),
    # NULL without a schedule or while paused.
    sa.Column("next_due_at", Instant),
    sa.Column("watch", sa.JSON(none_as_null=True)),
    # When the watch checks next. NULL without a watch or while paused.
    sa.Column("next_look_at", Instant),
    sa.Column("watched_at", Instant),
    # watch_digest is of the last change that has a run; watch_asked of a change since then, which has none yet.
    sa.Column("watch_digest", sa.Text),
    sa.Column("watch_asked", sa.Text),
    # How often the source changed, so that a return to an earlier state is a new change.
    sa.Column("watch_changes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("watch_failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("watch_error_code", sa.Text),
    sa.Column("watch_error_detail", sa.Text),
    # The caller's own name for it, unique for its tenant.
    sa.Column("key", sa.Text),
    # How often a caller has changed it, from 1.
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.Index("connector_by_tenant", "tenant", "created_at", "id"),
    sa.Index("connector_by_key", "tenant", "key", unique=True),
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
    # Who asked for the pull. NULL if it is older than this column.
    sa.Column("trigger", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
    sa.Column("full_refresh", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("lease_until", Instant, nullable=False),
    # What the attempt has read so far. The counts below are set when the pull completes.
    sa.Column("records_read", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("bytes_read", sa.BigInteger, nullable=False, server_default="0"),
    # When the attempt had staged everything and began to merge.
    sa.Column("merging_since", Instant),
    sa.Column("records_pulled", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("records_ingested", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("duplicates_skipped", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("records_rejected", sa.BigInteger, nullable=False, server_default="0"),
    # Duplicates that differ from the last row with their key.
    sa.Column("keys_repeated", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("warnings", sa.JSON, nullable=False, server_default="[]"),
    # The result's columns that have key and name. NULL if there is none.
    sa.Column("key_column", sa.Text),
    sa.Column("name_column", sa.Text),
    # A count for each reason that occurred.
    sa.Column("rejected_by_reason", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("duration_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("watermark", WatermarkText),
    sa.Column("error_code", sa.Text),
    sa.Column("error_detail", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    # When the first attempt began.
    sa.Column("started_at", Instant),
    sa.Column("finished_at", Instant),
    # What this pull alone was asked to read. NULL for what the watermark says.
    sa.Column("since", WatermarkText),
    sa.Column("until", WatermarkText),
    sa.Column("row_limit", sa.BigInteger),
    # When the connection of a caller that waited for it was cut off.
    sa.Column("unheard_at", Instant),
    # The entity set that it changed, and which change of the set it was. NULL if it changed nothing.
    sa.Column("set_number", sa.Integer),
    sa.Column("change_number", sa.BigInteger),
    sa.Index("pull_by_connector", "tenant", "connector_id", "created_at", "id"),
    sa.Index("pull_by_status", "tenant", "connector_id", "status", "created_at", "id"),
    sa.Index("pull_by_run", "run_id"),
    sa.Index("pull_by_tenant", "tenant", "created_at", "id"),
    sa.Index("pull_by_change", "set_number", "change_number", unique=True),
)
# The database itself makes a second live pull of a connector impossible.
sa.Index(
    "pull_live",
    pull.c.connector_id,
    unique=True,
    sqlite_where=pull.c.status.in_(["queued", "running"]),
    postgresql_where=pull.c.status.in_(["queued", "running"]),
)

# The first rejected rows of a pull.
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

# A tenant's entities of one vertical and type.
entity_set = sa.Table(
    "entity_set",
    metadata,
    # An identity: its sequence needs no right of its own.
    sa.Column("number", sa.Integer, sa.Identity(), primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("vertical", sa.Text, nullable=False),
    sa.Column("entity_type", sa.Text, nullable=False),
    # Kept by pulls, because counting takes longer the more entities there are.
    sa.Column("entities", sa.BigInteger, nullable=False, server_default="0"),
    # How many pulls have changed the set. The last one has this number on its receipt.
    sa.Column("changes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("entity_set_by_name", "tenant", "vertical", "entity_type", unique=True),
)

# On PostgreSQL it is partitioned by set, and the indexes are those of each partition (`leaves`).
entity = sa.Table(
    "entity",
    metadata,
    # The place among those that the same pull made: as the source gave them, on SQLite by id. With created_at it is the
    # order of creation.
    sa.Column("row", sa.BigInteger, nullable=False),
    # A hash of vertical, type and key, so entities of two tenants may share it.
    sa.Column("id", EntityId, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("source_id", sa.Text),
    sa.Column("name", sa.Text),
    # JSON as it was written. PostgreSQL's `jsonb` would rewrite numbers, and its `json` would read it again.
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("set_number", sa.Integer, nullable=False),
    sa.Column("connector_id", sa.Uuid, nullable=False),
    sa.Column("pull_id", sa.Uuid, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Index("entity_by_id", "id", "set_number", unique=True).ddl_if(dialect="sqlite"),
    sa.Index("entity_by_set", "set_number", "created_at", "row").ddl_if(dialect="sqlite"),
    sa.Index("entity_by_pull", "pull_id", "row").ddl_if(dialect="sqlite"),
    postgresql_partition_by="LIST (set_number)",
)

# The rows of small pulls, on PostgreSQL. They are there in a pull's final transaction only, so nobody sees another's.
staged = sa.Table(
    "staged",
    sa.MetaData(schema=SCHEMA),
    sa.Column("pull_id", sa.Uuid, nullable=False),
    *(sa.Column(name, entity.c[name].type, nullable=entity.c[name].nullable) for name in FROM_SOURCE),
    # How many equal rows of the source this one stands for.
    sa.Column("alike", sa.BigInteger, nullable=False),
    sa.Index("staged_by_pull", "pull_id"),
)

# The summary of a connector's completed pulls, so that its receipts need not all be read.
connector_health = sa.Table(
    "connector_health",
    metadata,
    sa.Column("connector_id", sa.Uuid, primary_key=True),
    sa.Column("completed_at", Instant, nullable=False),
    sa.Column("had_rows", sa.Boolean, nullable=False),
    # When the last pull completed, if it read everything and found no rows although earlier ones had some.
    sa.Column("emptied_at", Instant),
    # Pairs of a name and a type. Empty if each document has fields of its own.
    sa.Column("columns", sa.JSON, nullable=False),
    sa.Column("columns_before", sa.JSON),
    sa.Column("columns_changed_at", Instant),
    # The last pull that rejected rows, unless a later one has read everything and rejected none.
    sa.Column("rejected_pull_id", sa.Uuid),
    # The same for warnings.
    sa.Column("warned_pull_id", sa.Uuid),
    # The roles of the last result with known columns.
    sa.Column("key_column", sa.Text),
    sa.Column("name_column", sa.Text),
)

# A connector that is looked at before it pulls: a test of one that need not be registered, or a dry run.
draft = sa.Table(
    "draft",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    # NULL for one that is not registered.
    sa.Column("connector_id", sa.Uuid),
    # Both are encrypted: the one has credentials, the other rows.
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("answer", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Index("draft_by_expiry", "expires_at"),
)
# The database itself makes a second dry run of a connector impossible while one is not answered.
_UNANSWERED = sa.text("kind = 'dry_run' AND answer IS NULL")
sa.Index("draft_live", draft.c.connector_id, unique=True, sqlite_where=_UNANSWERED, postgresql_where=_UNANSWERED)

# The answers to requests that have an Idempotency-Key.
idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("api_key_id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    # The digest of the request, which a repeat must have, too.
    sa.Column("request", sa.LargeBinary, nullable=False),
    # Encrypted. NULL while the first request is in progress.
    sa.Column("answer", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Index("idempotency_by_expiry", "expires_at"),
)

api_key = sa.Table(
    "api_key",
    metadata,
    # Unique across tenants, because it is looked up to find a key's tenant.
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    # The secret before the last rotation, and until when it is valid.
    sa.Column("previous_digest", sa.LargeBinary),
    sa.Column("previous_until", Instant),
    # Separated by blanks.
    sa.Column("scopes", sa.Text, nullable=False, server_default=""),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("expires_at", Instant),
    sa.Column("last_used_at", Instant),
    sa.Column("revoked_at", Instant),
)

# One row for each secret of the environment. It proves that the store was written with the secret, without holding it.
secret_check = sa.Table(
    "secret_check",
    metadata,
    sa.Column("variable", sa.Text, primary_key=True),
    sa.Column("proof", sa.Text, nullable=False),
)
