"""What Neo4j's planner expects of a query, by `EXPLAIN`.

All names that a plan tells of are words of the query: what else the server says is only looked up among them.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from qanatix_pipelines.batches import Plan, Scanned, counted
from qanatix_pipelines.sources.neo4j.query import LAST_PULL, tokens

Operator = Mapping[str, Any]

# Whether the user sees all transactions. Each user may ask for their own privileges (Cypher manual, "SHOW PRIVILEGES").
SEES_ALL = (
    "SHOW USER PRIVILEGES AS COMMANDS YIELD command WHERE command STARTS WITH 'GRANT' AND any(privilege IN "
    "['SHOW TRANSACTION (*)', 'TRANSACTION MANAGEMENT (*)', 'ALL DATABASE PRIVILEGES'] "
    "WHERE command CONTAINS privilege) RETURN count(*) > 0"
)
SEE_ALL = "At the source, run GRANT SHOW TRANSACTION (*) ON DATABASE {database} TO a role of {user}."
# The Community Edition answers so. It has no privileges, and each user sees all transactions.
HAS_NO_PRIVILEGES = "Neo.ClientError.Statement.UnsupportedAdministrationCommand"

_MOST_OPERATORS = 1000
_MOST_DETAILS = 2000
# What an operator reads whole if its details name no label or type of the query.
_SCANS = {
    "AllNodesScan": "nodes",
    "NodeByLabelScan": "nodes",
    "UnionNodeByLabelsScan": "nodes",
    "IntersectionNodeByLabelsScan": "nodes",
    "SubtractionNodeByLabelsScan": "nodes",
    "NodeIndexScan": "nodes",
    "AllRelationshipsScan": "relationships",
    "RelationshipTypeScan": "relationships",
    "UnionRelationshipTypesScan": "relationships",
    "RelationshipIndexScan": "relationships",
}
# Before these stands which way a relationship is read, or that several read their parts of it.
_PREFIXES = re.compile(r"^(?:Partitioned)?(?:Directed|Undirected)?")
_WAITING = frozenset(["Sort", "Top", "Top1WithTies", "EagerAggregation"])
_NAME = r"`(?:[^`]|``)*`|\w+"
_LABEL = re.compile(rf"[:|&]\s*({_NAME})")
_INDEX = re.compile(rf":\s*({_NAME})\(((?:{_NAME})(?:, (?:{_NAME}))*)\)")
_COMPARED = re.compile(rf"\$`?{LAST_PULL}\b")


def plan_of(answer: Any, query: str) -> Plan | None:
    """The plan that the driver has from the server, for a query. None if it has no form that is known."""
    operators = _operators(answer)
    if not operators:
        return None
    words = {token.text.strip("`") for token in tokens(query)}
    return Plan(
        rows=_rows(operators[0]),
        whole=tuple(dict.fromkeys(_scanned(operator, words) for operator in operators if _name(operator) in _SCANS)),
        sorts=any(_name(operator) in _WAITING for operator in operators),
        index=next(filter(None, (_index(operator, words) for operator in operators)), None),
    )


def _operators(answer: Any) -> list[Operator]:
    """All operators, the last one of the plan first. Empty if they are too many, or something else is among them."""
    operators: list[Operator] = []
    waiting = [answer]
    while waiting and len(operators) < _MOST_OPERATORS:
        match waiting.pop():
            case {"operatorType": str(), "args": dict(), "children": list(children)} as operator:
                operators.append(operator)
                waiting += children
            case {"operatorType": str(), "args": dict()} as operator:
                operators.append(operator)
            case _:
                return []
    return [] if waiting else operators


def _name(operator: Operator) -> str:
    """`NodeByLabelScan` of `NodeByLabelScan@neo4j`, which has the database."""
    return _PREFIXES.sub("", operator["operatorType"].partition("@")[0])


def _rows(operator: Operator) -> int | None:
    return counted(operator["args"].get("EstimatedRows"))


def _details(operator: Operator) -> str:
    details = operator["args"].get("Details")
    return details if isinstance(details, str) and len(details) <= _MOST_DETAILS else ""


def _scanned(operator: Operator, words: Collection[str]) -> Scanned:
    labels = [name.strip("`") for name in _LABEL.findall(_details(operator))]
    named = [label for label in labels if label in words]
    return Scanned(", ".join(dict.fromkeys(named)) or _SCANS[_name(operator)], _rows(operator))


def _index(operator: Operator, words: Collection[str]) -> str | None:
    """As `:Part(updated_at)`, of a seek by `$last_pull`. An index's further properties may be no words of the query."""
    found = _INDEX.search(_details(operator))
    if "Index" not in _name(operator) or "Seek" not in _name(operator) or found is None:
        return None
    if not _COMPARED.search(_details(operator)):
        return None
    label, properties = found[1].strip("`"), [name.strip("`") for name in re.findall(_NAME, found[2])]
    known = [name for name in properties if name in words]
    if label not in words or not known:
        return None
    return f":{label}({', '.join(known)}{', ...' if len(known) < len(properties) else ''})"
