"""What a MySQL query must not say although a read-only transaction lets it, and what its placeholders become."""

import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Protocol, cast

from sqlglot.dialects.mysql import MySQL
from sqlglot.tokenizer_core import TokenType

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.sources.driver import LEAST_INTEGER
from qanatix_pipelines.sources.sql import UNTIL, SqlQuery, check_reads, parse_sql, tokens_of
from qanatix_pipelines.watermarks import Watermark

# What may stand between two tokens. Not /*! or /*M!: MySQL executes what is in such a comment.
# Possessive: a comment may be read in one way only, else thousands of `#` would be read in all ways that there are.
_BETWEEN_TOKENS = re.compile(r"(?:\s|--(?=\s|$)[^\n]*+|#[^\n]*+|/\*(?!M?!)(?:(?!\*/).)*+\*/|;)*+", re.DOTALL)


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


# Two SQL modes decide how a text is cut into tokens (manual, "Server SQL Modes"): whether "a" is a name, and whether a
# backslash is an ordinary character. ANSI and ORACLE stand for several modes; the server lists ANSI_QUOTES with them.
_ANSI_QUOTES, _NO_BACKSLASH_ESCAPES = "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES"
_READINGS = {
    frozenset(): MySQL,
    frozenset({_ANSI_QUOTES}): _AnsiQuotes,
    frozenset({_NO_BACKSLASH_ESCAPES}): _NoBackslashEscapes,
    frozenset({_ANSI_QUOTES, _NO_BACKSLASH_ESCAPES}): _AnsiQuotesNoBackslashEscapes,
}
# The least documented DATETIME. It compares right with DATETIME, TIMESTAMP and DATE on MySQL and MariaDB, and so do the
# results of INTERVAL, DATE() and CONVERT_TZ() on it, in every zone. On the zero date and the year 1 they give NULL.
_FIRST_PULL = "1000-01-01 00:00:00"
# A bound that is only compared is before the year 1, whose first day other systems write for "no time".
_FIRST_COMPARED = "0000-01-01 00:00:00"
# The greatest DATETIME, for a bound that is only compared; and one with room to add to it, else that gives NULL, too.
_LAST_COMPARED, _LAST = "9999-12-31 23:59:59.999999", "9999-01-01 00:00:00"
_COMPARED = re.compile(r"[<>]=?\s*(?P<date>\bDATE\s*\(\s*)?$", re.IGNORECASE)
_BETWEEN = re.compile(r"\bBETWEEN\s+[^()]*?\bAND\s*$", re.IGNORECASE)
_COMPARED_ALONE = re.compile(r"\s*(?:[);]|$|(?:AND|OR|ORDER|GROUP|LIMIT)\b)", re.IGNORECASE)
_COMPARED_AS_DATE = re.compile(rf"\s*\){_COMPARED_ALONE.pattern}", re.IGNORECASE)
# Locks work in a read-only transaction, too. They would keep others from writing these rows while the pull lasts.
_LOCKING = re.compile(r"\b(?:FOR (?:UPDATE|SHARE)|LOCK IN SHARE MODE)\b")


