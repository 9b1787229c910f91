"""What is deleted from SQLite leaves its files: `secure_delete` overwrites it, and its write-ahead log is emptied.

The log can be emptied only while nobody reads or writes. Whoever deleted something does not wait for that: it is tried
at once, and then again until it is done.
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
    """Empties the log of an engine's SQLite. On PostgreSQL there is nothing to do: its vacuum decides what it keeps."""

    def __init__(self, engine: sa.Engine) -> None:
        sqlite = engine.dialect.name == "sqlite"
        self._file = Path(engine.url.database).absolute() if sqlite and engine.url.database else None
        self._lock = threading.Lock()
        self._due = 0
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        sa.event.listen(engine, "engine_disposed", self._close)

    def begin(self) -> None:
        """Empty the log, now or as soon as nobody reads or writes. Waits for nobody, and raises nothing."""
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
        """Whether nothing is left to be erased, at the latest after so many seconds."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def _go_on(self, file: Path) -> None:
        while not self._closed.wait(PAUSE_SECONDS):
            due = self._due
            if _emptied(file):
                with self._lock:
                    if due == self._due:  # nothing was deleted since
                        self._thread = None
                        log.info("What was deleted is gone from SQLite's log.")
                        return
        with self._lock:
            self._thread = None  # who closes the store last empties its log

    def _close(self, _engine: sa.Engine) -> None:
        self._closed.set()


def _emptied(file: Path) -> bool:
    """Whether the log could be emptied. On a connection that waits for nobody: waiting, it would keep writers out."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=0)) as connection:
            busy, _pages, _moved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        log.warning("SQLite's log could not be emptied (%s).", type(error).__name__)
        return False
    return not busy
