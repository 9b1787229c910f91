"""What MySQL's or MariaDB's planner expects of a query. EXPLAIN plans it, and does not run it.

The two have nearly one form for it: MySQL's first, which a server of version 8.3 or later must be asked for. The server
is not trusted: its plan is bounded in size, of any depth, and of any form. What is no plan is none.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qanatix_pipelines.batches import MOST_TABLES, Expected, Plan, Scanned, counted
from qanatix_pipelines.places import shown
from qanatix_pipelines.sources.compared import Compared, Table, compared
from qanatix_pipelines.sources.mysql.session import Ask
from qanatix_pipelines.sources.sql import NAME, SqlQuery

MAX_BYTES = 2**20

_FIRST_FORM = "SET SESSION explain_json_format_version = 1"
_WHOLE = ("ALL", "index")
_MADE = ("materialized", "materialized_from_subquery")
# What stands between a query and its tables, if the rows of these are its own.
_OF_ROWS = (
    *("query_block", "ordering_operation", "grouping_operation", "duplicates_removal", "windowing", "buffer_result"),
    *("filesort", "temporary_table", "nested_loop", "read_sorted_file", "block-nl-join", "table", "union_result"),
)
# Only such a name is asked about: it needs no quotes.
_NAME = re.compile(r"[\w$]+")
_NO_TABLES = "No tables used"
# Values like any other, of an integer and of a time, and how a plan writes that a column, which a view may call
# otherwise, is compared with one.
_SOME = ("12345", "'2001-02-03 04:05:06'")
_COMPARED = re.compile(
    rf"`([^`]+)`\)?\s*(?:[<>]=?|between)\s*\(*(?:[A-Z]+)?(?:{'|'.join(some[:20] for some in _SOME)})"
)


async def expected(ask: Ask, refusal: type[Exception], query: SqlQuery, literals: Sequence[str]) -> Expected:
    """What is expected of a query with these literals for its placeholders. `ask` raises `refusal`."""
    asked = await asyncio.to_thread(compared, query, "mysql")
    types = {
        kind
        for column, tables in asked.columns.items()
        for table in tables
        for kind in await _told(ask, refusal, "SELECT DATA_TYPE FROM information_schema.COLUMNS", table, column)
    }
    await _asked(ask, refusal, _FIRST_FORM)  # a server that knows no other form refuses it
    top = await _explained(ask, refusal, query.written(literals))
    return Expected(
        tuple(sorted(types)),
        None if top is None else _plan(top, asked, await _index(ask, refusal, query, literals, asked)),
    )


async def _index(
    ask: Ask, refusal: type[Exception], query: SqlQuery, literals: Sequence[str], asked: Compared
) -> str | None:
    """The index that serves the comparison with `:last_pull`, or could.

    For the least value the server may find that no comparison is needed. So it is asked for a value like any other.
    """
    some = [
        _SOME[literal.startswith("'")] if name == NAME else literal
        for literal, name in zip(literals, query.names, strict=True)
    ]
    top = await _explained(ask, refusal, query.written(some)) if query.asks_for(NAME) else None
    for node in _tables(top or {}):
        table, keys = _table(node, asked), [key for key in _texts(node.get("possible_keys")) if _NAME.fullmatch(key)]
        if table is None or not keys:
            continue
        listed = ", ".join(f"'{key}'" for key in keys)
        question = f"SELECT INDEX_NAME FROM information_schema.STATISTICS WHERE INDEX_NAME IN ({listed}) AND"
        said = (node.get(key) for key in ("attached_condition", "index_condition"))
        conditions = " ".join(one for one in said if isinstance(one, str))
        for column in dict.fromkeys([*asked.columns, *_COMPARED.findall(conditions)]):
            for index in await _told(ask, refusal, question, table, column):
                return index
    return None


async def _explained(ask: Ask, refusal: type[Exception], query: str) -> dict[str, Any] | None:
    return _top(await _asked(ask, refusal, f"EXPLAIN FORMAT=JSON\n{query}"))


async def _told(ask: Ask, refusal: type[Exception], question: str, table: Table, column: str) -> list[str]:
    """The names that the server's own tables tell of a column, as they may be shown."""
    if not all(_NAME.fullmatch(name) for name in (table.name, table.schema or "_", column)):
        return []
    schema = f"'{table.schema}'" if table.schema else "DATABASE()"
    where = "" if " WHERE " in question else " WHERE"
    condition = f"TABLE_SCHEMA = {schema} AND TABLE_NAME = '{table.name}' AND COLUMN_NAME = '{column}'"
    rows = await _asked(ask, refusal, f"{question}{where} {condition}")
    return [shown(row[0].decode(errors="replace")) for row in rows if row and isinstance(row[0], bytes)]


async def _asked(ask: Ask, refusal: type[Exception], question: str) -> Sequence[tuple[Any, ...]]:
    """The rows of the answer: none if the server refuses."""
    try:
        return await ask(question)
    except refusal:
        return ()


def _top(rows: Sequence[tuple[Any, ...]]) -> dict[str, Any] | None:
    """The outermost block of a plan. None if the rows are not those of a plan."""
    match rows:
        case ((bytes() as text,),) if len(text) <= MAX_BYTES:
            try:
                said = json.loads(text)
            except (RecursionError, ValueError):
                return None
            if isinstance(said, dict) and isinstance(said.get("query_block"), dict):
                return said if sum(1 for _ in _tables(said)) <= MOST_TABLES else None
    return None


def _plan(top: dict[str, Any], asked: Compared, index: str | None) -> Plan:
    own = list(_nodes(top, _OF_ROWS))
    united = any("union_result" in node for node in own)
    sorts = any("filesort" in node or node.get("using_filesort") is True for node in own) or (united and asked.ordered)
    makes = any("temporary_table" in node or node.get("using_temporary_table") is True for node in own)
    whole: dict[str, int | None] = {}
    # A limit ends a scan early, unless all rows are needed to know which are the first.
    for node in () if asked.limited and not (sorts or makes) else _tables(top):
        table = _table(node, asked)
        if table is not None and node.get("access_type") in _WHOLE:
            whole[shown(table.name)] = counted(_number(node.get("rows", node.get("rows_examined_per_scan"))))
    return Plan(
        rows=None if united or not asked.plain else counted(_produced(own)),
        whole=tuple(Scanned(table, rows) for table, rows in whole.items()),
        sorts=sorts and not asked.limited,
        index=index,
    )


def _produced(own: Sequence[Mapping[str, Any]]) -> float | None:
    """How many rows the join of these tables has."""
    produced: float | None = 1
    for node in own:
        if "access_type" not in node:
            continue
        joined = _number(node.get("rows_produced_per_join"))  # with all tables before it
        rows, share = _number(node.get("rows")), _number(node.get("filtered", 100))
        if joined is not None:
            produced = joined
        else:
            produced = None if None in (produced, rows, share) else (produced or 0) * (rows or 0) * (share or 0) / 100
    return produced


def _table(node: Mapping[str, Any], asked: Compared) -> Table | None:
    """The table of a node; None if it is one that the query makes."""
    named = node.get("table_name")
    if not isinstance(named, str) or named.startswith("<") or any(key in node for key in _MADE):
        return None
    return asked.tables.get(named.lower(), Table(named))


def _tables(top: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (node for node in _nodes(top) if "access_type" in node)


def _nodes(top: dict[str, Any], through: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """All objects of a plan, in its order; or those that are reached `through` these keys alone."""
    left: list[Any] = [top]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
            left += reversed([below for key, below in node.items() if through is None or key in through])
        elif isinstance(node, list):
            left += reversed(node)


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < 2**63 else None
