"""What a query compares `:last_pull` with, and which tables it names, as far as its text alone tells.

For what a planner leaves out. Of what sqlglot makes of the text nothing is sent anywhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from qanatix_pipelines.sources.parsed import parsed
from qanatix_pipelines.sources.sql import NAME, SqlQuery

_COMPARISONS = (exp.GT, exp.GTE, exp.LT, exp.LTE)


@dataclass(frozen=True)
class Table:
    name: str
    schema: str = ""


@dataclass(frozen=True)
class Compared:
    """`columns` are those that `:last_pull` is compared with, each as it is, with the tables that may have it.

    `tables` are by what the query calls them. `limited` and `ordered` say that the query has a LIMIT, or an ORDER BY,
    of its own around all of it. A `plain` one has a row for each that its tables, joined and filtered, have.
    The names of columns, and what a table is called, are in small letters: they have no case.
    """

    columns: Mapping[str, tuple[Table, ...]] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    limited: bool = False
    ordered: bool = False
    plain: bool = False


def compared(query: SqlQuery, dialect: str) -> Compared:
    """All of it is empty for a query that sqlglot cannot read."""
    tree = parsed(query.text, dialect)
    if tree is None:
        return Compared()
    tables = {table.alias_or_name.lower(): Table(table.name, table.db) for table in tree.find_all(exp.Table)}
    columns: dict[str, tuple[Table, ...]] = {}
    for column in _columns(tree):
        of = column.table.lower()
        found = tuple(table for alias, table in tables.items() if of in ("", alias))
        columns[column.name.lower()] = tuple(dict.fromkeys((*columns.get(column.name.lower(), ()), *found)))
    limited, ordered = (tree.args.get(part) is not None for part in ("limit", "order"))
    return Compared(columns, tables, limited, ordered, plain=not limited and _is_plain(tree))


def _is_plain(tree: exp.Expr) -> bool:
    if not isinstance(tree, exp.Select) or any(tree.args.get(part) for part in ("distinct", "group", "having")):
        return False
    return not any(one.find(exp.AggFunc, exp.Query) for one in tree.expressions)


def _columns(tree: exp.Expr) -> Iterator[exp.Column]:
    for placeholder in tree.find_all(exp.Placeholder):
        if placeholder.name != NAME:
            continue
        comparison = placeholder.find_ancestor(*_COMPARISONS, exp.Between)
        if isinstance(comparison, exp.Between):
            sides = [comparison.this]
        elif comparison is not None:
            sides = [comparison.this, comparison.expression]
        else:
            sides = []
        yield from (side for side in (one.unnest() for one in sides) if isinstance(side, exp.Column))
