"""What looks like a placeholder and is none: told when a connector is registered, with what to write instead.

Other tools write `%(last_pull)s`, `{{ last_pull }}`, `${last_pull}`, `?`, or `:last_pull` in quotes. A server would
reject some of these, and take others for a text or for a variable that nothing sets: such a pull completes, with no
row. So what can be nothing else in its language is refused, and no more: an array's slice, a cast, an operator such as
`?|`, a label and MySQL's own variables are left alone. It is asked of new queries only, never of those that are kept.
"""

import json
import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from sqlglot import tokenize
from sqlglot.tokenizer_core import Token, TokenType

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.placeholders import NAME
from qanatix_pipelines.places import line_and_column, shown
from qanatix_pipelines.queries import cypher
from qanatix_pipelines.queries.find_options import instead, is_option

_WRITE = f"write :{NAME}, without quotes, for the time of the last pull, or the value itself. Nothing else is bound"
# What comes before a value: where a placeholder may stand, and an operator that needs one on its left cannot.
_BEFORE_VALUES = frozenset("= == <> != < > <= >= + - * / % || ( ,".split()) | frozenset(  # noqa: SIM905
    """
    AND BETWEEN BY CASE DISTINCT ELSE HAVING ILIKE IN INTERVAL LIKE LIMIT NOT OFFSET ON OR REGEXP RETURN RLIKE SELECT
    THEN UNWIND WHEN WHERE WITH XOR
    """.split()  # noqa: SIM905  # a list of strings would fill a page
)
# Placeholders as other tools write them: each has one group, of the name.
_STYLES = (
    r":(\w+)",
    r"%\((\w+)\)[sd]",
    r"\$?\{\{?\s*([\w.]+)\s*\}?\}",
    r"[$@&](\w+)",
    r"<(\w+)>",
    r"%(\w+)%",
)
_WHOLE = re.compile("|".join(rf"\s*{style}\s*" for style in _STYLES))
_QUOTED = re.compile(rf"\$?\{{\{{?\s*{NAME}\s*\}}?\}}|%\({NAME}\)[sd]|[:$]{NAME}", re.IGNORECASE)
_SQL_AHEAD = re.compile(
    r"""
      :\s?(?=['"`]) | :\s?(?P<colon>\w+) | %\(\w+\)[sd]\b | %s\b | \?(?![|&\-#?])
    | \$?\{\{?\s*[a-zA-Z_][\w.]*\s*\}?\} | \$[a-zA-Z_]\w*
    """,
    re.VERBOSE,
)
_MYSQL_VARIABLE = re.compile(rf"@{NAME}\b", re.IGNORECASE)
_ORDERED = frozenset(["$gt", "$gte", "$lt", "$lte"])
_COMPARED = frozenset(["gt", "gte", "lt", "lte", "eq", "ne"])
# How alike two names must be for the one to be meant by the other: `last_pul`, `lastPull`, `last_run`.
_ALIKE = 0.7


def check_sql(query: str, dialect: str) -> None:
    """Raise QueryRejected for the first slip in a query that `parse_sql` reads."""
    tokens = tokenize(query, dialect=dialect)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.token_type.name.endswith(("STRING", "IDENTIFIER")):
            _check_text(query, token.start, token.text)
        elif (before is None or _precedes_value(before)) and (slip := _sql_slip(query, token)) is not None:
            raise _refused(query, token.start, slip)


def check_cypher(query: str) -> None:
    """As `check_sql`, for Cypher; `$` with a name is refused by `parse_cypher`."""
    significant = [token for token in cypher.tokens(query) if token.kind != "space"]
    if not any(token.word == "RETURN" for token in significant):
        raise QueryRejected("The query returns nothing: it must end with RETURN and what is wanted.")
    for before, token in zip([None, *significant], significant, strict=False):
        if token.kind == "string":
            _check_text(query, token.start, token.text[1:-1])
        elif before is not None and (before.text in _BEFORE_VALUES or before.word in _BEFORE_VALUES):
            slip = _SQL_AHEAD.match(query, token.start)
            # A label may follow a parenthesis or a comma, and a map may be one of nothing but a name.
            if slip is None or (token.text == ":" and before.text in ("(", ",")):
                continue
            if slip["colon"] != NAME and token.text in (":", "%", "?", "{", "$"):
                raise _refused(query, token.start, slip[0])


