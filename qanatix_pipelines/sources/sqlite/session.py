"""A connection to a file: opened as it was judged, read-only, in one snapshot, and without leaving a trace beside it.

A file in WAL mode that nobody has open has no log beside it, and SQLite would make one to read it, which then belongs
to our account and may lock its owner out. Such a file is read as one that does not change, without a lock; and at the
end it is asked whether that was true.
"""

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from qanatix_pipelines.sources.sqlite.files import File, found, identity, opened_here
from qanatix_pipelines.sources.sqlite.frames import Unread, Why
from qanatix_pipelines.sources.sqlite.rights import judge

BUSY_SECONDS = 2
MAX_VALUE_BYTES = 64 * 2**20

_HEADER_BYTES = 100
_FORMAT_AT, _WAL = 18, 2  # "Database File Format", the header
# Tables of a store of ours. It holds the entities of all tenants.
_OF_A_STORE = ("api_key", "connector", "secret_check")
# A file system's clock ticks: what is written within a tick of the last change may leave the time as it is.
_TICK_SECONDS = 0.05
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_VALUE_BYTES,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}


class NotUtf8:
    """A text whose bytes are none."""


_NOT_UTF8 = NotUtf8()


class Session:
    def __init__(self) -> None:
        self.is_open = False
        self._still: tuple[str, Sequence[Path], tuple[int, ...]] | None = None

    def open(self, path: str, folders: Sequence[Path]) -> sqlite3.Connection:
        """Raises Unread, sqlite3.Error."""
        with found(path, folders) as file:
            which = identity(file.status())
            connection = self._connect(file, which, "immutable=1")
            ours = next(descriptor for descriptor, one in opened_here().items() if one == which)
            header = os.pread(ours, _HEADER_BYTES, 0)
            in_wal_mode = header[_FORMAT_AT : _FORMAT_AT + 1] == bytes([_WAL])
            log = file.beside().get("-wal")
            if in_wal_mode and (log is None or log.st_size == 0):
                self._still = path, folders, self._signature(file)
            else:
                connection.close()
                # SQLite would make what is missing of these two.
                connection = self._connect(file, which, "readonly_shm=1" if in_wal_mode else "")
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("BEGIN")
        tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name IN (?, ?, ?)", _OF_A_STORE)
        if tables.fetchone() == (len(_OF_A_STORE),):  # from here on it is one snapshot
            raise Unread(Why.STORE)
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        connection.set_authorizer(judge)
        connection.text_factory = _text
        self.is_open = True
        return connection

    def _connect(self, file: File, which: tuple[int, int], option: str) -> sqlite3.Connection:
        """Raises Unread if SQLite has opened anything but the file that was judged, and what it keeps beside it."""
        before = opened_here()
        judged = {which, *map(identity, file.beside().values())}
        connection = sqlite3.connect(
            f"file:{quote(file.path)}?mode=ro&{option}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            cached_statements=0,
        )
        connection.execute("PRAGMA schema_version").fetchone()
        new = {one for descriptor, one in opened_here().items() if before.get(descriptor) != one}
        if which not in new or not new <= judged or identity(file.status()) != which:
            connection.close()
            raise Unread(Why.CHANGED)
        return connection

    @staticmethod
    def _signature(file: File) -> tuple[int, ...]:
        """Raises Unread unless it stays the same while the file does."""
        status = file.status()
        young = status.st_mtime_ns + _TICK_SECONDS * 1e9 - time.time_ns()
        time.sleep(min(max(young / 1e9, 0), _TICK_SECONDS))
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def check_still(self) -> None:
        """Raise Unread if the file was taken for one that does not change, and was changed."""
        if self._still is not None:
            path, folders, signature = self._still
            with found(path, folders) as file:
                if self._signature(file) != signature:
                    raise Unread(Why.CHANGED)


def _text(value: bytes) -> str | NotUtf8:
    """A text of SQLite's, which may hold any bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _NOT_UTF8
