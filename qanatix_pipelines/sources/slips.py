"""Placeholders of other tools in a new query: refused when it is registered, with what to write instead.

Other tools write `%(last_pull)s`, `{{ last_pull }}`, `${last_pull}`, `?`, or `:last_pull` in quotes. A server rejects
some of these. Others it takes for a text, or for a variable that nothing sets: such a pull completes without a row.
So what can be nothing but a foreign placeholder is refused, and no more. An array's slice, a cast, an operator such as
`?|`, a label and MySQL's own variables are left alone. Kept queries are not checked.
"""

import re
from difflib import SequenceMatcher

from sqlglot.tokenizer_core import Token, TokenType

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.places import line_and_column, shown
from qanatix_pipelines.sources.sql import NAME, NAMES, UNTIL, tokens_of

_WRITE = {
    NAME: f"write :{NAME}, without quotes, for the time of the last pull, or the value itself. Nothing else is bound",
    UNTIL: f"write :{UNTIL}, without quotes, for the end of a window that a pull is given. Nothing else is bound",
}
# After one of these a value comes: a placeholder may stand there, and no operator that needs a value on its left.
BEFORE_VALUES = frozenset("= == <> != < > <= >= + - * / % || ( ,".split()) | frozenset(  # noqa: SIM905
    """
    AND BETWEEN BY CASE DISTINCT ELSE HAVING ILIKE IN INTERVAL LIKE LIMIT NOT OFFSET ON OR REGEXP RETURN RLIKE SELECT
    THEN UNWIND WHEN WHERE WITH XOR
    """.split()  # noqa: SIM905  # a list of strings would fill a page
)
_NAMED = "|".join(NAMES)
_QUOTED = re.compile(rf"\$?\{{\{{?\s*(?:{_NAMED})\s*\}}?\}}|%\((?:{_NAMED})\)[sd]|[:$](?:{_NAMED})", re.IGNORECASE)
AHEAD = re.compile(
    r"""
      :\s?(?=['"`]) | :\s?(?P<colon>\w+) | %\(\w+\)[sd]\b | %s\b | \?(?![|&\-#?])
    | \$?\{\{?\s*[a-zA-Z_][\w.]*\s*\}?\} | \$[a-zA-Z_]\w*
    """,
    re.VERBOSE,
)
_MYSQL_VARIABLE = re.compile(rf"@(?:{_NAMED})\b", re.IGNORECASE)
# How alike a name must be to be taken for a slip of the pen: `last_pul`, `lastPull`, `last_run`. So short a name as
# `until` is like too many others.
_ALIKE = 0.7
_MEANS_UNTIL = re.compile(rf"\b{UNTIL}\b", re.IGNORECASE)


def check_sql(query: str, dialect: str) -> None:
    """Raise QueryRejected for the first slip in a query that `parse_sql` reads."""
    tokens = tokens_of(query, dialect)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.token_type.name.endswith(("STRING", "IDENTIFIER")):
            check_text(query, token.start, token.text)
        elif (before is None or _precedes_value(before)) and (slip := _sql_slip(query, token)) is not None:
            raise refused(query, token.start, slip)


def _precedes_value(token: Token) -> bool:
    return token.text.upper() in BEFORE_VALUES and not token.token_type.name.endswith("STRING")


def _sql_slip(query: str, token: Token) -> str | None:
    """The placeholder of another tool that stands at the token, where a value should. None if there is none."""
    if token.token_type is TokenType.PARAMETER and (variable := _MYSQL_VARIABLE.match(query, token.start)):
        return variable[0]
    found = AHEAD.match(query, token.start)
    if found is None or (found["colon"] in NAMES and query[token.start + 1] != " "):
        return None
    # A MySQL name may begin with a dollar.
    if token.token_type is TokenType.VAR and not is_alike(found[0].strip("$")):
        return None
    return found[0]


def check_text(query: str, start: int, text: str) -> None:
    """Raise QueryRejected for a text that is a placeholder. One that only mentions it, `'see :last_pull'`, is fine."""
    quoted = _QUOTED.fullmatch(text.strip())
    if quoted is not None:
        raise QueryRejected(
            f"The query has {shown(quoted[0])} in quotes{_at(query, start)}, where it is a text like any other: "
            f"{_write(quoted[0])}."
        )


def refused(query: str, start: int, slip: str) -> QueryRejected:
    slip = ":'...'" if slip.strip() == ":" else slip
    return QueryRejected(f"The query has {shown(slip)}{_at(query, start)}, which is no placeholder: {_write(slip)}.")


def _write(slip: str) -> str:
    return _WRITE[UNTIL if _MEANS_UNTIL.search(slip) else NAME]


def _at(query: str, start: int) -> str:
    line, column = line_and_column(query, start)
    return f" at line {line}, column {column}"


def is_alike(name: str) -> bool:
    plain = _letters(name)
    return plain == UNTIL or SequenceMatcher(None, plain, _letters(NAME)).ratio() >= _ALIKE


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())
