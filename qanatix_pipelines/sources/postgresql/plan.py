"""What PostgreSQL's planner expects of a query. EXPLAIN without ANALYZE plans it, and runs nothing.

The server is not trusted: its plan is bounded in size, of any depth, and of any form. What is no plan is none.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

from qanatix_pipelines.batches import MOST_TABLES, Plan, Scanned, counted
from qanatix_pipelines.places import shown

# The texts of two plans have room in what a server may say before the first row.
MAX_BYTES = 4 * 2**20

_READS_A_TABLE = "Seq Scan"
_READS_AN_INDEX = ("Index Scan", "Index Only Scan")
# They take all rows of what is below them, before they give one.
_GATHERS = ("Aggregate", "Hash", "Sort")
# How a node is related to the one above it, if that one gives the rows of this one as they come.
_STREAMED = ("Outer", "Member", "Subquery")
_PARAMETER = re.compile(r"\$(\d+)")
# For each table how many rows the planner knows it to have, below zero if nobody has counted them yet. A partition is
# told by the table that it is a part of.
_COUNTED = """
SELECT place, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, t.reltuples::pg_catalog.float8
FROM pg_catalog.generate_subscripts($1::pg_catalog.text[], 1) AS place
JOIN pg_catalog.pg_namespace AS m
  ON m.nspname OPERATOR(pg_catalog.=) ($1::pg_catalog.text[])[place]::pg_catalog.name
JOIN pg_catalog.pg_class AS t
  ON t.relnamespace OPERATOR(pg_catalog.=) m.oid
  AND t.relname OPERATOR(pg_catalog.=) ($2::pg_catalog.text[])[place]::pg_catalog.name
