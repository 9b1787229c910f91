"""An SQL text as sqlglot's tree, within a bound of time: nobody waits longer for what a text alone may tell.

sqlglot's parser takes much longer for some texts than their length tells. Whoever may register a query could
keep a process busy with one. The tree only advises, so a text that takes too long has none.
"""

from functools import cache
from time import thread_time
from typing import Any

from sqlglot import Dialect, exp
from sqlglot.errors import SqlglotError
from sqlglot.parser import Parser

# Of the processor's time. A query of 64 KiB that people write takes less than one.
MOST_SECONDS = 5.0
# How many of the parser's steps are taken between two looks at the clock.
_STEPS = 16


class _TooLongError(Exception):
    """The parser's time is over. It is no ParseError, after which the parser would try something else."""


class _Bounded(Parser):
    until = 0.0
    steps = 0

    def _advance(self, times: int = 1) -> None:
        self.steps += 1
        if self.steps % _STEPS == 0 and thread_time() > self.until:
            raise _TooLongError
        super()._advance(times)


def parsed(text: str, dialect: str, seconds: float = MOST_SECONDS) -> exp.Expr | None:
    """The tree of one statement. None if sqlglot cannot read it, within `seconds` of the processor's time."""
    reading = Dialect.get_or_raise(dialect)
    parser: Any = _bounded(reading.parser_class)(dialect=reading)
    parser.until = thread_time() + seconds
    try:
        trees = parser.parse(reading.tokenize(text), text)
    except (SqlglotError, RecursionError, _TooLongError):
        return None
    tree: exp.Expr | None = trees[0] if len(trees) == 1 else None
    return tree


@cache
def _bounded(theirs: type[Parser]) -> type[Parser]:
    return type("Bounded", (_Bounded, theirs), {})
