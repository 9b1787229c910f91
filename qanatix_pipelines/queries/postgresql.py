"""PostgreSQL's SQL: what is no query is told early; and which functions a strong account's query must not name.

What a read-only transaction lets through are functions that act beyond rows: on files, programs, settings, sessions.
The server calls them VOLATILE, and so each is refused whose name stands in the text, wherever and as whatever: in a
comment, as a column, in a string too. Nothing needs to be known then of where a string or a comment ends, which a
setting of the server's may change, nor of how else a function is called, such as `('/etc/passwd'::text).pg_read_file`.

A name that is put together by an expression calls nothing, but in functions that execute a text. Those are volatile,
or of `_EXECUTE`.
"""

import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import ClassVar

from sqlglot import tokenize
from sqlglot.dialects.postgres import Postgres
from sqlglot.tokenizer_core import Token, TokenType

from qanatix_pipelines.errors import FunctionRefused, QueryRejected
from qanatix_pipelines.placeholders import SqlQuery, parse_sql
from qanatix_pipelines.places import line_and_column, shown
from qanatix_pipelines.queries.reads import QUERIES, check_reads

# As the server's lexer reads one: every character beyond ASCII may stand in it.
_WORD = re.compile(r"[A-Za-z_\u0080-\U0010ffff][0-9A-Za-z_$\u0080-\U0010ffff]*")
_ESCAPED = 'u&"'
_PARAMETER = re.compile(r"\$(?:\{[^{}]*\}|\w+)")
_LOCKING = re.compile(r"FOR (?:UPDATE|SHARE|NO KEY|KEY SHARE)\b")

_HARMLESS = (
    "'random', 'random_normal', 'array_sample', 'array_shuffle', 'clock_timestamp', 'timeofday', 'current_query', "
    "'gen_random_uuid', 'uuidv4', 'uuidv7', 'pg_is_in_recovery'"
)
# Of tablefunc and xml2: they execute what they are given as text, and are declared stable.
_EXECUTE = "'crosstab', 'crosstab2', 'crosstab3', 'crosstab4', 'crosstabn', 'connectby', 'xpath_table'"

# The server itself folds the first argument's words and cuts names as long as it does a query's. What has an argument
# of the type internal no query can call. Oids below 16384 are what a server is made with.
NAMED = f"""
SELECT DISTINCT proname::text FROM pg_catalog.pg_proc
WHERE (
  proname = ANY (ARRAY(SELECT (pg_catalog.parse_ident(word))[1]::name FROM pg_catalog.unnest($1::text[]) AS word))
  OR proname = ANY ($2::text[]::name[])
) AND NOT 'pg_catalog.internal'::pg_catalog.regtype = ANY (proargtypes)
AND (provolatile = 'v' AND NOT (oid < 16384 AND proname IN ({_HARMLESS})) OR proname IN ({_EXECUTE}))
"""


class _Escapes(Postgres):
    """The SQL of a server where `standard_conforming_strings` is off: a backslash escapes in every string."""

    class Tokenizer(Postgres.Tokenizer):
        STRING_ESCAPES: ClassVar = ["'", "\\"]


def parse_as_server(query: str, standard_conforming_strings: str) -> SqlQuery:
    """Like `parse_sql`, as a server reads it whose setting of that name is "on" or "off"."""
    return parse_sql(query, dialect=_Escapes if standard_conforming_strings == "off" else Postgres)


def parse_postgresql(query: str) -> SqlQuery:
    """Like `parse_sql`. Raises QueryRejected also for what the server would refuse in any case: it is told earlier."""
    statement = parse_sql(query, dialect="postgres")
    tokens = tokenize(query, dialect="postgres")
    check_reads(query, tokens)
    # After AS and a dot it is a name.
    named = (TokenType.ALIAS, TokenType.DOT)
    if any(token.token_type is TokenType.INTO and before.token_type not in named for before, token in pairwise(tokens)):
        raise QueryRejected("The query must only read, and SELECT ... INTO would write a table: leave INTO out.")
    for dollar, number in pairwise(tokens):
        if dollar.text == "$" and dollar.token_type is TokenType.PARAMETER and number.start == dollar.end + 1:
            line, column = line_and_column(query, dollar.start)
            own = _PARAMETER.match(query, dollar.start)
            raise QueryRejected(
                f"The query has {shown(own[0] if own else '$')} at line {line}, column {column}, which is no "
                "placeholder: write :last_pull, without quotes. Nothing else is bound."
            )
    _check_locks(query, tokens)
    return statement


def _check_locks(query: str, tokens: Sequence[Token]) -> None:
    """FOR is a lock's but within a function, such as `substring(x FOR 2)`."""
    within: list[bool] = []  # for each bracket that is open, whether a query is in it
    for token, after, then in zip(tokens, [*tokens[1:], None], [*tokens[2:], None, None], strict=False):
        if token.token_type is TokenType.L_PAREN:
            within.append(after is not None and after.token_type in (*QUERIES, TokenType.L_PAREN))
        elif token.token_type is TokenType.R_PAREN and within:
            within.pop()
        elif token.token_type is TokenType.FOR and (not within or within[-1]):
            words = " ".join(word.text.upper() for word in (token, after, then) if word is not None)
            if _LOCKING.match(words):
                line, column = line_and_column(query, token.start)
                raise QueryRejected(
                    f"The query must not lock rows, as it does at line {line}, column {column}: leave FOR UPDATE and "
                    "FOR SHARE out. A pull reads one snapshot without locks."
                )


def names(text: str) -> tuple[Sequence[str], Sequence[str]]:
    """The arguments of `NAMED`: words, to be folded to lower case, and what may be a quoted name, as it is.

    They are all that the server could take for a name in `text`, and more. Raises QueryRejected for a name whose
    characters are escaped.
    """
    if _ESCAPED in text.lower():
        raise QueryRejected('The query of such a strong account must not write a name with escapes, U&"...".')
    found = _WORD.findall(text)
    # A dollar is a part of a name, or ends a string before it.
    words = {part for word in found for part in (word, *_WORD.findall(word.replace("$", " ")))}
    # Whether a quote opens or closes is not asked; doubled, it is a part of the name.
    quoted = {piece.replace("\0", '"') for piece in text.replace('""', "\0").split('"')}
    return sorted(words), sorted(words | quoted)


def check_named(right: str, named: Collection[str], text: str) -> None:
    """Raise FunctionRefused for what `NAMED` has answered. `right` is what the account may do."""
    if named:
        # The server's word is not passed on, unless the query said it before.
        said = {word.lower() for word in _WORD.findall(text)}
        raise FunctionRefused(right, sorted(said.intersection(named)))
