"""What MongoDB's planner expects of a query, by `explain`. Releases and servers differ in the form of its answer.

All names that a plan tells of are the connector's own: its collection, and a field of its filter.
"""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from qanatix_pipelines.batches import Plan, Scanned, counted
from qanatix_pipelines.sources.mongodb.values import types_at

# Sends a command, and gives the answer. None if the server refuses it, or if the answer is too large.
Ask = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any] | None]]

Stage = Mapping[str, Any]

# Of an answer. One of them may hold the plans that were not chosen, too.
MAX_BYTES = 2**20
# The server gives up each of the two commands after so long. Only a count of a view would need it.
_MILLISECONDS = 2000
# Documents whose types are looked at.
_SEEN = 20
# Objects and lists of an answer that are looked at. A plan has some dozens.
_MOST_PARTS = 10_000
# Where stages stand in the answer of a server, of a router, and for a view.
_WITHIN = (
    *("queryPlanner", "winningPlan", "queryPlan", "inputStage", "inputStages", "outerStage", "innerStage"),
    *("thenStage", "elseStage", "shards", "stages", "$cursor"),
)
_SCANS = frozenset(["COLLSCAN", "COLUMN_SCAN"])
_OF_AN_INDEX = frozenset(["IXSCAN", "EXPRESS_IXSCAN"])
# Stages that need all documents before they give one. The last two are those of a view.
_WAITING = frozenset(["SORT", "GROUP", "$sort", "$group"])
_UNBOUNDED = (["[MinKey, MaxKey]"], ["[MaxKey, MinKey]"])


# Types that a number is compared with, and a date.
NUMBERS, DATES = frozenset(["int", "long", "double", "decimal"]), frozenset(["date"])


async def plan(ask: Ask, collection: str, find: Mapping[str, Any], compared: Collection[str]) -> Plan | None:
    """The plan of a `find`. `compared` are the fields that it compares with `:last_pull`.

    None if the server does not explain it, or in no form that is known.
    """
    given = {name: find[name] for name in ("filter", "projection", "sort") if find[name] is not None}
    asked = {"explain": {"find": collection} | given, "verbosity": "queryPlanner", "maxTimeMS": _MILLISECONDS}
    answer = await ask(asked) or {}
    stages = _stages(answer)
    if not stages:
        return None
    everything = not find["filter"]
    whole = everything or any(_reads_all(stage) for stage in stages)
    rows = await _counted(ask, collection) if whole and _is_collection(answer, collection) else None
    return Plan(
        rows=rows if everything else None,
        whole=(Scanned(collection, rows),) if whole else (),
        sorts=any(stage["stage"] in _WAITING for stage in stages),
        index=next(filter(None, (_index(stage, compared) for stage in stages)), None),
    )


async def types(ask: Ask, collection: str, fields: Collection[str]) -> set[str]:
    """The types that these fields have in some documents, by MongoDB's names. Empty if that cannot be had."""
    if not fields:
        return set()
    projection = dict.fromkeys(fields, 1) | ({} if "_id" in fields else {"_id": 0})
    asked = {"find": collection, "projection": projection, "limit": _SEEN, "singleBatch": True}
    match await ask(asked | {"maxTimeMS": _MILLISECONDS}):
        case {"cursor": {"firstBatch": list(documents)}}:
            return set().union(*(types_at(one, field.split(".")) for one in documents[:_SEEN] for field in fields))
    return set()


def _stages(answer: Mapping[str, Any]) -> list[Stage]:
    """The stages of the plan that was chosen, each with its name as `stage`. None at all if there are too many."""
    stages: list[Stage] = []
    waiting: list[Any] = [answer]
    for _ in range(_MOST_PARTS):
        if not waiting:
            return stages
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part[:_MOST_PARTS]
        elif isinstance(part, dict):
            if isinstance(part.get("stage"), str):
                stages.append(part)
            stages += [{"stage": name} for name in _WAITING & part.keys()]
            waiting += [part[name] for name in _WITHIN if name in part]
            if isinstance(part.get("shards"), dict):  # by their names
                waiting += part["shards"].values()
    return []


def _reads_all(stage: Stage) -> bool:
    """Whether it reads a collection from its beginning to its end, perhaps in the order of an index."""
    bounds = stage.get("indexBounds")
    unbounded = isinstance(bounds, dict) and bool(bounds) and all(one in _UNBOUNDED for one in bounds.values())
    return stage["stage"] in _SCANS or (stage["stage"] in _OF_AN_INDEX and unbounded)


def _index(stage: Stage, compared: Collection[str]) -> str | None:
    """The index that the stage uses, as `{"at": 1}`, if it serves a comparison. Other fields of it are not named.

    It serves one with its first field, or with the first that has bounds and is compared.
    """
    if stage["stage"] == "CLUSTERED_IXSCAN" and "_id" in compared:
        return '{"_id": 1}'
    pattern, bounds = stage.get("keyPattern"), stage.get("indexBounds")
    if stage["stage"] not in _OF_AN_INDEX or not isinstance(pattern, dict):
        return None
    if not isinstance(bounds, dict):  # not every server tells them
        bounds = dict.fromkeys(list(pattern)[:1])
    for place, (field, direction) in enumerate(pattern.items()):
        if field in compared and bounds.get(field, _UNBOUNDED[0]) not in _UNBOUNDED:
            before, after = "..., " if place else "", ", ..." if place + 1 < len(pattern) else ""
            return f"{{{before}{json.dumps(field)}: {-1 if direction == -1 else 1}{after}}}"
    return None


async def _counted(ask: Ask, collection: str) -> int | None:
    """How many documents the server believes that the collection has."""
    match await ask({"count": collection, "maxTimeMS": _MILLISECONDS}):
        case {"n": int(rows)}:
            return counted(rows)
        case {"n": float(rows)} if rows.is_integer():
            return counted(rows)
    return None


def _is_collection(answer: Mapping[str, Any], collection: str) -> bool:
    """Whether it is no view: to count the documents of a view, the server reads them."""
    match answer:
        case {"stages": _}:
            return False
        case {"queryPlanner": {"namespace": str(name)}}:
            return name.partition(".")[2] == collection
    return True
