"""MySQL's SQL: what a query must not ask, though a read-only transaction would let it through."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import cast

from sqlglot import tokenize
from sqlglot.dialects.mysql import MySQL
from sqlglot.tokenizer_core import TokenType

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.placeholders import SqlQuery, parse_sql
from qanatix_pipelines.queries.reads import check_reads
from qanatix_pipelines.watermarks import Watermark

# What may stand between two tokens as MySQL reads it; not /*! or /*M!, whose inside is executed.
_BETWEEN_TOKENS = re.compile(r"(?:\s|--(?=\s|$)[^\n]*|#[^\n]*|/\*(?!M?!)(?:(?!\*/).)*\*/|;)*", re.DOTALL)


class _AnsiQuotes(MySQL):
    class Tokenizer(MySQL.Tokenizer):
        QUOTES = ["'"]
        IDENTIFIERS = ["`", '"']


class _NoBackslashEscapes(MySQL):
    class Tokenizer(MySQL.Tokenizer):
        STRING_ESCAPES = ["'", '"']


class _AnsiQuotesNoBackslashEscapes(_AnsiQuotes):
    class Tokenizer(_AnsiQuotes.Tokenizer):
        STRING_ESCAPES = ["'", '"']


# How a text is cut into words by the two SQL modes that decide it (manual, "Server SQL Modes"): whether "a" is a name,
# and whether a backslash is a letter. ANSI and ORACLE are sets of modes, ANSI_QUOTES among them, and are told as such.
_ANSI_QUOTES, _NO_BACKSLASH_ESCAPES = "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES"
_READINGS = {
    frozenset(): MySQL,
    frozenset({_ANSI_QUOTES}): _AnsiQuotes,
    frozenset({_NO_BACKSLASH_ESCAPES}): _NoBackslashEscapes,
    frozenset({_ANSI_QUOTES, _NO_BACKSLASH_ESCAPES}): _AnsiQuotesNoBackslashEscapes,
}
# The least DATETIME that is documented. It compares right with DATETIME, TIMESTAMP and DATE on MySQL and MariaDB, and
# so does what INTERVAL, DATE() and CONVERT_TZ() make of it; of the zero date and of the year 1 they make NULL. In
# whichever zone.
_FIRST_PULL = "1000-01-01 00:00:00"
# What is only compared may begin below the year 1, whose start other systems stamp for no time.
_FIRST_COMPARED = "0000-01-01 00:00:00"
_COMPARED = re.compile(r"[<>]=?\s*(?P<date>\bDATE\s*\(\s*)?$", re.IGNORECASE)
_COMPARED_ALONE = re.compile(r"\s*(?:[);]|$|(?:AND|OR|ORDER|GROUP|LIMIT)\b)", re.IGNORECASE)
_COMPARED_AS_DATE = re.compile(rf"\s*\){_COMPARED_ALONE.pattern}", re.IGNORECASE)
# Of BIGINT. MySQL compares it right with unsigned columns and with decimals.
_LEAST_INTEGER = -(2**63)
# In a read-only transaction too, it would keep others from writing these rows for as long as the pull lasts.
_LOCKING = re.compile(r"\b(?:FOR (?:UPDATE|SHARE)|LOCK IN SHARE MODE)\b")


def parse_mysql(query: str, modes: frozenset[str] = frozenset()) -> SqlQuery:
    """Like `parse_sql`. Raises QueryRejected also for files, variables, executable comments, and what is no query.

    With a server's SQL `modes` the query is read as that server reads it, which must be the same query.
    """
    usual = _parsed(query, MySQL)
    reading = _READINGS[modes & {_ANSI_QUOTES, _NO_BACKSLASH_ESCAPES}]
    if reading is MySQL:
        return usual
    try:
        same = _parsed(query, reading) == usual
    except QueryRejected:
        same = False
    if not same:
        raise QueryRejected(
            "The source reads this query's quotes or backslashes otherwise than usual, by its sql_mode: write strings "
            "in single quotes, names in back-quotes, and a backslash in a string as CHAR(92)."
        )
    return usual


def _parsed(query: str, reading: type[MySQL]) -> SqlQuery:
    statement = parse_sql(query, dialect=reading)
    tokens = tokenize(query, dialect=reading)
    check_reads(query, tokens)
    edges = [0, *(edge for token in tokens for edge in (token.start, token.end + 1)), len(query)]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    if not all(_BETWEEN_TOKENS.fullmatch(query, start, end) for start, end in gaps):
        raise QueryRejected("The query holds a comment that MySQL would execute, /*! or /*M!, or would read otherwise.")
    # MySQL takes 1.0INTO and \NINTO for two words, where the tokenizer sees one.
    if any(token.token_type is TokenType.VAR and token.text[0].isdigit() for token in tokens):
        raise QueryRejected(
            "The query has a word that begins with a digit: put a space between a number and what follows it, and such "
            "a name in back-quotes."
        )
    if any(token.token_type is TokenType.BACKSLASH for token in tokens):
        raise QueryRejected("The query has a backslash outside of strings and names: write NULL for \\N.")
    if any(token.token_type is TokenType.INTO for token in tokens):
        raise QueryRejected("The query must not say INTO: a pull writes neither files nor variables at the source.")
    quoted = (TokenType.STRING, TokenType.IDENTIFIER)
    if _LOCKING.search(" ".join("?" if token.token_type in quoted else token.text.upper() for token in tokens)):
        raise QueryRejected("The query must not lock rows: FOR UPDATE, FOR SHARE and LOCK IN SHARE MODE are refused.")
    for name, bracket in pairwise(tokens):  # a function's name may be quoted
        if name.text.upper() == "LOAD_FILE" and bracket.token_type is TokenType.L_PAREN:
            raise QueryRejected("The query must not call LOAD_FILE: a pull reads no files of the source's machine.")
    return statement


# Of CONVERT_TZ's two zones it says that the first is UTC.
_CALL = re.compile(r"\bCONVERT_TZ\s*\(\s*$", re.IGNORECASE)
_FROM_UTC = re.compile(r"""\s*,\s*(['"])(?:\+0?0:00|(?:Etc/)?UTC|GMT)\1\s*,""", re.IGNORECASE)


# Of an earlier time UNIX_TIMESTAMP makes null, on MariaDB, of which nothing is greater, ever; of this one it makes 0.
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # in UTC
_SECONDS, _ALONE = re.compile(r"\bUNIX_TIMESTAMP\s*\(\s*$", re.IGNORECASE), re.compile(r"\s*\)")


def bound(
    query: SqlQuery, start: Watermark | None, least_local: Callable[[datetime], datetime], *, integer: bool
) -> list[datetime | int | str]:
    """What each `:last_pull` is bound to; a time has no zone.

    The server takes it for a time of the session's zone where it meets a TIMESTAMP, and a DATETIME may hold UTC or
    local time. So it is the lesser of the two: either way nothing is missed. Where CONVERT_TZ is told that it is UTC,
    it is.
    """
    if integer:
        least = _LEAST_INTEGER if start is None else max(cast(int, start), _LEAST_INTEGER)
        return [least] * query.placeholders
    if start is None:
        return [_first(before, after, least_local) for before, after in pairwise(query.parts)]
    utc = cast(datetime, start).astimezone(UTC).replace(tzinfo=None)
    lesser = min(utc, least_local(utc))
    return [
        utc if _CALL.search(before) and _FROM_UTC.match(after) else lesser for before, after in pairwise(query.parts)
    ]


def _first(before: str, after: str, least_local: Callable[[datetime], datetime]) -> datetime | str:
    """What a `:last_pull` between these is bound to on a first pull."""
    if _SECONDS.search(before) and _ALONE.match(after):
        return least_local(_EPOCH)
    return _FIRST_COMPARED if _is_compared(before, after) else _FIRST_PULL


def _is_compared(before: str, after: str) -> bool:
    """Whether a `:last_pull` between these is compared as it is, or its date is."""
    compared = _COMPARED.search(before)
    if compared is None:
        return False
    alone = _COMPARED_AS_DATE if compared["date"] else _COMPARED_ALONE
    return alone.match(after) is not None
