"""Alembic's environment: it is handed a connection, by `upgrade` or by a test."""

from alembic import context

from qanatix_pipelines.store.tables import SCHEMA, metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table_schema=None if connection.dialect.name == "sqlite" else SCHEMA,
    include_schemas=True,
)
context.run_migrations()
