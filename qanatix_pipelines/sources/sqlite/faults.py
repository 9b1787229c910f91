"""What SQLite's result codes mean for the caller."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from qanatix_pipelines.errors import (
    AddressRefused,
    QueryRejected,
    ResultUnusable,
    SourceError,
    SourceFailed,
    SourceUnreachable,
)
from qanatix_pipelines.places import LONGEST_SAID, Words, last_names
from qanatix_pipelines.sources.sqlite.frames import Why


class FileRefused(AddressRefused):
    """The source is a file where pulls may not read. The operator opens folders, by QANATIX_SQLITE_FOLDERS."""


# Primary result codes (SQLite documentation, "Result and Error Codes"). The driver, which names them, is the child's.
_ERROR = 1
_PERM = 3
_BUSY = 5
_LOCKED = 6
_NOMEM = 7
_READONLY = 8
_IOERR = 10
_IOERR_WRITE = 778
_CORRUPT = 11
_FULL = 13
_CANTOPEN = 14
_PROTOCOL = 15
_SCHEMA = 17
_TOOBIG = 18
_MISMATCH = 20
_AUTH = 23
_FORMAT = 24
_RANGE = 25
_NOTADB = 26

_BY_A_WRITER = (SourceUnreachable, "The file is locked by a program that writes to it")
_DAMAGED = (SourceFailed, "The file is damaged: `PRAGMA integrity_check` in the sqlite3 shell says where")
_NO_DATABASE = (SourceFailed, "The file is no SQLite database, or it is encrypted")
_UNOPENED = (
    "The file cannot be opened: the account that pulls run as has no right to it, or what SQLite keeps beside it "
    "(-wal, -shm) is not whole"
)
_HALF_WRITTEN = (
    "A program ended while it wrote the file, and what it left must be taken back by one that may write: open the file "
    "once with the sqlite3 shell"
)
_MEMORY = (SourceFailed, "The query takes more memory than the 1 GiB that it may have, or than the machine has")
_ROOM = (
    SourceFailed,
    "The machine where pulls run has no room for what the query sorts, or that is more than the 4 GiB that it may have",
)
_REJECTED = (QueryRejected, "The source rejected the query")
_MEANINGS: dict[int, tuple[type[SourceError], str]] = {
    **dict.fromkeys((_BUSY, _LOCKED, _PROTOCOL), _BY_A_WRITER),
    **dict.fromkeys((_FORMAT, _NOTADB), _NO_DATABASE),
    **dict.fromkeys((_ERROR, _MISMATCH, _RANGE), _REJECTED),
    _AUTH: (QueryRejected, "The query must only read, and it would do more"),
    _CANTOPEN: (SourceUnreachable, _UNOPENED),
    _CORRUPT: _DAMAGED,
    _FULL: _ROOM,
    _IOERR: (SourceFailed, "The machine where pulls run could not read the file"),
    _NOMEM: _MEMORY,
    _PERM: (SourceUnreachable, "The account that pulls run as has no right to the file"),
    _READONLY: (SourceFailed, _HALF_WRITTEN),
    _SCHEMA: (SourceFailed, "The file's tables were changed while the query was prepared"),
    _TOOBIG: (SourceFailed, "A value, or a row that SQLite sorts, is larger than 64 MiB"),
}
_TRANSIENT = {_BUSY, _LOCKED, _PROTOCOL, _IOERR, _READONLY, _SCHEMA}

# What SQLite says of a query, by how that begins, and what it means; the name that it is about stands after it.
_REASONS = {
    "no such column: ": "there is no such column",
    "no such table: ": "there is no such table or view",
    "no such function: ": "there is no such function: check how it is spelt",
    "no such collation sequence: ": "there is no such collation: one that a program of yours adds is not known here",
    "no such module: ": "it is a virtual table of a module that is not known here",
    "ambiguous column name: ": "more than one table has such a column: write the table's name before it",
    "wrong number of arguments to function ": "it takes another number of arguments",
    "misuse of aggregate": "an aggregate cannot stand there",
    "near ": "what comes there is not SQL as SQLite reads it",
    "unrecognized token: ": "what comes there is not SQL as SQLite reads it",
    "not authorized to use function: ": "a pull may not call it",
}
_INCOMPLETE = "incomplete input"
_WITHOUT_PLACE = {
    "malformed JSON": "a text that the query reads as JSON is none",
    "integer overflow": "a number that it computes does not fit into 64 bits",
}
_QUOTED = re.compile(r'"(.*)"', re.DOTALL)
_SYNTAX = ("near ", "unrecognized token: ")


_REFUSED = {
    Why.NOT_OPEN: (
        "is in no folder that is open to pulls. The operator opens folders with QANATIX_SQLITE_FOLDERS, where pulls run"
    ),
    Why.LINK: "is a link, or is reached through one, which could lead out of the folders that are open to pulls",
    Why.NAMES: "has more than one name (a hard link), so it may be a file of another folder",
    Why.STORE: "is a store of QANATIX itself, which no pull reads",
    Why.KIND: "is no plain file: a folder, a pipe, a socket and a device hold no database",
}
_UNREAD: dict[Why, tuple[type[SourceError], str]] = {
    Why.GONE: (
        SourceUnreachable,
        "There is no such file in the folder. Check the path, on the machine where pulls run",
    ),
    Why.FORBIDDEN: (
        SourceUnreachable,
        "The account that pulls run as has no right to that file, or to a folder on the way to it",
    ),
    Why.CHANGED: (SourceFailed, "The file was changed or replaced while it was read"),
    Why.COLUMN: (ResultUnusable, "The name of a column is not UTF-8: name it with AS"),
    Why.MEMORY: _MEMORY,
}


def fault(told: Mapping[str, Any], words: Callable[[], Words]) -> SourceError:
    """What a frame tells, for the caller. `words` are the query's own."""
    if "why" in told:
        return _unread(Why(told["why"]))
    if "error" in told:
        return SourceFailed(f"The file could not be read ({told['error']}).")
    if told["code"] is None:  # the driver's own: it has found more statements, or other parameters
        return QueryRejected("The query has a parameter of its own, such as ?1, or is not one statement.")
    place, reason = place_of(words(), told["message"]) if told["asked"] else ("", "")
    return explained(told["code"], place, reason)


