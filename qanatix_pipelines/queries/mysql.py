"""MySQL's SQL: what a query must not ask, though a read-only transaction would let it through."""

import re
from datetime import UTC, datetime
from itertools import pairwise

from sqlglot import tokenize
from sqlglot.tokenizer_core import TokenType

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.placeholders import SqlQuery, parse_sql
from qanatix_pipelines.queries.reads import check_reads
from qanatix_pipelines.watermarks import Watermark

# What may stand between two tokens as MySQL reads it; not /*! or /*M!, whose inside is executed.
_BETWEEN_TOKENS = re.compile(r"(?:\s|--(?=\s|$)[^\n]*|#[^\n]*|/\*(?!M?!)(?:(?!\*/).)*\*/|;)*", re.DOTALL)
# The least DATETIME that is documented. It compares right with DATETIME, TIMESTAMP and DATE on MySQL and MariaDB, and
# so does what INTERVAL, DATE() and CONVERT_TZ() make of it; of the zero date and of the year 1 they make NULL.
_FIRST_PULL = datetime(1000, 1, 1)  # noqa: DTZ001  # UTC, as the session is
# Of BIGINT. MySQL compares it right with unsigned columns and with decimals.
_LEAST_INTEGER = -(2**63)
# In a read-only transaction too, it would keep others from writing these rows for as long as the pull lasts.
_LOCKING = re.compile(r"\b(?:FOR (?:UPDATE|SHARE)|LOCK IN SHARE MODE)\b")


def parse_mysql(query: str) -> SqlQuery:
    """Like `parse_sql`. Raises QueryRejected also for files, variables, executable comments, and what is no query."""
    statement = parse_sql(query, dialect="mysql")
    tokens = tokenize(query, dialect="mysql")
    edges = [0, *(edge for token in tokens for edge in (token.start, token.end + 1)), len(query)]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    if not all(_BETWEEN_TOKENS.fullmatch(query, start, end) for start, end in gaps):
        raise QueryRejected("The query holds a comment that MySQL would execute, /*! or /*M!, or would read otherwise.")
    check_reads(query, tokens)
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


def bound(start: Watermark | None, *, integer: bool) -> datetime | int:
    """What `:last_pull` is bound to. A time is in UTC, as the session is, and so without a zone."""
    if isinstance(start, datetime):
        return start.astimezone(UTC).replace(tzinfo=None)
    if start is None:
        return _LEAST_INTEGER if integer else _FIRST_PULL
    return max(start, _LEAST_INTEGER)
