"""The properties that a Cypher query compares with `:last_pull`, and how their types are asked for.

Cypher types each value and not each property. A comparison with another kind of time is null, which selects nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from qanatix_pipelines.sources.neo4j.query import LAST_PULL, Token, tokens

SECONDS = 2  # after which the server gives up a question
_NODES = 20  # or relationships, whose property is looked at
_MOST = 3  # properties that are asked for
_TYPES = frozenset(
    [
        *("BOOLEAN", "DATE", "DURATION", "FLOAT", "INTEGER", "LOCAL DATETIME", "LOCAL TIME", "POINT", "STRING"),
        *("ZONED DATETIME", "ZONED TIME"),
    ]
)
# What each type of `:last_pull` is compared with.
COMPARABLE = {"INTEGER": frozenset(["FLOAT", "INTEGER"]), "ZONED DATETIME": frozenset(["ZONED DATETIME"])}
_OPERATORS = frozenset(["<", ">", "<=", ">=", "="])
_NAMES = ("name", "quoted")


@dataclass(frozen=True)
class Property:
    """A property of a label or of a relationship's type, all as the query writes them."""

    pattern: str
    name: str

    @property
    def question(self) -> str:
        """A query for the types of some values. None of them may be null."""
        return (
            f"MATCH {self.pattern} WHERE n.{self.name} IS NOT NULL WITH n.{self.name} AS value LIMIT {_NODES} "
            "RETURN collect(DISTINCT valueType(value))"
        )


def compared(text: str) -> list[Property]:
    """The first ones that stand alone on one side, as in `n.updated_at > $last_pull`, and whose label is told."""
    significant = [token for token in tokens(text) if token.kind != "space"]
    found = []
    for variable, name in _compared(significant):
        pattern = _pattern(significant, variable)
        if pattern is not None:
            found.append(Property(pattern, name))
    return list(dict.fromkeys(found))[:_MOST]


def known_types(told: object) -> set[str]:
    """The types of an answer, without the words beside them, as in `STRING NOT NULL`."""
    names = told if isinstance(told, list) else []
    return {str(name).removesuffix(" NOT NULL") for name in names} & _TYPES


def _compared(significant: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """The variable and the name of each such property."""
    for i, token in enumerate(significant):
        if token.kind != "parameter" or token.text.strip("$ `") != LAST_PULL:
            continue
        before, after = significant[max(0, i - 5) : i], significant[i + 1 : i + 6]
        if len(before) > 4 and before[-1].text in _OPERATORS and _ends(after[:1]):  # noqa: PLR2004
            yield from _property(before[1:4], before[0])
        if len(after) > 3 and after[0].text in _OPERATORS and _ends(after[4:]):  # noqa: PLR2004
            yield from _property(after[1:4], None)


def _property(three: Iterable[Token], before: Token | None) -> Iterator[tuple[str, str]]:
    variable, dot, name = three
    if dot.text == "." and variable.kind in _NAMES and name.kind in _NAMES and (before is None or before.text != "."):
        yield variable.text, name.text


def _ends(following: Sequence[Token]) -> bool:
    """Whether the value is over, and not gone on with as `n.at.epochMillis` or `n.at[0]` are."""
    return not following or following[0].text not in (".", "(", "[")


def _pattern(significant: Sequence[Token], variable: str) -> str | None:
    """Where the variable gets its label or its type."""
    for opens, named, colon, label in zip(significant, significant[1:], significant[2:], significant[3:], strict=False):
        if (named.text, colon.text) == (variable, ":") and label.kind in _NAMES:
            if opens.text == "(":
                return f"(n:{label.text})"
            if opens.text == "[":
                return f"()-[n:{label.text}]->()"
    return None
