"""The store's engine: one way in for SQLite and for PostgreSQL."""

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
# How long a writer waits for another one. A large pull's merge holds SQLite's only lock for its whole length: a caller
# of the API is told to come again, another pull waits.
PATIENCE_SECONDS = 30
PULL_PATIENCE_SECONDS = 900
# Under this no pull begins on SQLite: it would fill the disk for everybody. PostgreSQL's disk is not seen from here.
ROOM_BYTES = 512 * 1024 * 1024
# PostgreSQL documentation, appendix A:
_DISK_FULL = "53100"
_IDLE_TOO_LONG = "25P03"
# A host that vanished, ours or the server's, is noticed within half a minute on both sides: nobody waits for it, and it
# holds no lock (libpq's parameters; the server has settings of the same names).
_PROBES = {"tcp_keepalives_idle": 15, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
_UNANSWERED_MS = 30_000
_CONNECTING: dict[str, Any] = {
    "application_name": "qanatix store",
    "connect_timeout": 10,
    "tcp_user_timeout": _UNANSWERED_MS,
    # No statement runs by a plan that was made when the tables were smaller.
    "prepare_threshold": None,
} | {name.removeprefix("tcp_"): value for name, value in _PROBES.items()}
# A process that was stopped between two statements, which follow one another at once, must let go of its locks.
_IDLE_MS = 60_000
# A statement of a process that was killed ends, too, and holds no lock any more: the next attempt may need the same.
# Other systems' servers may refuse the setting.
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
    """Which store this is, for its operator: without its user and password."""
    url = engine.url
    if engine.dialect.name == "sqlite":
        return f"SQLite in {url.database}"
    place = url.host or url.query.get("host") or "this machine"
    return f"PostgreSQL at {place}:{url.port or 5432}, database {url.database or url.query.get('dbname')}"


def insert(engine: sa.Engine | sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say what becomes of rows which are there already: each dialect has one of its own."""
    return postgresql.insert(table) if engine.dialect.name == "postgresql" else sqlite.insert(table)


@contextmanager
def asked_directly(transaction: sa.Connection) -> Iterator[None]:
    """What the driver itself is asked for, past SQLAlchemy, raises the same: StoreFull and StoreUnavailable."""
    try:
        yield
    except transaction.dialect.loaded_dbapi.OperationalError as error:
        raise _unavailable(error) from None


def check_room(engine: sa.Engine) -> None:
    """Raise StoreFull if a pull had better not begin."""
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
        if not Path(url.database).parent.is_dir():  # to make it would make a second store of a slip of the pen
            raise SettingsError(VARIABLE, "names a file in a folder that is not there.")
        return url.set(drivername="sqlite")
    if "@" in (url.host or ""):
        raise SettingsError(VARIABLE, "has an @ in its user or password that must be written as %40.")
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise SettingsError(VARIABLE, "must begin with sqlite:/// or postgresql://.")


def _tell_unavailable(context: sa.engine.ExceptionContext) -> None:
    """What a driver calls operational is not of our doing: no server, no lock, no room. All else is, and stays."""
    if context.is_pre_ping and context.is_disconnect:
        return  # the pool makes another connection
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
        # Whatever is asked for is found by an index. A table that has grown since its last ANALYZE looks small, and so
        # small a one would be read as a whole, with what all others have staged or filled there.
        "enable_seqscan": "off",
        "jit": "off",  # for what is read as a whole all the same seems to cost very much then
    } | _PROBES
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
    connection.execute(_NOTICED)
    connection.commit()


def _prepare_sqlite(patience_seconds: int, connection: Any, _record: Any) -> None:
    # The driver would begin its own transactions, late and without a lock; `_begin_sqlite` does it.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {patience_seconds * 1000}",
        "synchronous = FULL",  # an answered pull must not vanish with the power
        "foreign_keys = ON",
        "secure_delete = ON",  # deleted credentials are overwritten
    ):
        connection.execute(f"PRAGMA {pragma}")
    _use_wal(patience_seconds, connection)


def _use_wal(patience_seconds: int, connection: Any) -> None:
    """The mode stays with the file. SQLite does not wait for the lock that its first change needs, so we do."""
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
    # A deferred transaction that turns into a writer may fail with no way to retry; readers need no lock at all.
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
