"""Where in a query the error is: line, column, and the words of the query around it.

A server's message is never shown. It is only used to find the place in the query, and the query's own text is shown.
Literals are shown as `'...'`, because receipts are read by more people than queries are: they reach logs and Dagster.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, takewhile

# How much of a server's message is looked at: a hostile one may be long.
LONGEST_SAID = 2000
# Stands for every literal of a query.
LITERAL = "'...'"
# How many characters are shown of the query on either side, and of one word.
_AROUND = 40
_WORD_LENGTH = 64
# How messages of Python's JSON parser begin, and what we say instead.
_JSON_FAULTS = {
    "Expecting property name": "a name in double quotes should stand there",
    "Expecting ':'": "a colon should stand there",
    "Expecting ','": "a comma, or the end of what is open, should stand there",
    "Expecting value": "a value should stand there",
    "Illegal trailing comma": "a comma stands before an end",
    "Invalid \\": "a backslash stands before what it cannot stand before",
    "Invalid control character": "a line's end, or another control character, stands in a text as it is",
    "Unterminated string": "the text that begins there is not closed",
    "Extra data": "the JSON has ended before",
}
# A word of a server's message, without quotes of any language.
_UNQUOTED = re.compile(r"[^\s\"'`«»„“”\u2018\u2019]+")


@dataclass(frozen=True)
class Word:
    """A word of a query: its offsets, from 0, the text that is shown for it, and the name that it is, if it is one."""

    start: int
    end: int
    shown: str
    name: str = ""


@dataclass(frozen=True)
class Words:
    """A query as a sequence of words, without comments and without the text of literals."""

    text: str
    words: Sequence[Word]

    def at(self, offset: int) -> str:
        """As ` at line 2, column 6, 'produkts' in "... FROM produkts WHERE ..."`. `offset` counts from 0."""
        found = next((n for n, word in enumerate(self.words) if word.end > offset), None)
        if found is None:
            return f' at its end, after "{self._around(len(self.words) - 1)}"' if self.words else ""
        line, column = line_and_column(self.text, self.words[found].start)
        return f' at line {line}, column {column}, {quoted(self.words[found].shown)} in "{self._around(found)}"'

    def at_line(self, line: int, column: int) -> str:
        """As `at`; line and column count from 1. Empty if the query has no such line or column."""
        lines = self.text.splitlines(keepends=True)
        if not 0 < line <= len(lines) or not 0 < column <= len(lines[line - 1]) + 1:
            return ""
        return self.at(sum(map(len, lines[: line - 1])) + column - 1)

    def at_name(self, said: Iterable[str]) -> str:
        """As `at`, for the first of the names `said` that occurs in the query. Empty if none does.

        For a name that occurs more than once the line is left out, because it is not known which one is meant.
        """
        for name in filter(None, map(str.casefold, said)):
            found = [word for word in self.words if word.name.casefold() == name]
            if found:
                return self.at(found[0].start) if len(found) == 1 else f" at {quoted(found[0].shown)}"
        return ""

    def _around(self, middle: int) -> str:
        before = _fitting(self.words[:middle][::-1])
        after = _fitting(self.words[middle + 1 :])
        near = self.words[middle - before : middle + after + 1]
        text = near[0].shown
        for word, following in pairwise(near):
            text += ("" if word.end == following.start else " ") + following.shown
        return ("… " if before < middle else "") + text + (" …" if middle + after + 1 < len(self.words) else "")


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The line and column of an offset. Both count from 1, as editors do."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def where(error: json.JSONDecodeError) -> str:
    """As `from line 2, column 6 on: a value should stand there`. It repeats nothing of the text."""
    said = next((phrase for phrase in _JSON_FAULTS if error.msg.startswith(phrase)), "")
    return f"from line {error.lineno}, column {error.colno} on" + (f": {_JSON_FAULTS[said]}" if said else "")


def last_names(sentence: str) -> list[str]:
    """Names that a server's message may end with, the last first: each word, and all words from there to the end."""
    words = _UNQUOTED.findall(sentence[-LONGEST_SAID:].rstrip(".»\"'"))
    return [name for n in range(len(words) - 1, -1, -1) for name in (words[n], " ".join(words[n:]))]


def shown(word: str) -> str:
    """A word of a query, shortened and printable, to be put into a sentence."""
    cut = word if len(word) <= _WORD_LENGTH else word[:_WORD_LENGTH] + "…"
    return "".join(character if character.isprintable() else "?" for character in cut)


def quoted(word: str) -> str:
    return word if word.startswith(("'", '"', "`")) else f"'{word}'"


def _fitting(words: Iterable[Word]) -> int:
    """How many of the words fit into what is shown on one side."""
    sizes = accumulate(len(word.shown) + 1 for word in words)
    return sum(1 for _ in takewhile(lambda size: size <= _AROUND, sizes))
