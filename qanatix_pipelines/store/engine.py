"""The store's SQLAlchemy engine, for SQLite and for PostgreSQL."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from qanatix_pipelines.errors import SettingsError, StoreFull, StoreUnavailable
from qanatix_pipelines.store.faults import reason
from qanatix_pipelines.store.tables import SCHEMA

VARIABLE = "QANATIX_STORE_URL"
# How long a writer waits for another one. The merge of a large pull holds SQLite's only lock for its whole length. The
# API then answers that the store is busy; another pull waits longer.
PATIENCE_SECONDS = 30
PULL_PATIENCE_SECONDS = 900
# With less free disk than this no pull begins on SQLite, so that it does not fill the disk. PostgreSQL's disk cannot be
# measured from here.
ROOM_BYTES = 512 * 1024 * 1024
# SQLSTATE codes (PostgreSQL documentation, appendix A).
_DISK_FULL = "53100"
_IDLE_TOO_LONG = "25P03"
# If either host vanishes, the other side notices within half a minute, so nobody waits for it and it holds no lock.
# These are libpq's parameters; the server has settings of the same names.
_PROBES = {"tcp_keepalives_idle": 15, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
_UNANSWERED_MS = 30_000
_CONNECTING: dict[str, Any] = {
    "application_name": "qanatix store",
    "connect_timeout": 10,
    "tcp_user_timeout": _UNANSWERED_MS,
    # Never prepare: a prepared statement may keep a plan from when the tables were smaller.
    "prepare_threshold": None,
} | {name.removeprefix("tcp_"): value for name, value in _PROBES.items()}
# Statements of a transaction follow each other at once. A process that is stopped between two must not keep its locks.
_IDLE_MS = 60_000
# The server also ends a running statement whose client was killed, because the next attempt may need its locks. Servers
# on systems other than Linux may refuse the setting.
_NOTICED = "SELECT set_config('client_connection_check_interval', '5s', false) WHERE strpos(version(), 'linux') > 0"


def connect(address: str, patience_seconds: int = PATIENCE_SECONDS) -> sa.Engine:
    """An engine for `sqlite:///path` or `postgresql://user:password@host/database`. Opens nothing yet.

    Raises SettingsError for any other address, without showing it.
    """
    url = _store_url(address)
    if url.drivername == "sqlite":
        engine = sa.create_engine(url, hide_parameters=True)
        sa.event.listen(engine, "connect", partial(_prepare_sqlite, patience_seconds))
        sa.event.listen(engine, "begin", _begin_sqlite)
        sa.event.listen(engine, "handle_error", _tell_unavailable)
        return engine.execution_options(schema_translate_map={SCHEMA: None})
    given = {name: value for name, value in _CONNECTING.items() if name not in url.query}
    engine = sa.create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=given)
    sa.event.listen(engine, "connect", partial(_prepare_postgresql, patience_seconds))
    sa.event.listen(engine, "handle_error", _tell_unavailable)
    return engine


def named(engine: sa.Engine) -> str:
    """Which store this is, for its operator. Without user and password."""
    url = engine.url
    if engine.dialect.name == "sqlite":
        return f"SQLite in {url.database}"
    host = url.host or url.query.get("host") or "this machine"
    return f"PostgreSQL at {host}:{url.port or 5432}, database {url.database or url.query.get('dbname')}"


def insert(engine: sa.Engine | sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """The dialect's INSERT, which has ON CONFLICT."""
    return postgresql.insert(table) if engine.dialect.name == "postgresql" else sqlite.insert(table)


@contextmanager
def asked_directly(transaction: sa.Connection) -> Iterator[None]:
    """Inside this context, errors of the driver used without SQLAlchemy become StoreFull and StoreUnavailable, too."""
    try:
        yield
    except transaction.dialect.loaded_dbapi.OperationalError as error:
        raise _unavailable(error) from None


def interrupt(engine: sa.Engine, connection: Any) -> None:
    """End what another thread does with a driver's connection of this engine: it raises StoreUnavailable there."""
    if engine.dialect.name == "sqlite":
        connection.interrupt()
    else:
        connection.cancel_safe()


def check_room(engine: sa.Engine) -> None:
    """Raise StoreFull if SQLite's disk has too little room for a pull to begin."""
    if engine.dialect.name == "sqlite" and shutil.disk_usage(Path(engine.url.database or "").parent).free < ROOM_BYTES:
        raise StoreFull


def _store_url(address: str) -> URL:
    try:
        url = make_url(address)
        backend = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise SettingsError(
            VARIABLE, "is not a database URL, such as postgresql://user:password@host/database."
        ) from None
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise SettingsError(VARIABLE, "must name a file: several processes share the store.")
        if not Path(url.database).parent.is_dir():  # creating it would make a second store out of a typo
            raise SettingsError(VARIABLE, "names a file in a folder that is not there.")
        return url.set(drivername="sqlite")
    if "@" in (url.host or ""):
        raise SettingsError(VARIABLE, "has an @ in its user or password that must be written as %40.")
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise SettingsError(VARIABLE, "must begin with sqlite:/// or postgresql://.")


def _tell_unavailable(context: sa.engine.ExceptionContext) -> None:
    """Turn operational errors (no server, no lock, no room) into StoreUnavailable. Others are our faults and stay."""
    if context.is_pre_ping and context.is_disconnect:
        return  # the pool opens another connection
    idle = getattr(context.original_exception, "sqlstate", None) == _IDLE_TOO_LONG
    foreign = getattr(context.original_exception, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB
    if idle or foreign or isinstance(context.sqlalchemy_exception, sa.exc.OperationalError):
        raise _unavailable(context.original_exception) from None


def _unavailable(error: BaseException) -> StoreUnavailable:
    return StoreFull() if _is_full(error) else StoreUnavailable(reason(VARIABLE, error))


def _is_full(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return error.sqlite_errorcode == sqlite3.SQLITE_FULL
    return getattr(error, "sqlstate", None) == _DISK_FULL


def _prepare_postgresql(patience_seconds: int, connection: Any, _record: Any) -> None:
    settings = {
        "lock_timeout": max(1, 1000 * patience_seconds),  # 0 would be no limit
        "idle_in_transaction_session_timeout": _IDLE_MS,
        "tcp_user_timeout": _UNANSWERED_MS,
        # Every query of ours has an index. A table that has grown since its last ANALYZE looks small to the planner,
        # which would then scan all of it, with the rows of every other pull.
        "enable_seqscan": "off",
        "jit": "off",  # with seqscan off, a scan that is needed looks so expensive that JIT would start
    } | _PROBES
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
    connection.execute(_NOTICED)
    connection.commit()


def _prepare_sqlite(patience_seconds: int, connection: Any, _record: Any) -> None:
    # By default the driver begins transactions itself, late and without a lock. `_begin_sqlite` begins them instead.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {patience_seconds * 1000}",
        "synchronous = FULL",  # a pull that was reported complete must survive a power failure
        "foreign_keys = ON",
        "secure_delete = ON",  # deleted credentials are overwritten
    ):
        connection.execute(f"PRAGMA {pragma}")
    _use_wal(patience_seconds, connection)


def _use_wal(patience_seconds: int, connection: Any) -> None:
    """Set WAL mode, which stays with the file. SQLite does not wait for the lock that the first change needs; we do."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    # A deferred transaction that begins to write may fail in a way that cannot be retried. Readers need no lock.
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
