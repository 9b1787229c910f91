"""Why the store cannot be used, for its operator. A caller of the API is only told that the store does not answer."""

import re
import sqlite3
from typing import Any

# libpq and psycopg have no error codes for failures before a session exists, only English messages. A server's message
# may be in another language; then no reason is given. The messages themselves are never passed on.
_SENTENCES = {
    r"failed to resolve host|could not translate host name": "names a host that is not known.",
    r"Connection refused": "names a host on which no PostgreSQL answers at that port.",
    r"timeout expired|timed out": "names a server that does not answer.",
    r"password authentication failed|role .* does not exist": "has a user or a password that the server refuses.",
    r"no password supplied": "has no password, and the server asks for one.",
    r"no pg_hba.conf entry": "has a user whom the server does not let in from here (pg_hba.conf).",
    r"database .* does not exist": "names a database that the server does not have.",
    r"permission denied for database": "has a user who may not connect to that database.",
    r"too many (clients|connections)|remaining connection slots": "names a server that takes no more connections.",
}
_FILES = {
    sqlite3.SQLITE_CANTOPEN: "names a file that cannot be opened.",
    sqlite3.SQLITE_READONLY: "names a file that this user may not write to.",
    sqlite3.SQLITE_NOTADB: "names a file that is no database of SQLite's.",
    sqlite3.SQLITE_BUSY: "names a file that another process keeps locked.",
}


def reason(variable: str, error: BaseException) -> str | None:
    """A sentence about `variable` that does not repeat its value; None if the error is not known."""
    if isinstance(error, sqlite3.Error):
        told = _FILES.get(_primary(error))
    else:
        told = next((told for pattern, told in _SENTENCES.items() if re.search(pattern, str(error))), None)
    return None if told is None else f"{variable} {told}"


def _primary(error: Any) -> int:
    return int(error.sqlite_errorcode) & 0xFF