JOIN pg_catalog.pg_class AS c
  ON c.oid OPERATOR(pg_catalog.=) coalesce(pg_catalog.pg_partition_root(t.oid)::pg_catalog.oid, t.oid)
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
ORDER BY place
"""
# An index that serves a condition is used, however few rows there are, and whatever is asked for.
_BY_INDEX = "SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan"

Answer = TypeVar("Answer")
Refusal = tuple[type[Exception], ...]


@dataclass(frozen=True)
class _Read:
    """A table that is read whole. `rows` is the estimate of the plan; None if it is of those that pass a filter."""

    schema: str
    name: str
    rows: int | None


async def plan_of(
    connection: Any, refusal: Refusal, query: str, values: Sequence[int], last_pull: AbstractSet[str]
) -> Plan | None:
    """The plan of a query with these values for its parameters. `last_pull` are the numbers of those parameters.

    None if the server has none. `connection` is the driver's, in a transaction; it raises `refusal` if the server
    refuses a statement.
    """

    async def explained() -> Any:
        return _top(await connection.fetchval(f"EXPLAIN (VERBOSE, FORMAT JSON)\n{query}", *values))

    top = await _tried(connection, refusal, explained)
    if top is None:
        return None
    reads, sorts = _scanned(top)
    if len(reads) > MOST_TABLES:
        return None

    async def sizes() -> Any:
        names = [read.schema for read in reads], [read.name for read in reads]
        return await connection.fetch(_COUNTED, *names)

    tables = await _tried(connection, refusal, sizes) if reads else ()
    index = await _index(connection, refusal, query, len(values), last_pull) if last_pull else None
    return Plan(counted(top.get("Plan Rows")), _whole(reads, tables or ()), sorts, index)


async def _index(
    connection: Any, refusal: Refusal, query: str, parameters: int, last_pull: AbstractSet[str]
) -> str | None:
    """The index that serves a condition on one of these parameters, if there is one.

    A plan for a value says nothing of it: a first pull reads everything, and no index helps. And it does not tell what
    has become of the value. So the query is planned once more, for any value.
    """
    name = f"qanatix_{uuid4().hex}"

    async def explained() -> Any:
        await connection.execute(_BY_INDEX)
        await connection.fetch(f"PREPARE {name} AS\n{query}")
        values = ", ".join(["NULL"] * parameters)
        return _top(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {name} ({values})"))

    async def forgotten() -> None:
        await connection.execute(f"DEALLOCATE {name}")

    top = await _tried(connection, refusal, explained)
    await _tried(connection, refusal, forgotten)  # it outlives the transaction
    for node in _nodes(top or {}):
        condition, index = node.get("Index Cond"), node.get("Index Name")
        numbers = _PARAMETER.findall(condition) if isinstance(condition, str) else ()
        if isinstance(index, str) and not last_pull.isdisjoint(numbers):
            return shown(index)
    return None


async def _tried(connection: Any, refusal: Refusal, ask: Callable[[], Awaitable[Answer | None]]) -> Answer | None:
    """The answer, or None if the server refuses. What was set for it is taken back."""
    await connection.execute("SAVEPOINT expected")
    try:
        answer = await ask()
    except refusal:
        if connection.is_closed():
            raise
        answer = None
    await connection.execute("ROLLBACK TO SAVEPOINT expected")
    return answer


def _top(text: str | None) -> dict[str, Any] | None:
    """The topmost node of a plan. None if the text is not that of a plan."""
    if text is None or len(text) > MAX_BYTES:
        return None
    try:
        match json.loads(text):
            case [{"Plan": dict() as top}]:
                return top
    except (RecursionError, ValueError):
        pass
    return None


def _scanned(top: dict[str, Any]) -> tuple[list[_Read], bool]:
    """The tables that are read whole, and whether all rows are sorted before the first one comes."""
    reads: list[_Read] = []
    sorts = False
    # Nodes, whether the first row waits for theirs, and whether they may be stopped when there are enough.
    left: list[tuple[dict[str, Any], bool, bool]] = [(top, True, False)]
    while left:
        node, streams, limited = left.pop()
        kind = node.get("Node Type")
        sorts |= kind == "Sort" and streams and not limited
        limited = (limited or kind == "Limit") and kind not in _GATHERS
        schema, name = node.get("Schema"), node.get("Relation Name")
        if isinstance(schema, str) and isinstance(name, str) and not limited and _reads_all(node):
            reads.append(_Read(schema, name, None if "Filter" in node else counted(node.get("Plan Rows"))))
        for below in reversed(list(_below(node))):
            related = below.get("Parent Relationship")
            first = related in _STREAMED or (kind == "Merge Join" and related == "Inner")
            left.append((below, streams and first and kind != "Limit", limited and first))
    return reads, sorts


def _reads_all(node: dict[str, Any]) -> bool:
    kind = node.get("Node Type")
    return kind == _READS_A_TABLE or (kind in _READS_AN_INDEX and "Index Cond" not in node)


def _whole(reads: Sequence[_Read], tables: Sequence[Sequence[Any]]) -> tuple[Scanned, ...]:
    """The tables that are read whole, each once. `tables` are the rows of `_COUNTED`."""
    told = {place: (f"{schema}.{name}", rows) for place, schema, name, rows in tables}
    whole: dict[str, int | None] = {}
    for place, read in enumerate(reads, start=1):
        table, known = told.get(place, (f"{read.schema}.{read.name}", -1.0))
        rows = counted(known)
        rows = read.rows if rows is None else rows
        table = shown(table.removeprefix("public."))
        before = whole.get(table, 0)
        whole[table] = None if rows is None or before is None else counted(before + rows)
    return tuple(Scanned(table, rows) for table, rows in whole.items())


def _nodes(top: dict[str, Any]) -> Iterator[dict[str, Any]]:
    left = [top]
    while left:
        node = left.pop()
        yield node
        left += reversed(list(_below(node)))


def _below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    plans = node.get("Plans")
    yield from (plan for plan in plans if isinstance(plan, dict)) if isinstance(plans, list) else ()
