""":last_pull in an SQL query: found by a tokenizer, bound as a parameter, never spliced as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlglot import Dialect, tokenize
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.places import LITERAL, Word, Words, shown

NAME = "last_pull"


@dataclass(frozen=True)
class SqlQuery:
    """An SQL statement cut at its placeholders: `parts[0] :last_pull parts[1] :last_pull ... parts[-1]`."""

    parts: tuple[str, ...]

    @property
    def placeholders(self) -> int:
        return len(self.parts) - 1

    @property
    def text(self) -> str:
        """As the user wrote it, but for a semicolon at its end."""
        return f":{NAME}".join(self.parts)

    def numbered(self) -> str:
        """The text with `$1`, `$2`, ... for its placeholders, each its own: their types may differ."""
        return self.parts[0] + "".join(map("".join, zip(self._numbers(), self.parts[1:], strict=True)))

    def formatted(self) -> str:
        """The text with `%s` for its placeholders, for a driver that formats: as it is if there are none."""
        if not self.placeholders:
            return self.parts[0]
        return "%s".join(part.replace("%", "%%") for part in self.parts)

    def position_in_source(self, position: int) -> int:
        """Where the character at `position` of `numbered()` stands in the user's own text; both count from 1."""
        return self._in_source(position, [len(number) for number in self._numbers()])

    def position_in_sent(self, position: int, literal: str) -> int:
        """As `position_in_source`, of the text with `literal` for each placeholder."""
        return self._in_source(position, [len(literal)] * self.placeholders)

    def _numbers(self) -> list[str]:
        """A dollar right after a word would be a part of it: `BETWEEN:last_pull`."""
        return [f" ${n}" for n in range(1, len(self.parts))]

    def _in_source(self, position: int, written: Sequence[int]) -> int:
        """`written` says how many characters stand for each placeholder."""
        there = here = len(self.parts[0])
        for length, part in zip(written, self.parts[1:], strict=True):
            if position <= there:
                break
            there += length + len(part)
            here += len(f":{NAME}") + len(part)
        return here - (there - position)


def parse_sql(text: str, dialect: str | type[Dialect]) -> SqlQuery:
    """Find `:last_pull` outside strings, quoted names, comments, dollar quotes and `::` casts.

    `dialect` is sqlglot's name for it. A trailing semicolon is dropped. Raises QueryRejected if the text cannot be read
    as SQL, is empty, or holds a second statement.
    """
    try:
        tokens = tokenize(text, dialect=dialect)
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
    cuts = [(colon.start, name.end + 1) for colon, name in pairwise(tokens) if _is_placeholder(colon, name)]
    starts = [0, *(after for _, after in cuts)]
    ends = [*(before for before, _ in cuts), end]
    return SqlQuery(tuple(text[start:stop] for start, stop in zip(starts, ends, strict=True)))


def sql_words(query: SqlQuery, dialect: str) -> Words:
    """The query's own words, to show where in it something is. None of a text that cannot be read as SQL."""
    try:
        tokens = tokenize(query.text, dialect=dialect)
    except TokenError:
        tokens = []
    words: list[Word] = []
    for token in tokens:
        word = word_of(query.text, token)
        if word.name == NAME and words and words[-1].shown == ":" and words[-1].end == word.start:
            word = Word(words.pop().start, word.end, f":{NAME}")
        words.append(word)
    return Words(query.text, words)


def greatest(query: SqlQuery, column: str) -> str:
    """A query for the greatest value of a column of another's result; `column` is quoted as its dialect does."""
    # The query's last line may be a comment.
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
        and name.text == NAME
        and name.start == colon.end + 1
    )
