"""Dagster's SQLite storage, which keeps its connections in processes that allow it.

Dagster's own makes an engine and a connection for each event that it reads or writes. When the last connection to a
database closes, SQLite copies its log and deletes two files, and a new engine compiles each statement again. Together
that is a third of the cost of a short run. A process allows it by `optimize_for_webserver`, as for PostgreSQL's
storage: the webserver does, and each run does. The worker does not, for no connection survives a fork.

Each run has a database of its own for its events. Dagster makes its tables one by one, which is half the cost of a
launch. Ours is a copy of an empty one.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from dagster import DagsterInstance
from dagster._core.storage.event_log.schema import DynamicPartitionsTable, SqlEventLogStorageMetadata
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import column, create_engine, event, select, table
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool, QueuePool

# Each run has a database of its own for its events, and the webserver reads one after the other.
_KEPT_DATABASES = 16
# Alembic's table. Dagster makes it, and writes its one row, after all others.
_STAMP = table("alembic_version", column("version_num"))


class KeptSqliteStorage(DagsterSqliteStorage):
    """`DagsterSqliteStorage` with kept connections. It has the same files and the same configuration."""

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


def look(instance: DagsterInstance) -> None:
    """Have an instance look at its tables now, if this storage is its own: what is forked then need not."""
    for storage in (instance.run_storage, instance.event_log_storage):
        if isinstance(storage, _Runs | _Events):
            storage.look()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: of two that start in an empty folder, one could find half of the other's tables."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".tables.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        yield


class _Engines:
    """The engines that were used last, by database."""

    def __init__(self) -> None:
        self._pool: type[NullPool | QueuePool] = NullPool
        self._engines: dict[str, Engine] = {}
        self._lock = Lock()

    def keep(self) -> None:
        """Keep connections from now on."""
        self.close()
        self._pool = QueuePool

    def close(self) -> None:
        """Close the connections that are kept."""
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
    # A power failure may lose the last events, but breaks nothing (SQLite documentation, PRAGMA synchronous, WAL mode).
    # What was ingested is in the store, which takes no such risk.
    connection.execute("PRAGMA synchronous = NORMAL")


def _place(content: bytes, path: Path) -> None:
    """Make the file, whole, unless another process is first."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    with draft.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


class _Kept:
    """A storage that keeps its engines, and in mind which tables and columns it has."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.engines = _Engines()
        self._there: set[tuple[str, ...]] = set()
        super().__init__(*arguments, **named)

    def _is_there(self, look: Callable[[], bool], *what: str) -> bool:
        """What `look` finds. Dagster looks with each event; no migration takes away what was there once."""
        if what not in self._there and look():
            self._there.add(what)
        return what in self._there

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

    def has_run_stats_index_cols(self) -> bool:
        return self._is_there(super().has_run_stats_index_cols, "run_stats")

    def has_backfill_id_column(self) -> bool:
        return self._is_there(super().has_backfill_id_column, "backfill_id")

    def look(self) -> None:
        """Look at the tables now, and not with the first run."""
        self.has_run_stats_index_cols()
        self.has_backfill_id_column()


class _Schedules(_Kept, SqliteScheduleStorage):
    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self.engines.of(self._conn_string).begin() as connection:
            yield connection


class _Events(_Kept, SqliteEventLogStorage):
    _empty: bytes | None = None

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        # One thread at a time, as in Dagster's own: what it reads must still hold when it writes.
        with self._db_lock:
            engine = self.engines.of(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._prepare(shard, engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _prepare(self, shard: str, engine: Engine) -> None:
        """See to it that the database has its tables, whichever process makes it, and however far it got."""
        path = Path(self.path_for_shard(shard))
        if not path.exists():
            _place(self._empty_database(), path)
        with engine.connect() as connection:
            stamped = engine.dialect.has_table(connection, _STAMP.name) and connection.execute(select(_STAMP)).first()
        if not stamped:
            self._initdb(engine)

    def _empty_database(self) -> bytes:
        """The file of a database without events, as Dagster makes it."""
        if self._empty is None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "empty.db")
                engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
                self._initdb(engine)
                engine.dispose()
                self._empty = path.read_bytes()
        return self._empty

    def has_table(self, table_name: str) -> bool:
        return self._is_there(partial(super().has_table, table_name), table_name)

    def has_asset_key_index_cols(self) -> bool:
        return self._is_there(super().has_asset_key_index_cols, "asset_key_index")

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        look = super()._has_asset_key_index_cols_on_connection
        return self._is_there(partial(look, conn), "asset_key_index")

    def look(self) -> None:
        """Look at the tables now, and not with the first event."""
        for name in SqlEventLogStorageMetadata.tables:
            self.has_table(name)
        self.has_asset_key_index_cols()

    def add_dynamic_partitions(self, partitions_def_name: str, partition_keys: Sequence[str]) -> None:
        """As Dagster's PostgreSQL storage does it: if two processes add a partition at once, it is there once."""
        self._check_partitions_table()
        rows = [{"partitions_def_name": partitions_def_name, "partition": key} for key in partition_keys]
        if rows:
            with self.index_connection() as connection:
                connection.execute(insert(DynamicPartitionsTable).on_conflict_do_nothing(), rows)
