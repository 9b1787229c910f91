"""What MySQL's and MariaDB's error numbers mean for the caller."""

import re
from collections.abc import Callable

from qanatix_pipelines.errors import (
    LoginRefused,
    QueryRejected,
    SourceError,
    SourceFailed,
    SourceTimeout,
    SourceUnreachable,
    TlsFailed,
)
from qanatix_pipelines.places import LONGEST_SAID, Words, last_names

# What an error means: by its number (MySQL's and MariaDB's error references), else by its SQLSTATE's class.
_REJECTED = (QueryRejected, "The source rejected the query")
_GONE = (SourceUnreachable, "The source closed the connection")
_FULL = (SourceUnreachable, "The source takes no more connections")
_LOGIN = (LoginRefused, "The source refused the user or the password")
# Errors of a query that their class does not show: of names and values in it, and of views that it reads.
_OF_QUERIES = (
    *(1052, 1111, 1193, 1210, 1221, 1227, 1267, 1270, 1271, 1273, 1290, 1356, 1411, 1449, 1525, 1582),
    *(3029, 3065, 3579, 3593, 3948, 4015, 4161, 4166),
)
_MEANINGS: dict[int, tuple[type[SourceError], str]] = {
    **dict.fromkeys((1045, 1130, 1251, 1698, 1820, 1862, 2059, 2061, 3118, 4151), _LOGIN),
    **dict.fromkeys((1044, 1049), (LoginRefused, "The source has no such database for this user: check `database`")),
    **dict.fromkeys((1040, 1203, 1226), _FULL),
    **dict.fromkeys((1053, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2055, 3169), _GONE),
    **dict.fromkeys((1205, 1317, 1969, 3024), (SourceTimeout, "The source cancelled the query")),
    **dict.fromkeys(_OF_QUERIES, _REJECTED),
    1792: (QueryRejected, "The query must only read, and it would write"),
    3159: (TlsFailed, "The source takes connections over TLS only: set tls to required or verify"),
}
_BY_STATE = {"08": _GONE, "28": _LOGIN} | dict.fromkeys(("0A", "21", "22", "42"), _REJECTED)
# Another try may help: too many connections, a lock that did not come, a deadlock; and each error of a lost connection.
_TRANSIENT = {1040, 1203, 1205, 1213}

_SYNTAX, _ROUTINE = 1064, 1305
# Which of the names that an error quotes is the one that it is about.
_NAMED = {1044: -1, 1049: 0, 1052: 0, 1054: 0, 1066: 0, 1109: 0, 1142: -1, 1143: -2, 1146: 0, 1370: -1, 4161: 0}
_NO_RIGHT = "the connector's user has no right to read it: grant SELECT on it, as docs/security.md shows"
# What is wrong with the query's word at the place, and what to do about it.
_REASONS = {
    1044: _NO_RIGHT,
    1049: "there is no such database",
    1052: "more than one table has such a column: write the table's name before it",
    1054: "there is no such column",
    1066: "two tables are called so: give one another name, by AS",
    1109: "there is no such table in FROM",
    1142: _NO_RIGHT,
    1143: _NO_RIGHT,
    1146: "there is no such table or view, or it is in another database: database.table",
    1370: "check how it is spelt; if it is right, the connector's user has no right to call it: grant EXECUTE on it",
    _SYNTAX: "what comes there is not SQL as the source reads it",
    _ROUTINE: "there is no such function: check how it is spelt",
    4161: "there is no such type",
}
_QUOTED = re.compile(r"'([^']*)'|`([^`]*)`")
# The server quotes the rest of the query from the place on, cut at 80 characters, and says the line, in any language.
_NEAR = re.compile(r"'(.*)'\D*(\d{1,6})\D*", re.DOTALL)
_CUT = 80


def explained(number: int, state: str, place: str = "") -> SourceError:
    """The error for a number and its SQLSTATE, which may be 0 and empty.

    It shows the number and `place`, which is of the query's own words: nothing that the server wrote.
    """
    fallback = _BY_STATE.get(state[:2], (SourceFailed, "The source failed while the query ran"))
    meaning = _REJECTED if place else _MEANINGS.get(number, fallback)
    kind, sentence = meaning
    transient = number in _TRANSIENT or meaning == _GONE
    reason = _REASONS.get(number, "") if place else ""
    told = f"{sentence}{place}{reason and ': ' + reason}"
    return kind(f"{told} (error {number})." if number else f"{told}.", transient=transient)


def place_of(words: Words, number: int, message: str, sent: str, in_source: Callable[[int], int]) -> str:
    """Where in the query the error is: at the text or the name that the server's `message` quotes. Else empty.

    `sent` is the query as it was sent. `in_source` turns a position in it, counted from 1, into one in the user's own.
    """
    message = message[:LONGEST_SAID]
    if number == _SYNTAX:
        return _syntax(words, message, sent, in_source)
    if number == _ROUTINE:
        return words.at_name(part for name in last_names(message) for part in reversed(name.split(".")))
    quoted = [one or other for one, other in _QUOTED.findall(message)]
    which = _NAMED.get(number)
    if which is None or len(quoted) <= (which if which >= 0 else -which - 1):
        return ""
    return words.at_name([quoted[which], *reversed(quoted[which].split("."))])


def _syntax(words: Words, message: str, sent: str, in_source: Callable[[int], int]) -> str:
    said = _NEAR.search(message)
    if said is None:
        return ""
    rest, line = said[1].removesuffix("..."), int(said[2])
    if sent.endswith(rest):
        offsets = [len(sent) - len(rest)]
    else:
        offsets = [found.start() for found in re.finditer(re.escape(rest), sent)] if len(rest) >= _CUT // 2 else []
        offsets = [offset for offset in offsets if sent.count("\n", 0, offset) == line - 1]
    if len(offsets) != 1:
        return f" at line {line}" if line <= sent.count("\n") + 1 else ""
    return words.at(in_source(offsets[0] + 1) - 1)
