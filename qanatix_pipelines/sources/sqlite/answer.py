"""What the child process does: it reads one file by one statement, and says in frames what it finds.

It ends when its reading is over, and that is when our process kills it, or closes the socket between the two, or ends.
"""

import json
import os
import resource
import sqlite3
import sys
import threading
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from qanatix_pipelines.sources.sqlite.frames import BLOB, COLUMNS, END, EXPECTED, FAULT, HEAD, OPENED, ROWS, Unread, Why
from qanatix_pipelines.sources.sqlite.session import Session

MAX_MEMORY_BYTES = 2**30
# Of one file that SQLite sorts in. Python ignores the signal, so SQLite is told that the write has failed.
MAX_FILE_BYTES = 2**32
# Rows are sent by so many bytes at a time.
_FRAME_BYTES = 2**18
_SIZED = (str, bytes)
# No plan of a query that people write is longer, and no table is wider than by half.
_MOST_STEPS = 4000


def main() -> None:
    (size, _) = HEAD.unpack(_received(HEAD.size))
    request = json.loads(_received(size))
    lifeline = threading.Thread(target=_end_with_it, daemon=True)
    lifeline.start()
    _bound()
    try:
        _answer(request)
    except BrokenPipeError:
        os._exit(0)
    lifeline.join()  # the snapshot is held until the reading is over


def _answer(request: dict[str, Any]) -> None:
    session = Session()
    try:
        try:
            _read(session, request)
        except sqlite3.Error:
            session.check_still()
            raise
    except Unread as error:
        _send(FAULT, {"why": error.why})
    except MemoryError:
        _send(FAULT, {"why": Why.MEMORY})
    except UnicodeError:
        _send(FAULT, {"why": Why.COLUMN})
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        _send(FAULT, {"code": code, "message": str(error), "asked": session.is_open})
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  # a file that breaks SQLite's rules may make the driver raise anything
        _send(FAULT, {"error": type(error).__name__})


def _read(session: Session, request: dict[str, Any]) -> None:
    connection = session.open(request["path"], [Path(folder) for folder in request["folders"]])
    _send(OPENED, None)
    statement, parameters, limit = request["statement"], request["parameters"], request["limit"]
    if limit is not None:
        # By itself first: what is wrong with it, SQLite tells in its own words.
        steps = connection.execute(f"EXPLAIN QUERY PLAN\n{statement}", parameters).fetchmany(_MOST_STEPS)
        _send(EXPECTED, {"steps": [(above, detail) for _, above, _, detail in steps], **_known(connection, request)})
        statement = _limited(connection, statement, parameters, limit)
    cursor = connection.execute(statement, parameters)
    _send(COLUMNS, cursor.description and [name for name, *_ in cursor.description])
    none = True
    for rows in _chunks(islice(cursor, limit), request["batch_size"], request["max_row_bytes"]):
        _send(ROWS, rows)
        none = False
    doubt = request["doubt"]
    doubtful = doubt is not None and (none or doubt["always"]) and _mixes(connection, doubt)
    session.check_still()
    _send(END, doubtful)


def _known(connection: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    """What the file says of its tables."""
    described = "SELECT name, type, pk FROM pragma_table_info(?)"
    columns = {table: connection.execute(described, (table,)).fetchmany(_MOST_STEPS) for table in request["tables"]}
    try:
        counted = connection.execute("SELECT tbl, stat FROM sqlite_stat1 WHERE stat > ''").fetchmany(_MOST_STEPS)
    except sqlite3.OperationalError:  # it was never analyzed
        counted = []
    return {"columns": columns, "rows": {table: stat.partition(" ")[0] for table, stat in counted}}


def _chunks(found: Iterable[Sequence[Any]], most: int, max_row_bytes: int) -> Iterator[list[Sequence[Any] | None]]:
    rows: list[Sequence[Any] | None] = []
    size = 0
    for values in found:
        length = sum([len(value) for value in values if type(value) in _SIZED])
        oversized = length > max_row_bytes
        rows.append(None if oversized else values)
        size += 0 if oversized else length + 16 * len(values)
        del values
        if len(rows) == most or size >= _FRAME_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _limited(connection: sqlite3.Connection, statement: str, parameters: dict[str, Any], limit: int) -> str:
    """The statement with a limit to its rows. Around it, as a subquery, its columns would have other names.

    One that has a limit of its own, and one of VALUES, takes no other: it is only read no further.
    """
    limited = f"{statement}\nLIMIT {limit:d}"
    try:
        connection.execute(f"EXPLAIN\n{limited}", parameters)
    except sqlite3.OperationalError:
        return statement
    return limited


def _mixes(connection: sqlite3.Connection, doubt: dict[str, Any]) -> bool:
    """Whether rows that are there for the least number are gone for the least text."""

    def any_row(parameters: dict[str, Any]) -> bool:
        return bool(connection.execute(doubt["statement"], parameters).fetchone()[0])

    return not any_row(doubt["least_text"]) and any_row(doubt["least_number"])


def _value(value: Any) -> dict[str, str]:
    """What JSON has no form for: a blob, and a text that is no UTF-8."""
    return {BLOB: b64encode(value).decode()} if type(value) is bytes else {}


def _send(kind: bytes, said: Any) -> None:
    text = json.dumps(said, ensure_ascii=False, default=_value).encode()
    left = memoryview(HEAD.pack(len(text), kind) + text)
    while left:
        left = left[os.write(1, left) :]


def _received(size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = os.read(0, size - len(received))
        if not part:
            os._exit(0)
        received += part
    return received


def _end_with_it() -> NoReturn:
    """End when our process closes its end of the socket, or ends. SQLite computes in another thread meanwhile."""
    try:
        os.read(0, 1)
    finally:
        os._exit(0)


def _bound() -> None:
    """No more memory and no larger files than these, and no memory written to a disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit(resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
    if sys.platform == "linux":
        _limit(resource.RLIMIT_AS, MAX_MEMORY_BYTES)


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (bound, bound))
