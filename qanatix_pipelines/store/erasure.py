"""Deleted data must not stay in SQLite's files: `secure_delete` overwrites it, and the write-ahead log is emptied.

The log can be emptied only while nobody reads or writes. The caller does not wait for that moment: the first try is at
once, and a thread repeats it until it succeeds.
"""

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5


class Erasure:
    """Empties the log of an engine's SQLite. It does nothing on PostgreSQL, where vacuum removes what was deleted."""

    def __init__(self, engine: sa.Engine) -> None:
        sqlite = engine.dialect.name == "sqlite"
        self._file = Path(engine.url.database).absolute() if sqlite and engine.url.database else None
        self._lock = threading.Lock()
        self._due = 0
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        sa.event.listen(engine, "engine_disposed", self._close)

    def begin(self) -> None:
        """Empty the log now, or in the background once nobody reads or writes. Does not wait, and raises nothing."""
        if self._file is None or _emptied(self._file):
            return
        with self._lock:
            self._due += 1
            self._closed.clear()
            if self._thread is None:
                log.warning("What was deleted stands in SQLite's log until nobody uses the store: it is tried again.")
                self._thread = threading.Thread(target=self._go_on, args=[self._file], name="erasure", daemon=True)
                self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether all is erased; waits for it at most `seconds`."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def _go_on(self, file: Path) -> None:
        while not self._closed.wait(PAUSE_SECONDS):
            due = self._due
            if _emptied(file):
                with self._lock:
                    if due == self._due:  # nothing was deleted meanwhile
                        self._thread = None
                        log.info("What was deleted is gone from SQLite's log.")
                        return
        with self._lock:
            self._thread = None  # the last process to close the store empties its log

    def _close(self, _engine: sa.Engine) -> None:
        self._closed.set()


def _emptied(file: Path) -> bool:
    """Whether the log could be emptied. The connection has no lock timeout: while it waited, nobody could write."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=0)) as connection:
            busy, _pages, _moved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        log.warning("SQLite's log could not be emptied (%s).", type(error).__name__)
        return False
    return not busy
