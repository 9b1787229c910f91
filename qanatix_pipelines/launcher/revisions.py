"""Dagster's migrations, read once a process.

On SQLite Dagster makes a database file for each run, and reads its ninety migrations three times for each: a fifth of
the cost of a short pull. The migrations do not change while a process runs.
"""

from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.sql import ALEMBIC_SCRIPTS_LOCATION

from qanatix_pipelines.libraries import replaced

_read = ScriptDirectory.from_config
_kept: list[ScriptDirectory] = []


def remember() -> None:
    """Read Dagster's migrations once from here on. All others, also our own store's, are read as before.

    Raises LibraryChanged if alembic no longer reads them by this name.
    """
    replaced(ScriptDirectory, "from_config", _from_config, kind=object)


def _from_config(config: Config) -> ScriptDirectory:
    if config.get_main_option("script_location") != ALEMBIC_SCRIPTS_LOCATION:
        return _read(config)
    if not _kept:
        _kept.append(_read(config))
    return _kept[0]