def check_filter(query: str) -> None:
    """As `check_sql`, for a MongoDB query. What is no JSON is told by `parse_mongo_query`."""
    try:
        given = json.loads(query)
        texts = list(_strings(given, ()))
    except (ValueError, RecursionError):
        return
    if isinstance(given, dict):
        _check_options(given)
        _check_operators(given, ())
    for path, value in texts:
        whole = _WHOLE.fullmatch(value)
        if whole is None or value == f":{NAME}" or ("$expr" in path and value.startswith("$")):
            continue
        name = next(filter(None, whole.groups()))
        if path[-1:] == ("$date",) or _is_alike(name) or (path and path[-1] in _ORDERED and not value.startswith("$")):
            where = ".".join(map(shown, path))
            raise QueryRejected(
                f'The query has the text "{shown(value)}" at {where}, which is no placeholder: write ":{NAME}", that '
                "alone and in quotes, for the time of the last pull. Nothing else is bound."
            )
    for path, value in texts:
        if path[-1:] == ("$date",) and value == f":{NAME}":
            raise QueryRejected(
                f'The query has ":{NAME}" within $date: write it alone, such as {{"$gt": ":{NAME}"}}. It is bound as a '
                "date."
            )


def _check_options(given: dict[str, Any]) -> None:
    """`find`'s options beside a filter that is not in the first form would be fields, and it would find nothing."""
    if isinstance(given.get("filter"), dict):
        return
    for key, value in given.items():
        if is_option(key, value):
            raise QueryRejected(f"The query has the key {key}, which would be a field's name. {instead(key)}")


def _check_operators(value: Any, path: tuple[str, ...]) -> None:
    """An object of operators that lack their `$` would be a value that a field never has."""
    if isinstance(value, list):
        for inner in value:
            _check_operators(inner, path)
    elif isinstance(value, dict):
        of_a_field = path not in ((), ("filter",)) and (not path[-1].startswith("$") or path[-1] == "$not")
        if of_a_field and value.keys() <= _COMPARED and f":{NAME}" in value.values():
            name = next(key for key, inner in value.items() if inner == f":{NAME}")
            place = ".".join(map(shown, path))
            field = json.dumps(f"{path[-1]}.{name}")
            raise QueryRejected(
                f"The query has {name} at {place}.{name}, where it would be a field's name: write the operator "
                f'"${name}". A filter on a field called {name} is written {{{field}: ":{NAME}"}}.'
            )
        for key, inner in value.items():
            _check_operators(inner, (*path, key))


def _precedes_value(token: Token) -> bool:
    return token.text.upper() in _BEFORE_VALUES and not token.token_type.name.endswith("STRING")


def _sql_slip(query: str, token: Token) -> str | None:
    """What stands at the token, where a value should, and is a placeholder of another tool's."""
    if token.token_type is TokenType.PARAMETER and (variable := _MYSQL_VARIABLE.match(query, token.start)):
        return variable[0]
    found = _SQL_AHEAD.match(query, token.start)
    if found is None or (found["colon"] == NAME and query[token.start + 1] != " "):
        return None
    # A MySQL name may begin with a dollar.
    if token.token_type is TokenType.VAR and not _is_alike(found[0].strip("$")):
        return None
    return found[0]


def _check_text(query: str, start: int, text: str) -> None:
    """A text that only mentions one, such as `'see :last_pull'`, is a text."""
    quoted = _QUOTED.fullmatch(text.strip())
    if quoted is not None:
        raise QueryRejected(
            f"The query has {shown(quoted[0])} in quotes{_at(query, start)}, where it is a text like any other: "
            f"{_WRITE}."
        )


def _refused(query: str, start: int, slip: str) -> QueryRejected:
    slip = ":'...'" if slip.strip() == ":" else slip
    return QueryRejected(f"The query has {shown(slip)}{_at(query, start)}, which is no placeholder: {_WRITE}.")


def _at(query: str, start: int) -> str:
    line, column = line_and_column(query, start)
    return f" at line {line}, column {column}"


def _is_alike(name: str) -> bool:
    plain = re.sub(r"[^a-z]", "", name.lower())
    return SequenceMatcher(None, plain, NAME.replace("_", "")).ratio() >= _ALIKE


def _strings(value: Any, path: tuple[str, ...]) -> Iterator[tuple[Sequence[str], str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(inner, (*path, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, path)
    elif isinstance(value, str):
        yield path, value
