"""Dagster's migrations, read once a process.

On SQLite Dagster makes a file for each run, and reads its ninety migrations three times for it: a fifth of what a short
pull costs. They do not change while a process runs.
"""

from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.sql import ALEMBIC_SCRIPTS_LOCATION

_read = ScriptDirectory.from_config
_kept: list[ScriptDirectory] = []


def remember() -> None:
    """From here on what was read of Dagster's migrations is kept. Others, our own store's too, are read as before."""
    ScriptDirectory.from_config = _from_config  # type: ignore[method-assign]


def _from_config(config: Config) -> ScriptDirectory:
    if config.get_main_option("script_location") != ALEMBIC_SCRIPTS_LOCATION:
        return _read(config)
    if not _kept:
        _kept.append(_read(config))
    return _kept[0]
