"""What a query of PostgreSQL's computes from `:last_pull` and from nothing else.

A first pull starts from the least time or number, and not every expression can bear that: seconds since 1970 in 32 bits
begin in 1901. Whether one can is asked by the expression alone, never by the query: an error of the query's may be one
of its rows, and to start later for that would leave rows out.
"""

from collections.abc import Iterator, Sequence

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from qanatix_pipelines.placeholders import SqlQuery

# What has a value of its parts' values.
_COMPUTES = (exp.Condition, exp.AtTimeZone)
_OF_ROWS = (exp.Column, exp.Star, exp.Query, exp.AggFunc, exp.Window)


def computed(query: SqlQuery, kinds: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """The widest expressions that hold no column, each with the places of the placeholders that are its $1, $2, ...

    `kinds` are the placeholders' types, by PostgreSQL's own names. Nothing of a query that sqlglot cannot read, nor
    what a part of the query computes of another's column.
    """
    try:
        tree = parse_one(query.numbered(), dialect="postgres")
    except (SqlglotError, RecursionError):
        return
    widest = {id(found): found for found in map(_widest, tree.find_all(exp.Parameter))}
    for expression in widest.values():
        if isinstance(expression, exp.Parameter):
            continue  # it is compared, as it is
        places: list[int] = []

        def numbered(node: exp.Expr, places: list[int] = places) -> exp.Expr:
            if not isinstance(node, exp.Parameter):
                return node
            places.append(int(node.name) - 1)
            kind = exp.DataType.build(f"pg_catalog.{kinds[places[-1]]}", udt=True)
            return exp.Cast(this=exp.Parameter(this=exp.Literal.number(len(places))), to=kind)

        yield expression.transform(numbered).sql(dialect="postgres"), places


def _widest(node: exp.Expr) -> exp.Expr:
    while isinstance(node.parent, _COMPUTES) and node.parent.find(*_OF_ROWS) is None:
        node = node.parent
    return node
