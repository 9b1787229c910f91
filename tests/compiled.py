"""SQLAlchemy's statements are compiled once for all tests of a process.

Each test has an engine of its own, and by default an engine compiles every statement anew. That took a fifth of the
time of a test of the API.
"""

from typing import Any

import sqlalchemy as sa


class _Compiled(dict[tuple[Any, ...], Any]):
    """Compiled statements by what SQLAlchemy keys them by, but for the engine's own dialect: its name is enough."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get((key[0].name, *key[1:]), default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        super().__setitem__((key[0].name, *key[1:]), compiled)


def share() -> None:
    """From now on, the engines of this process share what they compile."""
    shared = _Compiled()

    def use(connection: sa.Connection) -> None:
        connection.execution_options(compiled_cache=shared)

    sa.event.listen(sa.Engine, "engine_connect", use)
