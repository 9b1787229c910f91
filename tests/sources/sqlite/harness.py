"""SQLite's `items`, in a file."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.servers import Server
from tests.sources.harness import SqlHarness
from tests.sources.sqlite.server import execute


class SQLiteHarness(SqlHarness):
    connector_type = "sqlite"
    networked = False
    writing = "WITH new AS (SELECT 1 AS id) DELETE FROM items"

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.path = Path(server.address)
        self.allowed = {"folders": (self.path.parent,)}

    @property
    def config(self) -> dict[str, Any]:
        return {"path": str(self.path)}

    def changed(
        self, *, host: str | None = None, port: int | None = None, password: str | None = None
    ) -> dict[str, Any]:
        """A file that is not there, for none of these is a file's."""
        return {"path": str(self.path.with_name(f"{host or port or password}.db"))}

    def fill(self, rows: int) -> None:
        execute(
            self.path,
            "BEGIN IMMEDIATE",
            "DROP TABLE IF EXISTS items",
            "CREATE TABLE items (id INTEGER, name TEXT, updated_at TEXT)",
            f"INSERT INTO items WITH n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < {rows}) "
            f"SELECT id, 'Item ' || id, datetime('now', '-1 day') FROM n WHERE id <= {rows}",
            "COMMIT",
        )

    def touch(self, ids: Sequence[int]) -> None:
        changed = f"SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id IN ({','.join(map(str, ids))})"
        execute(self.path, f"UPDATE items {changed}")

    def forget_name(self, item: int) -> None:
        execute(self.path, f"UPDATE items SET name = NULL WHERE id = {item}")

    def with_bodies(self, size: str) -> str:
        body = f"substr(replace(hex(zeroblob(({size} + 1) / 2)), '0', 'x'), 1, {size})"
        return f"SELECT id, name, {body} AS body FROM items ORDER BY id"

    def connections(self) -> int:
        """The descriptors of the file that any process has, as far as we may see them."""
        return sum(_is(link, str(self.path)) for link in _descriptors())

    def slow(self) -> str:
        self.fill(1)
        return (
            "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) "
            "SELECT max(n.id) AS id FROM n WHERE n.id > (SELECT count(*) FROM items)"
        )

    def at_work(self) -> int:
        """A query holds a lock on the file from its first step to its end."""
        with closing(sqlite3.connect(self.path, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
                return 1
        return 0


def _descriptors() -> list[Path]:
    processes = Path("/proc")
    if not processes.is_dir():
        return list(Path("/dev/fd").iterdir())
    return [link for folder in processes.glob("[0-9]*/fd") if os.access(folder, os.R_OK) for link in _within(folder)]


def _within(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # the process has ended
        return []


def _is(link: Path, path: str) -> bool:
    try:
        return link.samefile(path)
    except OSError:
        return False
