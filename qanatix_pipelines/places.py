"""Where in a query something is wrong, told by line, column and the user's own words around it.

A server says where in its own words, and those are never shown: what it says is only looked up in the query, and what
is shown stands there. Of a query's literals no text is shown, only that there is one, for a receipt goes further than
the query does: into logs, and into Dagster.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, takewhile

# What is shown of a text in a query.
LITERAL = "'...'"
# Characters: how many are shown of the query on either side, and of one word.
_AROUND = 40
_WORD_LENGTH = 64
# What Python's reader says of a text that is no JSON, by how that begins.
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
# What stands between quotes in a server's sentence, however its language quotes.
_UNQUOTED = re.compile(r"[^\s\"'`«»„“”\u2018\u2019]+")


@dataclass(frozen=True)
class Word:
    """A word of a query: where it begins and ends in it, what is shown of it, and what it names, if anything."""

    start: int
    end: int
    shown: str
    name: str = ""


@dataclass(frozen=True)
class Words:
    """A query as a person reads it: without comments, and without what its literals say."""

    text: str
    words: Sequence[Word]

    def at(self, offset: int) -> str:
        """` at line 2, column 6, 'produkts' in "... FROM produkts WHERE ..."`. `offset` counts from 0."""
        found = next((n for n, word in enumerate(self.words) if word.end > offset), None)
        if found is None:
            return f' at its end, after "{self._around(len(self.words) - 1)}"' if self.words else ""
        line, column = line_and_column(self.text, self.words[found].start)
        return f' at line {line}, column {column}, {quoted(self.words[found].shown)} in "{self._around(found)}"'

    def at_line(self, line: int, column: int) -> str:
        """As `at`, where both count from 1. Nothing if the query has no such place."""
        lines = self.text.splitlines(keepends=True)
        if not 0 < line <= len(lines) or not 0 < column <= len(lines[line - 1]) + 1:
            return ""
        return self.at(sum(map(len, lines[: line - 1])) + column - 1)

    def at_name(self, said: Iterable[str]) -> str:
        """As `at`, for the first of these names that is one of the query's own. Nothing if none is.

        Where it stands more than once, nobody knows which is meant, and no line is told.
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
    """Both count from 1, as editors show them."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def where(error: json.JSONDecodeError) -> str:
    """`from line 2, column 6 on: a value should stand there`. Of the text it holds nothing."""
    said = next((phrase for phrase in _JSON_FAULTS if error.msg.startswith(phrase)), "")
    return f"from line {error.lineno}, column {error.colno} on" + (f": {_JSON_FAULTS[said]}" if said else "")


def last_names(sentence: str) -> list[str]:
    """What a server's sentence may name, the last first: each of its words, and each of its ends as a whole."""
    words = _UNQUOTED.findall(sentence.rstrip(".»\"'"))
    return [name for n in range(len(words) - 1, -1, -1) for name in (words[n], " ".join(words[n:]))]


def shown(word: str) -> str:
    """A word of a query as a sentence can hold it."""
    cut = word if len(word) <= _WORD_LENGTH else word[:_WORD_LENGTH] + "…"
    return "".join(character if character.isprintable() else "?" for character in cut)


def quoted(word: str) -> str:
    return word if word.startswith(("'", '"', "`")) else f"'{word}'"


def _fitting(words: Iterable[Word]) -> int:
    """How many of them are shown."""
    sizes = accumulate(len(word.shown) + 1 for word in words)
    return sum(1 for _ in takewhile(lambda size: size <= _AROUND, sizes))
