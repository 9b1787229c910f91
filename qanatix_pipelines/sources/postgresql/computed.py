"""The expressions of a PostgreSQL query that depend on `:last_pull` and on nothing else.

A first pull binds the least time or number, and some expressions overflow for it: seconds since 1970 in 32 bits begin
in 1901. So each expression is tried by itself, with the bound value. Trying the whole query would not do: its error
may come from a row, and a later start for that error would leave rows out.
"""

from collections.abc import Iterator, Sequence

from sqlglot import exp

from qanatix_pipelines.sources.parsed import parsed
from qanatix_pipelines.sources.sql import SqlQuery

# Expressions whose value depends on their parts alone.
_COMPUTES = (exp.Condition, exp.AtTimeZone)
_OF_ROWS = (exp.Column, exp.Star, exp.Query, exp.AggFunc, exp.Window)


def computed(query: SqlQuery, kinds: Sequence[str]) -> list[tuple[str, list[int]]]:
    """The widest expressions without a column, each with the places of the placeholders that are its $1, $2, ...

    `kinds` are the placeholders' types, by PostgreSQL's names. Empty for a query that sqlglot cannot read, and
    misses what one part of a query computes from another part's column.
    """
    tree = parsed(query.numbered(), "postgres")
    try:
        # A bare placeholder computes nothing.
        return [_tried(one, kinds) for one in _widest(tree) if not isinstance(one, exp.Parameter)] if tree else []
    except RecursionError:  # to write an expression again takes more depth than to read it
        return []


def _tried(expression: exp.Expr, kinds: Sequence[str]) -> tuple[str, list[int]]:
    places: list[int] = []

    def numbered(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.Parameter):
            return node
        places.append(int(node.name) - 1)
        kind = exp.DataType.build(f"pg_catalog.{kinds[places[-1]]}", udt=True)
        return exp.Cast(this=exp.Parameter(this=exp.Literal.number(len(places))), to=kind)

    return expression.transform(numbered).sql(dialect="postgres"), places


def _widest(tree: exp.Expr) -> Iterator[exp.Expr]:
    """Each expression once. No node is looked at more than twice: a query may have thousands of them in one chain."""
    of_rows: set[int] = set()
    parameters: list[exp.Expr] = []
    for node in tree.walk():
        if isinstance(node, exp.Parameter):
            parameters.append(node)
        if isinstance(node, _OF_ROWS):
            above: exp.Expr | None = node
            while above is not None and id(above) not in of_rows:
                of_rows.add(id(above))
                above = above.parent
    seen: set[int] = set()
    for node in parameters:
        while id(node) not in seen:  # else it is a part of one that was found already
            seen.add(id(node))
            above = node.parent
            if not isinstance(above, _COMPUTES) or id(above) in of_rows:
                yield node
                break
            node = above  # noqa: PLW2901  # it climbs
