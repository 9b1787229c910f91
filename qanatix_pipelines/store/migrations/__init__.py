"""Migrations of the store's tables to this release's form, by Alembic."""

from functools import cache
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from qanatix_pipelines.errors import SettingsError, StoreNotReady
from qanatix_pipelines.store.engine import VARIABLE
from qanatix_pipelines.store.tables import SCHEMA

# Our advisory lock: any number that no other program uses on the same database.
_LOCK = 0x51414E54
# The oldest PostgreSQL that is tested.
_OLDEST = (15,)


def upgrade(engine: sa.Engine) -> None:
    """Bring the tables to the newest form. Safe to call from several processes at once.

    Raises SettingsError if the store is a PostgreSQL that is too old, StoreNotReady if the tables are too new.
    """
    with engine.begin() as connection:  # on SQLite the transaction itself is the lock
        if connection.dialect.name == "postgresql":
            if (connection.dialect.server_version_info or _OLDEST) < _OLDEST:
                raise SettingsError(VARIABLE, "names a PostgreSQL before version 15.")
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
        config = _config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError:  # the tables have a form that this release does not know
            raise StoreNotReady from None


def check(engine: sa.Engine) -> None:
    """Raise StoreNotReady unless the tables are in the newest form. Never creates SQLite's file."""
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
        raise StoreNotReady
    with engine.execution_options(reads=True).connect() as connection:
        schema = None if connection.dialect.name == "sqlite" else SCHEMA
        context = MigrationContext.configure(connection, opts={"version_table_schema": schema})
        if context.get_current_revision() != _newest():
            raise StoreNotReady


@cache
def _newest() -> str | None:
    """The revision of the newest form, read once a process: to read it takes longer than all else of a check."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
