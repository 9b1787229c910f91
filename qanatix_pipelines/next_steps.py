"""What to do next about a failure of a source, where the sentence about it does not say so itself."""

import re

from qanatix_pipelines.errors import (
    LoginRefused,
    QueryRejected,
    ResultUnusable,
    SourceError,
    SourceFailed,
    SourceTimeout,
    SourceUnreachable,
    TlsFailed,
)

_STEPS: dict[type[SourceError], str] = {
    LoginRefused: "Check user, password and database in connection_config.",
    QueryRejected: "Correct the query.",
    ResultUnusable: "Change the query, or the columns that the connector names.",
    SourceFailed: "See the source's own log for the time of this test.",
    SourceTimeout: "See whether the source is busy, and ask for fewer rows or make an index.",
    SourceUnreachable: "Check that the source runs, and that host and port in connection_config are its own.",
    TlsFailed: "See how the server is set up, and what docs/sources.md says of TLS.",
}
# How our sentences ask for something: by a verb that begins a sentence, or follows a colon or a word that joins.
_ASKS = re.compile(
    r"(?:^|[.:;,] |\b(?:or|and|but) )(?:add|ask|cast|change|check|choose|compare|correct|give|grant|leave|let|make|name"
    r"|open|put|raise|read|register|return|see|set|start|use|write)\b"
    r"|\bmust (?:be|begin|end|have|only|not)\b|\bthe operator (?:opens|allows)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")


def with_next_step(error: SourceError) -> str:
    """The sentence of an error, and what to do next. Words of the query, which it may quote, ask for nothing."""
    sentence = str(error)
    if _ASKS.search(_QUOTED.sub("", sentence)):
        return sentence
    step = next((_STEPS[kind] for kind in type(error).__mro__ if kind in _STEPS), _STEPS[SourceFailed])
    return f"{sentence} {step}"
