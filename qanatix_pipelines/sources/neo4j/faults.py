"""What Neo4j's status codes mean for the caller."""

import re

from qanatix_pipelines.errors import (
    LoginRefused,
    QueryRejected,
    SourceError,
    SourceFailed,
    SourceTimeout,
    SourceUnreachable,
)
from qanatix_pipelines.places import Words

# What a status code means for the caller. The longest prefix counts (Neo4j status codes, "Neo4j error codes").
_MEANINGS: dict[str, tuple[type[SourceError], str]] = {
    "ClientError.Security": (LoginRefused, "The source refused the user"),
    "ClientError.Security.AuthenticationRateLimit": (LoginRefused, "The source refused too many logins of this user"),
    "ClientError.Security.CredentialsExpired": (LoginRefused, "The source wants the user's password changed first"),
    "ClientError.Security.Forbidden": (
        QueryRejected,
        "The user may not do what the query asks for: grant it MATCH on the graph, as docs/security.md shows",
    ),
    "ClientError.Security.Unauthorized": (LoginRefused, "The source refused the user or the password"),
    "ClientError.Database.DatabaseNotFound": (LoginRefused, "The source has no such database: check `database`"),
    "ClientError.Statement.AccessMode": (QueryRejected, "The query must only read, and it would write"),
    "ClientError.Transaction.LockClientStopped": (SourceTimeout, "The source cancelled the query"),
    "ClientError.Transaction.Terminated": (SourceTimeout, "The source cancelled the query"),
    "ClientError.Transaction.TransactionTimedOut": (SourceTimeout, "The source's time for a query was over"),
    "ClientError.Transaction.TransactionTimedOutClientConfiguration": (
        SourceTimeout,
        "The query ran longer than a pull may",
    ),
    "TransientError": (SourceFailed, "The source could not do it just now"),
    "TransientError.Database.DatabaseUnavailable": (SourceUnreachable, "The source's database is not available now"),
    "TransientError.General.DatabaseUnavailable": (SourceUnreachable, "The source's database is not available now"),
    "TransientError.Request.NoThreadsAvailable": (SourceUnreachable, "The source takes no more connections"),
    "TransientError.Transaction.LockClientStopped": (SourceTimeout, "The source cancelled the query"),
    "TransientError.Transaction.Terminated": (SourceTimeout, "The source cancelled the query"),
} | dict.fromkeys(
    (
        "ClientError.Procedure",
        "ClientError.Schema",
        "ClientError.Statement",
        "ClientError.Statement.ArgumentError",
        "ClientError.Statement.ArithmeticError",
        "ClientError.Statement.EntityNotFound",
        "ClientError.Statement.ParameterMissing",
        "ClientError.Statement.PropertyNotFound",
        "ClientError.Statement.SemanticError",
        "ClientError.Statement.SyntaxError",
        "ClientError.Statement.TypeError",
    ),
    (QueryRejected, "The source rejected the query"),
)

# An error that the server calls transient is transient, unless somebody ended the query on purpose.
_TRANSIENT = "TransientError"
_FINAL = ("TransientError.Transaction.LockClientStopped", "TransientError.Transaction.Terminated")


_SYNTAX = "ClientError.Statement.SyntaxError"
_REASON = (
    "it is not Cypher there: a word, a variable or a function that there is not, a value of another type, or a column "
    "that is named twice"
)
_PLACE = re.compile(r"\(line ([1-9]\d{0,5}), column ([1-9]\d{0,5})")


def explained(code: str, message: str, words: Words | None = None) -> SourceError:
    """The error for a server's status code. It tells the code as listed above, and the place in the query's `words`.

    Of the message it takes only a line and a column, and only if the query has them.
    """
    parts = code.removeprefix("Neo.").split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    known = next((prefix for prefix in prefixes if prefix in _MEANINGS), None)
    if known is None:
        return SourceFailed("The source failed while the query ran.")
    kind, sentence = _MEANINGS[known]
    said = _PLACE.search(message) if words is not None else None
    place = words.at_line(int(said[1]), int(said[2])) if words is not None and said is not None else ""
    reason = f": {_REASON}" if place and known == _SYNTAX else ""
    return kind(f"{sentence}{place}{reason} ({known}).", transient=known.startswith(_TRANSIENT) and known not in _FINAL)