def parse_mysql(query: str, modes: frozenset[str] = frozenset()) -> SqlQuery:
    """Like `parse_sql`. Raises QueryRejected also for files, variables, executable comments, and what is no query.

    With the SQL `modes` of a server, it also raises if that server would read another query out of the text.
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
    tokens = tokens_of(query, reading)
    check_reads(query, tokens)
    edges = [0, *(edge for token in tokens for edge in (token.start, token.end + 1)), len(query)]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    if not all(_BETWEEN_TOKENS.fullmatch(query, start, end) for start, end in gaps):
        raise QueryRejected("The query holds a comment that MySQL would execute, /*! or /*M!, or would read otherwise.")
    # MySQL reads two words in 1.0INTO and \NINTO, where the tokenizer sees one.
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
    for name, bracket in pairwise(tokens):  # the name of a function may be quoted
        if name.text.upper() == "LOAD_FILE" and bracket.token_type is TokenType.L_PAREN:
            raise QueryRejected("The query must not call LOAD_FILE: a pull reads no files of the source's machine.")
    return statement


# CONVERT_TZ(:last_pull, 'UTC', ...): the query itself says that the time is in UTC.
_CALL = re.compile(r"\bCONVERT_TZ\s*\(\s*$", re.IGNORECASE)
_FROM_UTC = re.compile(r"""\s*,\s*(['"])(?:\+0?0:00|(?:Etc/)?UTC|GMT)\1\s*,""", re.IGNORECASE)


# MariaDB's UNIX_TIMESTAMP gives 0 for this time, and NULL for an earlier one. Nothing compares greater than NULL.
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # in UTC
# The last second that it knows on every server.
_END = datetime(2038, 1, 19, 3, 14, 7)  # noqa: DTZ001  # in UTC
_SECONDS, _ALONE = re.compile(r"\bUNIX_TIMESTAMP\s*\(\s*$", re.IGNORECASE), re.compile(r"\s*\)")
# An integer above those of a BIGINT is an unsigned one.
_GREATEST_INTEGER = 2**64 - 1


class Locals(Protocol):
    """The session's zone."""

    def least(self, instant: datetime) -> datetime:
        """The least local time of this instant (UTC) or of any later one."""

    def greatest(self, instant: datetime) -> datetime:
        """The greatest local time of this instant (UTC) or of any earlier one."""


def bound(
    query: SqlQuery, start: Watermark | None, until: Watermark | None, zone: Locals, *, integer: bool
) -> list[datetime | int | str]:
    """The value of each placeholder. A time has no zone.

    Compared with a TIMESTAMP, the server takes it for local time in the session's zone. A DATETIME may hold UTC or
    local time. So `:last_pull` is the lesser of the two, `:until` the greater, and no row is missed either way. Where
    the query tells CONVERT_TZ that it is UTC, it is UTC.
    """
    if integer:
        # MySQL compares these right with unsigned columns and decimals, too.
        least = LEAST_INTEGER if start is None else max(cast(int, start), LEAST_INTEGER)
        greatest = _GREATEST_INTEGER if until is None else min(cast(int, until), _GREATEST_INTEGER)
        return [greatest if name == UNTIL else least for name in query.names]
    return [
        _last(cast(datetime | None, until), before, after, zone)
        if name == UNTIL
        else _first(cast(datetime | None, start), before, after, zone)
        for name, (before, after) in zip(query.names, query.around(), strict=True)
    ]


def _first(start: datetime | None, before: str, after: str, zone: Locals) -> datetime | str:
    """The value of a `:last_pull` that stands between these texts."""
    if start is None:
        if _SECONDS.search(before) and _ALONE.match(after):
            return zone.least(_EPOCH)
        return _FIRST_COMPARED if _is_compared(before, after) else _FIRST_PULL
    utc = start.astimezone(UTC).replace(tzinfo=None)
    return utc if _is_of_utc(before, after) else min(utc, zone.least(utc))


def _last(until: datetime | None, before: str, after: str, zone: Locals) -> datetime | str:
    """The value of an `:until` that stands between these texts."""
    if until is None:
        if _SECONDS.search(before) and _ALONE.match(after):
            return zone.greatest(_END)
        compared = _is_compared(before, after) or (_BETWEEN.search(before) and _COMPARED_ALONE.match(after))
        return _LAST_COMPARED if compared else _LAST
    utc = until.astimezone(UTC).replace(tzinfo=None)
    return utc if _is_of_utc(before, after) else max(utc, zone.greatest(utc))


def _is_of_utc(before: str, after: str) -> bool:
    return _CALL.search(before) is not None and _FROM_UTC.match(after) is not None


def _is_compared(before: str, after: str) -> bool:
    """Whether a placeholder between these texts is only compared, by itself or as DATE(:last_pull)."""
    compared = _COMPARED.search(before)
    if compared is None:
        return False
    alone = _COMPARED_AS_DATE if compared["date"] else _COMPARED_ALONE
    return alone.match(after) is not None
