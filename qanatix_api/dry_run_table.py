"""A dry run as tables, for a person at a terminal."""

import json
from collections.abc import Container, Iterator
from decimal import Decimal
from typing import Any

from qanatix_api.tables import aligned, as_json, paragraph, shown
from qanatix_pipelines.row_keys import PullWarning

# Of a value in a line.
_CHARACTERS = 60
_COUNTS = {
    "records_new": "new",
    "records_changed": "changed",
    "records_unchanged": "unchanged",
    "keys_repeated": "keys repeated",
    "records_rejected": "rejected",
}


def tables(answer: str) -> Iterator[str]:
    """The lines that show a `DryRunAnswer`, which is given as JSON."""
    told = json.loads(answer, parse_float=Decimal)
    yield f"A pull would read {told['records_pulled']:,} rows. Nothing was ingested."
    yield from aligned([(word, f"{told[name]:,}", _reasons(told, name)) for name, word in _COUNTS.items()], right=1)
    columns = told["column_changes"]
    if columns:
        yield "Columns that differ from the last pull's:"
        yield from aligned([(one["name"], _type(one["before"]), "->", _type(one["after"])) for one in columns])
    if told["changed"]:
        yield _of("Entities that would change", len(told["changed"]), told["records_changed"])
        known = {
            (one["name"], one["before"] is None, one["after"] is None)
            for one in columns
            if None in (one["before"], one["after"])
        }
        for entity in told["changed"]:
            yield from _entity(entity, known)
    if told["rejected"]:
        yield _of("Rows that would be rejected", len(told["rejected"]), told["records_rejected"])
        yield from aligned(
            [(f"row {one['row']}", one["key"] or "", one["column"] or "", one["detail"]) for one in told["rejected"]]
        )
    for warning in told["warnings"]:
        yield paragraph(f"{warning['code']}: {PullWarning.model_validate(warning).sentences}")


def _entity(entity: dict[str, Any], known: Container[tuple[str, bool, bool]]) -> Iterator[str]:
    """Its key and name, and the fields that would change, but for those that come or go with a `known` column."""
    rows: list[tuple[str, ...]] = [
        (one["field"], _value(one, "before"), "->", _value(one, "after"))
        for one in entity["fields"]
        if (one["field"], "before" not in one, "after" not in one) not in known
    ]
    if more := entity["more_fields"]:
        rows.append((f"and {more} more",))
    head = [entity["source_id"] or entity["entity_id"], _cut(entity["name"])]
    yield shown("  " + "  ".join(filter(None, [*head, "" if rows else "(only columns that are new or gone)"])))
    yield from aligned(rows, indent=4)


def _reasons(told: dict[str, Any], count: str) -> str:
    if count != "records_rejected":
        return ""
    return ", ".join(f"{number:,} {reason}" for reason, number in told["rejected_by_reason"].items())


def _of(what: str, some: int, all_of_them: int) -> str:
    return f"{what}:" if some == all_of_them else f"{what}, the first {some} of {all_of_them:,}:"


def _type(source_type: str | None) -> str:
    return "absent" if source_type is None else source_type


def _value(field: dict[str, Any], side: str) -> str:
    if side not in field:
        return "absent"
    return _cut(as_json(field[side]))


def _cut(text: str | None) -> str:
    text = text or ""
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"
