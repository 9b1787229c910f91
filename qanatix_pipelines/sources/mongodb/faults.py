"""What MongoDB's error codes mean for the caller."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from qanatix_pipelines.errors import (
    LoginRefused,
    QueryRejected,
    SourceError,
    SourceFailed,
    SourceTimeout,
    SourceUnreachable,
)
from qanatix_pipelines.places import LONGEST_SAID, shown


class SnapshotLost(SourceFailed):
    """The pull took longer than the source keeps a snapshot."""


# The server is stopping, has another role in its replica set now, or cannot be reached by its router.
_AWAY = {
    6: "HostUnreachable",
    7: "HostNotFound",
    89: "NetworkTimeout",
    91: "ShutdownInProgress",
    134: "ReadConcernMajorityNotAvailableYet",
    189: "PrimarySteppedDown",
    9001: "SocketException",
    10107: "NotWritablePrimary",
    11600: "InterruptedAtShutdown",
    11602: "InterruptedDueToReplStateChange",
    13435: "NotPrimaryNoSecondaryOk",
    13436: "NotPrimaryOrSecondary",
}
# What a server's error code means for the caller (MongoDB's error_codes.yml), with its name there.
_MEANINGS: dict[int, tuple[type[SourceError], str, str]] = {
    11: (LoginRefused, "The source refused the user or the password", "UserNotFound"),
    13: (
        LoginRefused,
        "The source does not let this user read the collection: grant it find on it, as docs/security.md shows",
        "Unauthorized",
    ),
    18: (LoginRefused, "The source refused the user or the password", "AuthenticationFailed"),
    8000: (LoginRefused, "The source refused the user or the password", "AtlasError"),
    24: (SourceTimeout, "The source waited for a lock for too long", "LockTimeout"),
    50: (SourceTimeout, "The source's work on the query took longer than a pull allows", "MaxTimeMSExpired"),
    262: (SourceTimeout, "The source cancelled the query", "ExceededTimeLimit"),
    11601: (SourceTimeout, "The source cancelled the query", "Interrupted"),
    43: (SourceFailed, "The source lost its place in the query's result", "CursorNotFound"),
    175: (SourceFailed, "The source changed the collection while it was read", "QueryPlanKilled"),
    237: (SourceFailed, "The source cancelled the query", "CursorKilled"),
    239: (SnapshotLost, "The source keeps a snapshot for less time than the pull took", "SnapshotTooOld"),
}
_MEANINGS |= {
    code: (SourceUnreachable, "The source, or its replica set, is stopping or starting", name)
    for code, name in _AWAY.items()
}
_MEANINGS |= {
    code: (QueryRejected, "The source rejected the query", name)
    for code, name in {
        2: "BadValue",
        9: "FailedToParse",
        14: "TypeMismatch",
        15: "Overflow",
        73: "InvalidNamespace",
        96: "OperationFailed",
        146: "ExceededMemoryLimit",
        159: "DurationOverflow",
        165: "ViewDepthLimitExceeded",
        166: "CommandNotSupportedOnView",
        168: "InvalidPipelineOperator",
        224: "QueryFeatureNotAllowed",
        238: "NotImplemented",
        241: "ConversionFailure",
        292: "QueryExceededMemoryLimitNoDiskUseAllowed",
    }.items()
}
# Besides: LockTimeout, CursorNotFound (after a restart), WriteConflict, SnapshotTooOld, ExceededTimeLimit.
_TRANSIENT = _AWAY.keys() | {24, 43, 112, 239, 262}
# A greater code names one place in the server's source. Most of those places reject a query.
_PLACES = 15_000
# What some of those places reject.
_REASONS = {
    31253: "a projection either names fields to have or fields to leave out",
    31254: "a projection either names fields to have or fields to leave out",
    51091: "a regular expression in it is not valid",
}
# Some servers have no better code: DocumentDB uses it for an operator's wrong arguments.
_UNKNOWN = 8
_OPERATOR = re.compile(r"\$\w+")


def explained(code: object, place: str = "") -> SourceError:
    """The error for a server's code. It tells the code, its name from the lists above, and `place` in the query."""
    if not isinstance(code, int):
        return SourceFailed("The source failed without a code.")
    if code > _PLACES:
        reason = _REASONS.get(code)
        return QueryRejected(f"The source rejected the query{place}{f': {reason}' if reason else ''} (Location{code}).")
    if code == _UNKNOWN and place:
        return QueryRejected(f"The source rejected the query{place} (UnknownError, code {code}).")
    kind, sentence, name = _MEANINGS.get(code, (SourceFailed, "The source failed", "of no special kind"))
    if kind is not QueryRejected:
        place = ""
    return kind(f"{sentence}{place} ({name}, code {code}).", transient=code in _TRANSIENT)


def place_of(query: Mapping[str, Any], message: str) -> str:
    """Where the operator that the server's message names stands in the filter. Empty if the filter does not have it."""
    paths = list(_paths(query))
    for operator in _OPERATOR.findall(message[:LONGEST_SAID]):
        found = [path for path in paths if path[-1] == operator]
        if found:
            return f" at {'.'.join(map(shown, found[0]))}" if len(found) == 1 else f" at {shown(operator)}"
    return ""


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield (*path, key)
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner, path)
