"""Migrations of the store's tables to this release's form, by Alembic."""

from collections.abc import Iterator
from contextlib import contextmanager
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
from qanatix_pipelines.store.migrations.moving import move
from qanatix_pipelines.store.tables import SCHEMA

# Our advisory lock: any number that no other program uses on the same database.
_LOCK = 0x51414E54
# In this form the entities are moved into tables of their sets.
_BEFORE_MOVING = "0017"
_HEAD = "head"
# The oldest PostgreSQL that is tested.
_OLDEST = (15,)


def upgrade(engine: sa.Engine) -> None:
    """Bring the tables to the newest form. Safe to call from several processes at once.

    Raises SettingsError if the store is a PostgreSQL that is too old, StoreNotReady if the tables are too new.
    """
    with _alone(engine) as connection:
        if connection.dialect.name == "postgresql":
            if (connection.dialect.server_version_info or _OLDEST) < _OLDEST:
                raise SettingsError(VARIABLE, "names a PostgreSQL before version 15.")
            connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
        _to(connection, _BEFORE_MOVING)
    # Entities are moved a part at a time, so that it goes on where it was if it is stopped.
    moving = True
    while moving:
        with _alone(engine) as connection:
            moving = _revision(connection) == _BEFORE_MOVING and move(connection)
    with _alone(engine) as connection:
        _to(connection, _HEAD)


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction during which no other process upgrades. On SQLite the transaction itself is the lock."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        yield connection


def _to(connection: sa.Connection, revision: str) -> None:
    now = _revision(connection)
    if now is not None and now >= revision != _HEAD:  # revisions are numbers of four digits
        return
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError:  # the tables have a form that this release does not know
        raise StoreNotReady from None


def _revision(connection: sa.Connection) -> str | None:
    schema = None if connection.dialect.name == "sqlite" else SCHEMA
    context = MigrationContext.configure(connection, opts={"version_table_schema": schema})
    return context.get_current_revision()


def check(engine: sa.Engine) -> None:
    """Raise StoreNotReady unless the tables are in the newest form. Never creates SQLite's file."""
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
        raise StoreNotReady
    with engine.execution_options(reads=True).connect() as connection:
        if _revision(connection) != _newest():
            raise StoreNotReady


@cache
def _newest() -> str | None:
    """The revision of the newest form, read once a process: to read it takes longer than all else of a check."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
