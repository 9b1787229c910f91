"""What MySQL's and MariaDB's error numbers mean for the caller."""

from qanatix_pipelines.errors import (
    LoginRefused,
    QueryRejected,
    SourceError,
    SourceFailed,
    SourceTimeout,
    SourceUnreachable,
    TlsFailed,
)

# By its number (MySQL's and MariaDB's error references), else by its SQLSTATE's class.
_REJECTED = (QueryRejected, "The source rejected the query")
_GONE = (SourceUnreachable, "The source closed the connection")
_FULL = (SourceUnreachable, "The source takes no more connections")
_LOGIN = (LoginRefused, "The source refused the user or the password")
_MEANINGS: dict[int, tuple[type[SourceError], str]] = {
    **dict.fromkeys((1045, 1130, 1251, 1698, 1820, 1862, 2059, 2061, 3118, 4151), _LOGIN),
    **dict.fromkeys((1044, 1049), (LoginRefused, "The source has no such database for this user")),
    **dict.fromkeys((1040, 1203, 1226), _FULL),
    **dict.fromkeys((1053, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2055, 3169), _GONE),
    **dict.fromkeys((1205, 1317, 1969, 3024), (SourceTimeout, "The source cancelled the query")),
    **dict.fromkeys((1210, 1227, 1267, 1270, 1271, 1290, 1411, 1525, 1582, 3948, 4166), _REJECTED),
    1792: (QueryRejected, "The query would write, and a pull may only read"),
    3159: (TlsFailed, "The source takes connections over TLS only"),
}
_BY_STATE = {"08": _GONE, "28": _LOGIN} | dict.fromkeys(("0A", "21", "22", "42"), _REJECTED)
# No more connections, a lock that was waited for in vain, a deadlock; and whatever means that the connection is gone.
_TRANSIENT = {1040, 1203, 1205, 1213}


def explained(number: int, state: str) -> SourceError:
    """Says the error's number, unless it is 0, and nothing of the server's words. `state` is its SQLSTATE, or empty."""
    fallback = _BY_STATE.get(state[:2], (SourceFailed, "The source failed while the query ran"))
    meaning = _MEANINGS.get(number, fallback)
    kind, sentence = meaning
    transient = number in _TRANSIENT or meaning == _GONE
    return kind(f"{sentence} (error {number})." if number else f"{sentence}.", transient=transient)
