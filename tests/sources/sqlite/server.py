"""SQLite's "server" is a folder of files, which the operator has opened to pulls."""

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from tests.servers import Server, new_folder, remove


@cache
def folder() -> Path:
    """One for all files of a process that tests."""
    return new_folder("sqlite", {})


def start() -> Server:
    return Server("sqlite", sqlite3.sqlite_version, str(folder() / "shop.db"), stop)


def stop() -> None:
    """Remove the folder, which tests may also have asked for without a server."""
    if folder.cache_info().currsize:
        remove(folder())
        folder.cache_clear()


def execute(path: Path | str, *statements: str) -> list[tuple[Any, ...]]:
    """Run these as the file's owner; the rows of the last one."""
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows
