"""The store's tables, brought to this release's form by Alembic."""

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

# Any number that no other program takes as its advisory lock on the same database.
_LOCK = 0x51414E54
# The oldest version of PostgreSQL that we know to work.
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
        except CommandError:  # it has a form that this release does not know
            raise StoreNotReady from None


def check(engine: sa.Engine) -> None:
    """Raise StoreNotReady if the tables are not in the newest form. A file that is not there is not made."""
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
        raise StoreNotReady
    with engine.execution_options(reads=True).connect() as connection:
        schema = None if connection.dialect.name == "sqlite" else SCHEMA
        context = MigrationContext.configure(connection, opts={"version_table_schema": schema})
        if context.get_current_revision() != ScriptDirectory.from_config(_config()).get_current_head():
            raise StoreNotReady


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
