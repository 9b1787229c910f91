"""PostgreSQL's types: what each is selected as, so that a Polars frame holds it exactly.

The server converts, by its own rules and at its own speed. The table of all types is docs/types/postgresql.md.
"""

from collections.abc import Sequence
from typing import Protocol

import polars as pl

from qanatix_pipelines.batches import Column
from qanatix_pipelines.errors import QueryRejected


class Type(Protocol):
    """A type as `descriptions.postgresql` tells of it: `kind` is "scalar", "array", "composite" and so on."""

    @property
    def name(self) -> str: ...
    @property
    def schema(self) -> str: ...
    @property
    def kind(self) -> str: ...


class Attribute(Protocol):
    """A column."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> Type: ...


# How a type of PostgreSQL's is selected, and what it then is: (SQL around the column, Polars' type, JSON text?).
_INTEGER = ("{0}", pl.Int64, False)
_TEXT = ("{0}", pl.String, False)
_AS_TEXT = ("{0}::text", pl.String, False)
_AS_JSON = ("to_json({0})::text", pl.String, True)
# to_json gives ISO 8601 with 'T', and leaves 'infinity' as it is. The session's zone is UTC.
_INSTANT = ("replace(trim(both '\"' from to_json({0})::text), '+00:00', 'Z')", pl.String, False)
_READ_AS: dict[str, tuple[str, type[pl.DataType], bool]] = {
    "int2": _INTEGER,
    "int4": _INTEGER,
    "int8": _INTEGER,
    "oid": _INTEGER,
    "bool": ("{0}", pl.Boolean, False),
    "float8": ("{0}", pl.Float64, False),
    "float4": _AS_JSON,  # widened to 64 bits, 0.1 would become 0.10000000149011612
    "numeric": _AS_JSON,
    "text": _TEXT,
    "varchar": _TEXT,
    "bpchar": _TEXT,  # a cast to text would drop its padding
    "timestamp": _INSTANT,
    "timestamptz": _INSTANT,
    "json": ("{0}::text", pl.String, True),
    "jsonb": ("{0}::text", pl.String, True),
    "bytea": ("translate(encode({0}, 'base64'), E'\\n', '')", pl.String, False),
}


def selected(query: str, attributes: Sequence[Attribute]) -> tuple[tuple[Column, ...], str]:
    """The columns of `query`, whose result has `attributes`, and the statement that selects them out of it.

    Raises QueryRejected where there are none.
    """
    if not attributes:
        raise QueryRejected("The query returns no columns: it must be a SELECT, WITH, VALUES or TABLE.")
    columns, expressions = [], []
    for position, attribute in enumerate(attributes):
        kind = attribute.type
        structured = kind.kind in ("array", "composite") or kind.name == "record"
        # By name, but only PostgreSQL's own types: a user may call an enum `json`.
        known = _READ_AS.get(kind.name) if kind.schema == "pg_catalog" else None
        expression, dtype, is_json = known or (_AS_JSON if structured else _AS_TEXT)
        columns.append(Column(attribute.name, kind.name, dtype, json=is_json))
        expressions.append(expression.format(f"q.c{position}"))
    # Columns go by their place, whatever they are called. The line break ends a comment at the query's end.
    names = ", ".join(f"c{position}" for position in range(len(columns)))
    return tuple(columns), f"SELECT {', '.join(expressions)} FROM (\n{query}\n) AS q ({names})"
