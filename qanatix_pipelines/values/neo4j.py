"""Neo4j's times as text: the rules that docs/types/neo4j.md tells, and its test checks."""

from typing import Any


def clock_text(value: Any) -> str:
    """The driver's Time or DateTime as the server's own toString() writes it: RFC 9557, all its nanoseconds."""
    local: str = value.replace(tzinfo=None).iso_format().rstrip("0").removesuffix(".")
    offset = value.utc_offset()
    if offset is None:
        return local
    minutes = int(offset.total_seconds()) // 60
    shown = "{}{:02}:{:02}".format("-" if minutes < 0 else "+", *divmod(abs(minutes), 60)) if minutes else "Z"
    zone = getattr(value.tzinfo, "zone", None)
    return f"{local}{shown}" if zone in (None, "UTC") else f"{local}{shown}[{zone}]"
