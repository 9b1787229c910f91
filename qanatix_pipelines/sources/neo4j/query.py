r"""Cypher as far as a pull must understand it: where its placeholders stand, and that no clause does more than read.

The tokenizer knows strings, back-quoted names and comments, in which a word means nothing. It is no security boundary:
a read-only transaction refuses writes, and the user's privileges refuse the rest. It refuses early and clearly, also
LOAD CSV and CALL, which a read-only transaction lets through.

Neo4j replaces \uXXXX in the whole query before it looks for tokens (seen with 5.26), so an escape may end a string.
An escape that could move a token's border is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.places import LITERAL, Word, Words, line_and_column, shown
from qanatix_pipelines.sources.source import Asked

LAST_PULL, UNTIL = "last_pull", "until"
NAMES = (LAST_PULL, UNTIL)

_TOKEN = re.compile(
    r"""
      (?P<space> \s+ | //[^\n\r]* | /\*.*?\*/ )
    | (?P<string> '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" )
    | (?P<quoted> (?:`[^`]*`)+ )
    | (?P<parameter> \$\s*(?: \w+ | (?:`[^`]*`)+ ) )
    | (?P<number> \d\w* )
    | (?P<name> \w+ )
    | (?P<unclosed> (?: ['"`] | /\* ).* )
    | (?P<operator> <= | >= | <> | =~ | \+= | \|\| | :: | \.\. | [!-/:-@\[\]^{-~] )
    | (?P<stray> . )
    """,
    re.VERBOSE | re.DOTALL,
)
# \uXXXX for an ASCII character that is no letter or digit: a quote, a backslash, a line's end.
_MOVES_A_BORDER = re.compile(r"\\u+00(?:[0-2][0-9a-f]|3[a-f]|[46]0|5[b-f]|7[b-f])", re.IGNORECASE)

_FIRST = ("MATCH", "OPTIONAL", "WITH", "UNWIND", "RETURN")
# Clauses that may follow one of those. `_check_clauses` knows where such a word is a name and no clause.
_REFUSED = frozenset(
    ["CALL", "CREATE", "DELETE", "DETACH", "FOREACH", "INSERT", "LOAD", "MERGE", "NODETACH", "REMOVE", "SET", "USE"]
)
# Words that can only come first. They are known so that the error can name them.
_COMMANDS = frozenset(
    ["ALTER", "CYPHER", "DENY", "DROP", "EXPLAIN", "GRANT", "PROFILE", "REVOKE", "SHOW", "START", "STOP", "TERMINATE"]
)

# Its functions would run the clauses that are refused here.
_EXECUTES = "apoc.cypher."
_ESCAPE = re.compile(r"\\u+([0-9a-fA-F]{4})")

_COMPARISONS = frozenset(["=", "<>", "<", ">", "<=", ">=", "+", "-", "*", "/", "%"])
_BEFORE_OPERAND = _COMPARISONS | {",", ":"}
_WORDS_BEFORE_OPERAND = frozenset(
    ["AND", "BY", "CASE", "DISTINCT", "ELSE", "NOT", "OR", "RETURN", "THEN", "UNWIND", "WHEN", "WHERE", "WITH", "XOR"]
)
# Before `(`, these begin a pattern or a group, and are no function.
_NO_FUNCTION = _WORDS_BEFORE_OPERAND | {"ALL", "ANY", "EXISTS", "GROUP", "GROUPS", "IN", "MATCH", "PATH", "PATHS"}


@dataclass(frozen=True)
class Token:
    """`kind` is a group of the tokenizer's pattern. Comments are space."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def word(self) -> str:
        """A keyword in upper case. Empty for a token that can be none."""
        return self.text.upper() if self.kind == "name" else ""


@dataclass(frozen=True)
class CypherQuery:
    """A query whose only parameters, if any, are `$last_pull` and `$until`. Its `text` is as long as the user's."""

    text: str
    asked: Asked


def parse_cypher(text: str) -> CypherQuery:
    """Make `:last_pull` a `$last_pull` wherever it cannot be a label, and refuse clauses that do more than read.

    `:until` becomes `$until` by the same rules.

    It is the parameter after an operator of comparison or arithmetic, a comma, a map's colon, or a word such as WHERE
    or AND. It is the parameter, too, as the first argument of a function, and in parentheses before such an operator.
    Anywhere else, as in `(n:last_pull)`, it is a label or a type. Raises QueryRejected.
    """
    significant = [token for token in tokens(text) if token.kind != "space"]
    if significant and significant[-1].text == ";":
        significant.pop()
    if not significant:
        raise QueryRejected("The query is empty.")
    _check(text, significant)
    positions = [i for i in range(1, len(significant) - 1) if _is_placeholder(significant, i)]
    characters = list(text)
    for position in positions:
        characters[significant[position].start] = "$"
    named = {_parameter(token) for token in significant if token.kind == "parameter"}
    named |= {significant[position + 1].text for position in positions}
    return CypherQuery("".join(characters), Asked(last_pull=LAST_PULL in named, until=UNTIL in named))


def tokens(text: str) -> list[Token]:
    """The whole text as tokens. Joined, they are the text again."""
    return [Token(match.lastgroup or "", match.group(), match.start()) for match in _TOKEN.finditer(text)]


def cypher_words(text: str) -> Words:
    """The query's words, to show a place in it."""
    words = [
        Word(token.start, token.end, LITERAL if token.kind == "string" else shown(token.text), token.text.strip("`"))
        for token in tokens(text)
        if token.kind != "space"
    ]
    return Words(text, words)


def _check(text: str, significant: Sequence[Token]) -> None:
    if any(token.kind == "unclosed" for token in significant):
        raise QueryRejected("The query cannot be read: a quoted string, a name or a comment in it is not closed.")
    if _MOVES_A_BORDER.search(text):
        raise QueryRejected(
            "The query writes a character as \\uXXXX where it could be taken for a part of the language: write it out."
        )
    for token in significant:
        if token.kind == "stray":
            raise QueryRejected(f"The query has the character U+{ord(token.text):04X} outside of strings and names.")
        if token.text == ";":
            raise QueryRejected("The query must be one statement: there is a semicolon within it.")
    _check_clauses(significant)
    if _EXECUTES in "".join(_plain(token) for token in significant if token.kind != "string").lower():
        raise QueryRejected("The query must not call apoc.cypher, which executes a text.")
    for token in significant:
        # $all(...) and $any(...) are no parameters: they make labels from an expression.
        if token.kind == "parameter" and _parameter(token) not in (*NAMES, "all", "any"):
            line, column = line_and_column(text, token.start)
            raise QueryRejected(
                f"The query has {shown(token.text)} at line {line}, column {column}, and nothing binds it: write "
                f"${LAST_PULL} for the time of the last pull, or ${UNTIL} for the end of a window."
            )


def _check_clauses(significant: Sequence[Token]) -> None:
    first = significant[0].word
    if first not in _FIRST:
        begins = f" begins with {first}: it" if first in _REFUSED | _COMMANDS else ""
        raise QueryRejected(f"The query{begins} must begin with MATCH, OPTIONAL MATCH, WITH, UNWIND or RETURN.")
    for before, token, after in zip(significant, significant[1:], [*significant[2:], None], strict=False):
        # A property, a label, a type, a map's key, or a variable before its label: no clause.
        other = before.text in (".", ":", "|", "&", "!") or (after is not None and after.text == ":")
        if token.word not in _REFUSED or other:
            continue
        if token.word == "LOAD" and (after is None or after.word != "CSV"):
            continue
        clause = "LOAD CSV" if token.word == "LOAD" else token.word
        raise QueryRejected(
            f"The query has the clause {clause}, and a pull may only match and return. "
            f"If {token.word} is a name in it, put the name in back-quotes."
        )


def _is_placeholder(significant: Sequence[Token], i: int) -> bool:
    before, colon, name = significant[i - 1 : i + 2]
    if colon.text != ":" or name.text not in NAMES or name.kind != "name" or name.start != colon.end:
        return False
    after = significant[i + 2].text if i + 2 < len(significant) else ""
    if before.text == "(":
        called = significant[i - 2]
        is_call = called.kind == "name" and called.end == before.start and called.word not in _NO_FUNCTION
        return after in _COMPARISONS or (is_call and after in (")", ","))
    if before.kind == "operator":
        return before.text in _BEFORE_OPERAND
    return before.word in _WORDS_BEFORE_OPERAND and before.end < colon.start


def _plain(token: Token) -> str:
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), token.text).replace("`", "")


def _parameter(token: Token) -> str:
    return token.text.removeprefix("$").strip().strip("`")
