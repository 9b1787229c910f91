"""The types of a query's parameters and columns. PostgreSQL tells their OIDs, and its catalog has their names.

The driver could ask the catalog, too. But it uses unqualified names, which a user's schema may give to other things,
and it refuses types that it cannot decode, although we decode none.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

# An array type is one that its element's type names as its array. int2vector and the like only look like arrays.
TYPES = """
SELECT t.oid, t.typname, n.nspname, t.typtype, e.typname
FROM pg_catalog.pg_type AS t
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
LEFT JOIN pg_catalog.pg_type AS e ON e.typarray OPERATOR(pg_catalog.=) t.oid
WHERE t.oid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])
"""
_KINDS = {b"c": "composite", b"r": "range", b"m": "multirange"}
_PSEUDO_KINDS = {"record": "composite", "anyarray": "array"}
_OWN = "pg_catalog"


@dataclass(frozen=True)
class Type:
    """`kind` is "scalar", "array", "composite", "range" or "multirange". An array's name is its element's with "[]"."""

    name: str
    schema: str
    kind: str

    @classmethod
    def read(cls, name: str, schema: str, letter: bytes, element: str | None) -> Self:
        """From a row of `TYPES`, without its OID."""
        if element is not None:
            return cls(f"{element}[]", schema, "array")
        kind = _KINDS.get(letter, "scalar")
        return cls(name, schema, _PSEUDO_KINDS.get(name, kind) if schema == _OWN else kind)

    @property
    def told(self) -> str:
        """The name that people are told: with the schema, unless the type is PostgreSQL's own."""
        return self.name if self.schema == _OWN else f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Attribute:
    """A column of a query's result."""

    name: str
    type: Type


# The types of most queries, by OIDs that are the same on every server (pg_type.dat), so that we need not ask.
_KNOWN = {
    16: "bool",
    17: "bytea",
    20: "int8",
    21: "int2",
    23: "int4",
    25: "text",
    26: "oid",
    114: "json",
    700: "float4",
    701: "float8",
    1042: "bpchar",
    1043: "varchar",
    1082: "date",
    1083: "time",
    1114: "timestamp",
    1184: "timestamptz",
    1186: "interval",
    1700: "numeric",
    2950: "uuid",
    3802: "jsonb",
}
_FORGOTTEN = Type("unknown", _OWN, "scalar")  # it was dropped meanwhile


def unknown(oids: Iterable[int]) -> list[int]:
    """The OIDs that `TYPES` must be asked for."""
    return sorted(set(oids) - _KNOWN.keys())


def types(rows: Iterable[tuple[int, str, str, bytes, str | None]]) -> Callable[[int], Type]:
    """A function that gives the type of an OID. `rows` are the answer of `TYPES`."""
    known = {oid: Type(name, _OWN, "scalar") for oid, name in _KNOWN.items()}
    asked = {row[0]: Type.read(*row[1:]) for row in rows}
    return lambda oid: known.get(oid) or asked.get(oid, _FORGOTTEN)
