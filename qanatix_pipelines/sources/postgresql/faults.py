"""What PostgreSQL's SQLSTATEs mean for the caller."""

import re

from qanatix_pipelines.errors import (
    LoginRefused,
    QueryRejected,
    SourceError,
    SourceFailed,
    SourceTimeout,
    SourceUnreachable,
)
from qanatix_pipelines.places import Words, last_names

# By prefixes of SQLSTATEs, the longest first (PostgreSQL documentation, appendix A).
_MEANINGS: dict[str, tuple[type[SourceError], str]] = {
    "08": (SourceUnreachable, "The source closed the connection, or what listens at its port is no PostgreSQL"),
    "25P03": (SourceUnreachable, "The source's idle_in_transaction_session_timeout ended the session"),
    "25P04": (SourceTimeout, "The source's transaction_timeout ended the session"),
    "25": (QueryRejected, "The query must only read, and it would do more"),
    "28000": (LoginRefused, "The source lets this user not log in from here, or not without TLS: its pg_hba.conf says"),
    "28": (LoginRefused, "The source refused the user or the password"),
    "3D": (LoginRefused, "The source has no such database: check the name in the dsn"),
    "53300": (SourceUnreachable, "The source takes no more connections"),
    "57014": (SourceTimeout, "The source cancelled the query"),
    "57P01": (SourceUnreachable, "The source is shutting down, or its operator ended the session"),
    "57P05": (SourceUnreachable, "The source's idle_session_timeout ended the session"),
    "57P": (SourceUnreachable, "The source is shutting down or starting up"),
} | dict.fromkeys(
    ("0A", "21", "22", "26", "34", "3F", "42", "54", "P0"), (QueryRejected, "The source rejected the query")
)
# Another try may help: lost connections, idle limits, conflicts with a replica's replay, deadlocks, too many
# connections, restarts.
_TRANSIENT = ("08", "25P03", "40001", "40P01", "53300", "57P01", "57P02", "57P03", "57P05")

# What is wrong with the query's word at the place, and what to do about it.
_REASONS = {
    "3F000": "there is no such schema",
    "42601": "what comes there is not SQL as PostgreSQL reads it",
    "42702": "more than one table has such a column: write the table's name before it",
    "42703": "there is no such column",
    "42704": "there is no such type or object",
    "42725": "more than one function or operator fits: cast what it is given",
    "42803": "it is neither grouped by nor within an aggregate",
    "42883": "there is no such function or operator for these types: check how it is spelt, or cast what it is given, "
    "such as x::text",
    "42P01": "there is no such table or view, or it is in a schema that must be named: schema.table",
}
_NO_UTF8 = (
    "a text, or a column's name, cannot be converted from the database's encoding to UTF-8: name the column with AS, "
    "or return the text's bytes, convert_to(x, 'SQL_ASCII')"
)
_CONVERTED = "a value in some row cannot be converted as the query asks"
_WITHOUT_PLACE = {
    "22007": _CONVERTED,
    "22008": _CONVERTED,
    "22P02": _CONVERTED,
    "22021": _NO_UTF8,
    "22P05": _NO_UTF8,
    "42P18": "the type of :last_pull cannot be told: cast it, such as :last_pull::timestamptz, and :until likewise",
}
_NO_RIGHT = "42501"
_WORDS_OF_A_NAME = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_GRANT = "grant SELECT on each table and view, and USAGE on its schema, as docs/security.md shows"


def condition(error: type[Exception]) -> str:
    """The name of the SQLSTATE's condition, from the name of the driver's exception for it."""
    return _WORDS_OF_A_NAME.sub(" ", error.__name__.removesuffix("Error")).lower()


def explained(state: str, condition: str, place: str = "") -> SourceError:
    """The error for a SQLSTATE. It shows the state and its `condition`, which are closed lists, and `place`."""
    prefixes = (state[:length] for length in range(len(state), 1, -1))
    known = (_MEANINGS[prefix] for prefix in prefixes if prefix in _MEANINGS)
    kind, sentence = next(known, (SourceFailed, "The source failed while the query ran"))
    reason = (_REASONS.get(state) if place else None) or _WITHOUT_PLACE.get(state, "")
    if state == _NO_RIGHT:
        named = "it" if place else "something that the query, or a view in it, reads"
        reason = f"the connector's user has no right to read {named}: {_GRANT}"
    return kind(
        f"{sentence}{place}{reason and ': ' + reason} ({condition}, SQLSTATE {state}).",
        transient=state.startswith(_TRANSIENT),
    )


def place_of(words: Words, state: str, message: str, offset: int | None) -> str:
    """Where in the query the error is: at the server's position, else at the name for which a right is missing."""
    if offset is not None:
        return words.at(offset)
    return words.at_name(last_names(message)) if state == _NO_RIGHT else ""
