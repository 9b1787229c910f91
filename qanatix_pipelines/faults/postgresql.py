"""What PostgreSQL's SQLSTATEs mean for the caller."""

from qanatix_pipelines.errors import (
    LoginRefused,
    QueryRejected,
    SourceError,
    SourceFailed,
    SourceTimeout,
    SourceUnreachable,
)

# What a SQLSTATE means for the caller, by its longest prefix here (PostgreSQL documentation, appendix A).
_MEANINGS: dict[str, tuple[type[SourceError], str]] = {
    "08": (SourceUnreachable, "The source closed the connection"),
    "25P03": (SourceUnreachable, "The source's idle_in_transaction_session_timeout ended the session"),
    "25P04": (SourceTimeout, "The source's transaction_timeout ended the session"),
    "25": (QueryRejected, "The query would do more than read, and a pull may only read"),
    "28": (LoginRefused, "The source refused the user or the password"),
    "3D": (LoginRefused, "The source has no such database"),
    "53300": (SourceUnreachable, "The source takes no more connections"),
    "57014": (SourceTimeout, "The source cancelled the query"),
    "57P01": (SourceUnreachable, "The source is shutting down, or its operator ended the session"),
    "57P05": (SourceUnreachable, "The source's idle_session_timeout ended the session"),
    "57P": (SourceUnreachable, "The source is shutting down or starting up"),
} | dict.fromkeys(("0A", "21", "22", "26", "34", "42", "54", "P0"), (QueryRejected, "The source rejected the query"))
# Lost connections, waits that were too long, a replica's replay that went first, deadlocks, no more connections, a
# restart.
_TRANSIENT = ("08", "25P03", "40001", "40P01", "53300", "57P01", "57P02", "57P03", "57P05")


def explained(state: str, condition: str, place: int | None) -> SourceError:
    """Says the SQLSTATE and its condition's name, which are of closed lists, and the character of the query."""
    prefixes = (state[:length] for length in range(len(state), 1, -1))
    known = (_MEANINGS[prefix] for prefix in prefixes if prefix in _MEANINGS)
    kind, sentence = next(known, (SourceFailed, "The source failed while the query ran"))
    if place is not None:
        sentence += f" at character {place}"
    return kind(f"{sentence} ({condition}, SQLSTATE {state}).", transient=state.startswith(_TRANSIENT))
