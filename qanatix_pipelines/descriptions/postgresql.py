"""What PostgreSQL says of a query's parameters and columns: types by number, which its catalog has the names of.

The driver asks the catalog itself, by names that a schema of the user's may have for other things, and takes no type
that it could not decode, though none is decoded here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

# An array's type is the one that its element's type names; int2vector and the like look as if they were some.
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
    """`kind` is "scalar", "array", "composite", "range" or "multirange". An array's name is its element's and "[]"."""

    name: str
    schema: str
    kind: str

    @classmethod
    def read(cls, name: str, schema: str, letter: bytes, element: str | None) -> Self:
        """From a row of `TYPES`, less its OID."""
        if element is not None:
            return cls(f"{element}[]", schema, "array")
        kind = _KINDS.get(letter, "scalar")
        return cls(name, schema, _PSEUDO_KINDS.get(name, kind) if schema == _OWN else kind)

    @property
    def told(self) -> str:
        """Its name, with the schema's where it is not PostgreSQL's own."""
        return self.name if self.schema == _OWN else f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Attribute:
    """A column."""

    name: str
    type: Type


# Those of most queries, by the numbers that they have on every server (pg_type.dat): nobody need ask for them.
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
_FORGOTTEN = Type("unknown", _OWN, "scalar")  # dropped since


def unknown(oids: Iterable[int]) -> list[int]:
    """Those of them that `TYPES` must be asked for."""
    return sorted(set(oids) - _KNOWN.keys())


def types(rows: Iterable[tuple[int, str, str, bytes, str | None]]) -> Callable[[int], Type]:
    """What gives a type by its OID, from the answer of `TYPES`."""
    known = {oid: Type(name, _OWN, "scalar") for oid, name in _KNOWN.items()}
    asked = {row[0]: Type.read(*row[1:]) for row in rows}
    return lambda oid: known.get(oid) or asked.get(oid, _FORGOTTEN)
