"""Dagster's SQLite, which keeps its connections where a process may have some.

Dagster's own makes an engine and a connection for each event that it reads or writes. To close the last connection to
a database makes SQLite copy its log and delete two files, and a new engine compiles each statement again: together that
is a third of what a short run costs. A process says that it may by `optimize_for_webserver`, as it does to
PostgreSQL's storage: the webserver does, and each run. The worker does not, for no connection outlives a fork.
"""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from dagster._core.storage.event_log.schema import DynamicPartitionsTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import create_engine, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool, QueuePool

# Each run has a database of its events, and the webserver looks into one after the other.
_KEPT_DATABASES = 16


class KeptSqliteStorage(DagsterSqliteStorage):
    """As `DagsterSqliteStorage`, with the same files and the same configuration."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        history = Path(base_dir, "history")
        with _alone(Path(base_dir)):
            super().__init__(base_dir, inst_data)
            self._run_storage = _Runs.from_local(str(history))
            self._event_log_storage = _Events(str(history / "runs"))
            self._schedule_storage = _Schedules.from_local(str(Path(base_dir, "schedules")))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> "KeptSqliteStorage":
        return cls.from_local(inst_data=inst_data, **config_value)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: of two that meet an empty folder one would find half of the other's tables."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".tables.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        yield


class _Engines:
    """Engines by their databases: those that were used last."""

    def __init__(self) -> None:
        self._pool: type[NullPool | QueuePool] = NullPool
        self._engines: dict[str, Engine] = {}
        self._lock = Lock()

    def keep(self) -> None:
        """Keep connections from now on."""
        self.close()
        self._pool = QueuePool

    def close(self) -> None:
        """Close what is kept."""
        with self._lock:
            for engine in self._engines.values():
                engine.dispose()
            self._engines.clear()

    def of(self, database: str) -> Engine:
        with self._lock:
            engine = self._engines.pop(database, None) or self._made(database)
            self._engines[database] = engine
            if len(self._engines) > _KEPT_DATABASES:
                self._engines.pop(next(iter(self._engines))).dispose()
            return engine

    def _made(self, database: str) -> Engine:
        waits = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
        engine = create_engine(database, poolclass=self._pool, connect_args=waits)
        event.listen(engine, "connect", _hurry)
        return engine


def _hurry(connection: Any, _record: Any) -> None:
    # With the power, the last events may go, but nothing breaks (SQLite documentation, PRAGMA synchronous, WAL mode).
    # What was ingested is in the store, which takes no such risk.
    connection.execute("PRAGMA synchronous = NORMAL")


class _Kept:
    """A storage with engines."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.engines = _Engines()
        super().__init__(*arguments, **named)

    def optimize_for_webserver(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:  # noqa: ARG002
        self.engines.keep()

    def dispose(self) -> None:
        super().dispose()  # type: ignore[misc]  # a storage's, which this is mixed into
        self.engines.close()


class _Runs(_Kept, SqliteRunStorage):
    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self.engines.of(self._conn_string).begin() as connection:
            yield connection


class _Schedules(_Kept, SqliteScheduleStorage):
    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self.engines.of(self._conn_string).begin() as connection:
            yield connection


class _Events(_Kept, SqliteEventLogStorage):
    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        # One thread at a time, as in Dagster's own: what it reads before it writes is so still when it writes.
        with self._db_lock:
            engine = self.engines.of(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def add_dynamic_partitions(self, partitions_def_name: str, partition_keys: Sequence[str]) -> None:
        """As Dagster's PostgreSQL does it: two processes may add a partition at once, and it is there once."""
        self._check_partitions_table()
        rows = [{"partitions_def_name": partitions_def_name, "partition": key} for key in partition_keys]
        if rows:
            with self.index_connection() as connection:
                connection.execute(insert(DynamicPartitionsTable).on_conflict_do_nothing(), rows)
