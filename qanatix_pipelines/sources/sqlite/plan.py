"""What SQLite's planner expects of a query, from what EXPLAIN QUERY PLAN says. It runs nothing, and estimates no rows.

The file may have made SQLite say anything: what is no plan is none.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from qanatix_pipelines.batches import MOST_TABLES, Expected, Plan, Scanned, counted
from qanatix_pipelines.places import shown
from qanatix_pipelines.sources.compared import Compared

# A step that goes through a table: all of it, or by an index. "The EXPLAIN QUERY PLAN Command", and its source for
# what stands where.
_STEP = re.compile(
    r"(?P<how>SCAN|SEARCH) (?:TABLE )?(?P<table>.+?)(?: AS (?P<alias>.+?))?"
    r"(?: USING (?:COVERING )?(?P<index>AUTOMATIC .*?|INDEX .+?|(?:INTEGER )?PRIMARY KEY))?"
    r"(?: \((?P<terms>.*)\))?(?: LEFT-JOIN)?"
)
# A part of a range, which is what a comparison with `:last_pull` makes.
_TERM = re.compile(r"(?:^| AND )([^<>=]+)[<>]\?")
# No step that a person would read is longer.
_MOST = 300
_NO_TABLE = re.compile(r"\(.*\)|(?:\d+ )?CONSTANT ROWS?")
_SORTS = "USE TEMP B-TREE"
_SORTS_ALL = "USE TEMP B-TREE FOR ORDER BY"
_ROWID = "rowid"
_ROWIDS = {_ROWID, "oid", "_rowid_"}
# How the key is declared that is another name of it.
_OF_ROWIDS = "integer"
# An index that is made for the query, and goes with it.
_MADE = "AUTOMATIC"


class Column(NamedTuple):
    name: str
    declared: str
    in_key: int  # its place in the primary key, from 1


def expected(said: Any, asked: Compared) -> Expected:
    """What an `EXPECTED` frame tells of a query whose text tells what it `asked`."""
    try:
        columns = {
            table.lower(): [Column(str(name).lower(), str(declared).lower(), int(key)) for name, declared, key in told]
            for table, told in said["columns"].items()
        }
        rows = {str(table).lower(): counted(int(rows)) for table, rows in said["rows"].items()}
        steps = [(int(parent), str(detail)[:_MOST]) for parent, detail in said["steps"][:MOST_TABLES]]
    except (LookupError, OverflowError, TypeError, ValueError, AttributeError):
        return Expected()
    return Expected(tuple(_types(asked, columns)), _plan(steps, asked, columns, rows))


def _types(asked: Compared, columns: Mapping[str, Sequence[Column]]) -> list[str]:
    found = [
        shown(column.declared)
        for name, tables in asked.columns.items()
        for table in tables
        for column in columns.get(table.name.lower(), ())
        if column.name == name and column.declared
    ]
    return list(dict.fromkeys(found))


def _plan(
    steps: Sequence[tuple[int, str]],
    asked: Compared,
    columns: Mapping[str, Sequence[Column]],
    rows: Mapping[str, int | None],
) -> Plan:
    details = [detail for _, detail in steps]
    # A limit ends a scan early, unless all rows are needed to know which are the first.
    stops = asked.limited and not any(detail.startswith(_SORTS) for detail in details)
    whole: dict[str, int | None] = {}
    indexes: list[str] = []
    for step in filter(None, map(_STEP.fullmatch, details)):
        named = step["alias"] or step["table"]
        table = asked.tables[named.lower()].name if named.lower() in asked.tables else step["table"]
        if step["how"] == "SEARCH":
            indexes += _serving(step, table.lower(), asked, columns)
        elif not stops and not _NO_TABLE.fullmatch(table):
            whole[table] = rows.get(table.lower())
    return Plan(
        rows=None,
        whole=tuple(Scanned(shown(table), known) for table, known in whole.items()),
        sorts=not asked.limited and any(parent == 0 and detail == _SORTS_ALL for parent, detail in steps),
        index=next(iter(indexes), None),
    )


def _serving(
    step: re.Match[str], table: str, asked: Compared, columns: Mapping[str, Sequence[Column]]
) -> Iterator[str]:
    """The index of the step, if it serves the comparison with `:last_pull`."""
    index: str = step["index"] or _MADE
    terms = {term.lower() for term in _TERM.findall(step["terms"] or "")}
    if _ROWID in terms:
        terms |= _ROWIDS | {one.name for one in columns.get(table, ()) if one.in_key and one.declared == _OF_ROWIDS}
    if terms & asked.columns.keys() and not index.startswith(_MADE):
        yield shown(index.removeprefix("INDEX "))
