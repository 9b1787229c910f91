"""What a PostgreSQL query may say, and which functions a strong account's query must not name.

A read-only transaction lets functions through that act beyond rows: on files, programs, settings, sessions. The server
marks them VOLATILE. So a strong account's query is refused if the name of a volatile function stands anywhere in its
text, be it in a comment, in a string or as a column. Then we need not know where a string or a comment ends, which a
setting of the server can change. Nor need we know each form of a call, such as `('/etc/passwd'::text).pg_read_file`.

A name that an expression puts together calls nothing, except in functions that execute a text. Those are volatile too,
or they stand in `_EXECUTE`.
"""

import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import ClassVar

from sqlglot.dialects.postgres import Postgres
from sqlglot.tokenizer_core import Token, TokenType

from qanatix_pipelines.errors import AccountTooStrong, QueryRejected, SourceError
from qanatix_pipelines.places import line_and_column, shown
from qanatix_pipelines.sources.sql import QUERIES, SqlQuery, check_reads, parse_sql, tokens_of

# A word, as the server's lexer reads one: every character beyond ASCII may stand in it.
_WORD = re.compile(r"[A-Za-z_\u0080-\U0010ffff][0-9A-Za-z_$\u0080-\U0010ffff]*")
_ESCAPED = 'u&"'
_PARAMETER = re.compile(r"\$(?:\{[^{}]*\}|\w+)")
_LOCKING = re.compile(r"FOR (?:UPDATE|SHARE|NO KEY|KEY SHARE)\b")

_HARMLESS = (
    "'random', 'random_normal', 'array_sample', 'array_shuffle', 'clock_timestamp', 'timeofday', 'current_query', "
    "'gen_random_uuid', 'uuidv4', 'uuidv7', 'pg_is_in_recovery'"
)
# Functions of tablefunc and xml2. They execute the text that they are given, and yet are declared stable.
_EXECUTE = "'crosstab', 'crosstab2', 'crosstab3', 'crosstab4', 'crosstabn', 'connectby', 'xpath_table'"

# The server folds the words of the first argument, and cuts long names, as it does in a query. No query can call a
# function with an argument of the type internal. OIDs below 16384 are of the functions that a server is made with.
NAMED = f"""
SELECT DISTINCT proname::text FROM pg_catalog.pg_proc
WHERE (
  proname = ANY (ARRAY(SELECT (pg_catalog.parse_ident(word))[1]::name FROM pg_catalog.unnest($1::text[]) AS word))
  OR proname = ANY ($2::text[]::name[])
) AND NOT 'pg_catalog.internal'::pg_catalog.regtype = ANY (proargtypes)
AND (provolatile = 'v' AND NOT (oid < 16384 AND proname IN ({_HARMLESS})) OR proname IN ({_EXECUTE}))
"""


# How many of a query's functions a sentence shows.
_SHOWN = 20


class FunctionRefused(AccountTooStrong):
    """The operator allows strong accounts, but the query names functions that only missing rights would stop."""

    def __init__(self, right: str, functions: Sequence[str]) -> None:
        shown = ": " + ", ".join(functions[:_SHOWN]) if functions else ""
        SourceError.__init__(
            self,
            f"The connector's account {right}, and its query names functions that may do more than read, which nothing "
            f"would stop{shown}. Nothing was read. Register an account that may only read what the query reads, as "
            "docs/security.md shows; or leave these names out of the query.",
        )


class _Escapes(Postgres):
    """The SQL of a server where `standard_conforming_strings` is off: a backslash escapes in every string."""

    class Tokenizer(Postgres.Tokenizer):
        STRING_ESCAPES: ClassVar = ["'", "\\"]


def parse_as_server(query: str, standard_conforming_strings: str) -> SqlQuery:
    """Like `parse_sql`, as a server reads the query. The argument is its setting of that name, "on" or "off"."""
    return parse_sql(query, dialect=_Escapes if standard_conforming_strings == "off" else Postgres)


def parse_postgresql(query: str) -> SqlQuery:
    """Like `parse_sql`. Raises QueryRejected also for what the server would refuse, so that it is told earlier."""
    statement = parse_sql(query, dialect="postgres")
    tokens = tokens_of(query, "postgres")
    check_reads(query, tokens)
    # After AS or a dot, INTO is a name.
    named = (TokenType.ALIAS, TokenType.DOT)
    if any(token.token_type is TokenType.INTO and before.token_type not in named for before, token in pairwise(tokens)):
        raise QueryRejected("The query must only read, and SELECT ... INTO would write a table: leave INTO out.")
    for dollar, number in pairwise(tokens):
        if dollar.text == "$" and dollar.token_type is TokenType.PARAMETER and number.start == dollar.end + 1:
            line, column = line_and_column(query, dollar.start)
            own = _PARAMETER.match(query, dollar.start)
            raise QueryRejected(
                f"The query has {shown(own[0] if own else '$')} at line {line}, column {column}, which is no "
                "placeholder: write :last_pull, or :until, without quotes. Nothing else is bound."
            )
    _check_locks(query, tokens)
    return statement


def _check_locks(query: str, tokens: Sequence[Token]) -> None:
    """Raises QueryRejected for FOR UPDATE and the like. Within a function, FOR is no lock: `substring(x FOR 2)`."""
    within: list[bool] = []  # for each open bracket, whether a query is in it
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
    """The arguments of `NAMED`: words, which the server folds to lower case, and possible quoted names, as they stand.

    Together they hold all that the server could take for a name in `text`, and more. Raises QueryRejected for a name
    whose characters are escaped.
    """
    if _ESCAPED in text.lower():
        raise QueryRejected('The query of such a strong account must not write a name with escapes, U&"...".')
    found = _WORD.findall(text)
    # A dollar may be a part of a name, or the end of a string before it.
    words = {part for word in found for part in (word, *_WORD.findall(word.replace("$", " ")))}
    # We do not ask whether a quote opens or closes. A doubled quote is a part of the name.
    quoted = {piece.replace("\0", '"') for piece in text.replace('""', "\0").split('"')}
    return sorted(words), sorted(words | quoted)


def check_named(right: str, named: Collection[str], text: str) -> None:
    """Raise FunctionRefused if `NAMED` has found any. `right` says what the account may do."""
    if named:
        # Only names that the query itself says are shown: the others are the server's words.
        said = {word.lower() for word in _WORD.findall(text)}
        raise FunctionRefused(right, sorted(said.intersection(named)))
