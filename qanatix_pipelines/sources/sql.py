""":last_pull and :until in an SQL query: a tokenizer finds them, and they are bound, never spliced as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, zip_longest

from sqlglot import Dialect, tokenize
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.places import LITERAL, Word, Words, line_and_column, shown

NAME = "last_pull"
UNTIL = "until"
NAMES = (NAME, UNTIL)
# How often a query may say them. Each has a type and a value of its own, and is tried by itself.
MOST_PLACEHOLDERS = 100
# How much of the text before a placeholder says what becomes of it.
_NEAR = 500
QUERIES = (TokenType.SELECT, TokenType.WITH, TokenType.VALUES, TokenType.TABLE)
_WRITES = (TokenType.INSERT, TokenType.UPDATE, TokenType.DELETE, TokenType.MERGE)
_OPENS, _CLOSES = (TokenType.L_PAREN, TokenType.R_PAREN)


@dataclass(frozen=True)
class SqlQuery:
    """An SQL statement cut at its placeholders: `parts[0] :names[0] parts[1] :names[1] ... parts[-1]`."""

    parts: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def placeholders(self) -> int:
        return len(self.names)

    @property
    def text(self) -> str:
        """The user's own text, without a semicolon at its end."""
        return self.written(self._own())

    def asks_for(self, name: str) -> bool:
        return name in self.names

    def around(self) -> list[tuple[str, str]]:
        """Of each placeholder the text just before it, and the text behind it up to the next."""
        near, before = "", []
        for part, name in zip(self.parts, self.names, strict=False):
            near += part
            if len(near) > _NEAR:
                near = f"_{near[-_NEAR:]}"  # what a cut leaves of a word is no word of its own
            before.append(near)
            near += f":{name}"
        return list(zip(before, self.parts[1:], strict=True))

    def written(self, instead: Sequence[str]) -> str:
        """The text with these in place of its placeholders."""
        return self.parts[0] + "".join(map("".join, zip(instead, self.parts[1:], strict=True)))

    def numbered(self) -> str:
        """The text with `$1`, `$2`, ... for its placeholders. Each has its own number, because types may differ."""
        return self.written(self._numbers())

    def position_in_source(self, position: int, instead: Sequence[str] | None = None) -> int:
        """Turn a position in `written(instead)`, else in `numbered()`, into one in the user's own text.

        Both count from 1.
        """
        there = here = len(self.parts[0])
        for text, own, part in zip(instead or self._numbers(), self._own(), self.parts[1:], strict=True):
            if position <= there:
                break
            there += len(text) + len(part)
            here += len(own) + len(part)
        return here - (there - position)

    def _own(self) -> list[str]:
        return [f":{name}" for name in self.names]

    def _numbers(self) -> list[str]:
        """Each with a blank before it: in `BETWEEN:last_pull` the dollar would become a part of the word."""
        return [f" ${n}" for n in range(1, len(self.parts))]


def parse_sql(text: str, dialect: str | type[Dialect]) -> SqlQuery:
    """Find `:last_pull` and `:until` outside strings, quoted names, comments, dollar quotes and `::` casts.

    `dialect` is sqlglot's. A trailing semicolon is dropped. Raises QueryRejected if the text cannot be read as SQL, is
    empty, holds a second statement, or too many placeholders.
    """
    try:
        tokens = list(tokens_of(text, dialect))
    except TokenError:
        raise QueryRejected(
            "The query cannot be read as SQL. Most often a quoted string or a comment is not closed."
        ) from None
    end = len(text)
    while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        end = tokens.pop().start
    if not tokens:
        raise QueryRejected("The query is empty.")
    if any(token.token_type is TokenType.SEMICOLON for token in tokens):
        raise QueryRejected("The query must be one statement: there is a semicolon within it.")
    cuts = [(colon, name) for colon, name in pairwise(tokens) if _is_placeholder(colon, name)]
    if len(cuts) > MOST_PLACEHOLDERS:
        raise QueryRejected(
            f"The query says :{NAME} and :{UNTIL} {len(cuts)} times, and at most {MOST_PLACEHOLDERS} are bound. Say it "
            f"once, as in WITH since AS (SELECT :{NAME} AS at), and refer to that."
        )
    starts = [0, *(name.end + 1 for _, name in cuts)]
    ends = [*(colon.start for colon, _ in cuts), end]
    parts = tuple(text[start:stop] for start, stop in zip(starts, ends, strict=True))
    return SqlQuery(parts, tuple(name.text for _, name in cuts))


@lru_cache(maxsize=4)
def tokens_of(text: str, dialect: str | type[Dialect]) -> tuple[Token, ...]:
    """The text's tokens. Several checks in turn want those of one query. Raises TokenError."""
    return tuple(tokenize(text, dialect=dialect))


def sql_words(query: SqlQuery, dialect: str) -> Words:
    """The query's own words, to show a place in it. There are none if the text cannot be read as SQL."""
    try:
        tokens = tokens_of(query.text, dialect)
    except TokenError:
        tokens = ()
    words: list[Word] = []
    for token in tokens:
        word = word_of(query.text, token)
        if word.name in NAMES and words and words[-1].shown == ":" and words[-1].end == word.start:
            word = Word(words.pop().start, word.end, f":{word.name}")
        words.append(word)
    return Words(query.text, words)


def check_reads(query: str, tokens: Sequence[Token]) -> None:
    """Raise QueryRejected unless it begins as a query does, and nothing in or after its WITH writes.

    It is not what keeps a query from writing: the read-only transaction does. It tells early, and clearly, what a
    server would refuse in other words, such as a DELETE within WITH.
    """
    first = next((token for token in tokens if token.token_type is not _OPENS), None)
    if first is None or first.token_type not in QUERIES:
        begins = f", and this one begins with {word_of(query, first).shown}" if first is not None else ""
        raise QueryRejected(f"The query must begin with SELECT, WITH, VALUES or TABLE{begins}: a pull only reads.")
    if first.token_type is not TokenType.WITH:
        return
    opened: list[bool] = []  # for each open bracket, whether it opens a part of WITH
    for before, token, after, then in zip_longest(tokens, tokens[1:], tokens[2:], tokens[3:]):
        if before is None or token is None or after is None:
            break
        if token.token_type is _OPENS:
            opened.append(before.text.upper() in ("AS", "MATERIALIZED"))
            part = opened[-1]
        elif token.token_type is _CLOSES:
            part = opened.pop() if opened else False
        else:
            part = False
        # An alias or a function may have such a name.
        if part and after.token_type in _WRITES and not _is_called(then):
            line, column = line_and_column(query, after.start)
            raise QueryRejected(
                f"The query must only read, and it would write: it has {after.text.upper()} at line {line}, column "
                f"{column}. A pull does not write, also within WITH."
            )


def greatest(query: SqlQuery, column: str) -> str:
    """A query for the greatest value of a column in the result of `query`. `column` is quoted for its dialect."""
    # The line breaks end a comment in the query's last line.
    return f"SELECT max({column}) AS greatest FROM (\n{query.text}\n) AS watched"


def word_of(text: str, token: Token) -> Word:
    start, end = token.start, token.end + 1
    if token.token_type.name.endswith("STRING"):
        return Word(start, end, LITERAL)
    return Word(start, end, shown(text[start:end]), token.text)


def _is_placeholder(colon: Token, name: Token) -> bool:
    return (
        colon.token_type is TokenType.COLON
        and name.token_type is TokenType.VAR
        and name.text in NAMES
        and name.start == colon.end + 1
    )


def _is_called(following: Token | None) -> bool:
    return following is not None and following.token_type in (_OPENS, _CLOSES, TokenType.COMMA)