def _unread(why: Why) -> SourceError:
    if why in _REFUSED:
        return FileRefused(f"The connector's file {_REFUSED[why]}.")
    kind, sentence = _UNREAD[why]
    return kind(f"{sentence}.", transient=why is Why.CHANGED)


def explained(code: int, place: str = "", reason: str = "") -> SourceError:
    """`code` may be an extended one. `place` is of the query's own words, and `reason` one of ours."""
    code = _FULL if code == _IOERR_WRITE else code & 0xFF  # only what is sorted is ever written
    kind, sentence = _MEANINGS.get(code, (SourceFailed, "The source failed while the query ran"))
    transient = code in _TRANSIENT
    return kind(f"{sentence}{place}{reason and ': ' + reason} (SQLite's code {code}).", transient=transient)


def place_of(words: Words, message: str) -> tuple[str, str]:
    """Where in the query it is, and what is wrong there: looked up by what SQLite says, of which nothing is shown."""
    message = message[:LONGEST_SAID]
    if message == _INCOMPLETE:
        return words.at(len(words.text)), "more should follow there"
    begins = next((begin for begin in _REASONS if message.startswith(begin)), None)
    if begins is None:
        return "", next((reason for said, reason in _WITHOUT_PLACE.items() if message.startswith(said)), "")
    if begins in _SYNTAX:
        said = _QUOTED.search(message)
        return (words.at_name([said[1]]) if said else ""), _REASONS[begins]
    name = message.removeprefix(begins).removesuffix("()")
    place = words.at_name([name, *reversed(name.split(".")), *last_names(name)])
    return place, _REASONS[begins] if place else ""
