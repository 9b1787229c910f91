"""What a dry run shows: how the rows that a pull would bring compare with what the store has."""

import json
import re
from collections.abc import Iterator
from uuid import UUID

from pydantic import BaseModel

from qanatix_pipelines.health import ColumnChange
from qanatix_pipelines.rejections import Reason, Rejection
from qanatix_pipelines.row_keys import PullWarning

# How many entities and rows are shown, how many fields of an entity, and how many characters of a value's JSON. An
# entity may have 16 MiB, and an answer is held in memory.
SHOWN = 20
FIELDS_SHOWN = 100
CHARACTERS_SHOWN = 1000

# What of a JSON text tells where a field of the outermost object begins and ends. A string is skipped as a whole.
_MARK = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]', re.DOTALL)


class FieldChange(BaseModel):
    """A field that would change. `before` and `after` are JSON texts; None if the entity has no such field there.

    A text longer than CHARACTERS_SHOWN is cut: in its place is a JSON string with its beginning, which ends with "…".
    """

    field: str
    before: str | None
    after: str | None


class ChangedEntity(BaseModel):
    """An entity that would change, and its fields that would; `more` counts those that are not shown.

    `name` is the one that it would have, cut after CHARACTERS_SHOWN.
    """

    id: UUID
    source_id: str | None
    name: str | None
    fields: list[FieldChange]
    more: int = 0


class RejectedRow(BaseModel):
    """A row that would be rejected: a `Rejection`."""

    row: int
    key: str | None
    reason: Reason
    column: str | None

    @classmethod
    def of(cls, rejection: Rejection) -> "RejectedRow":
        return cls(row=rejection.row, key=rejection.key, reason=rejection.reason, column=rejection.column)


class Comparison(BaseModel):
    """What a pull would do now. `records_pulled = records_ingested + duplicates_skipped + records_rejected`, as its.

    `records_ingested = records_new + records_changed`. `duplicates_skipped = records_unchanged + keys_repeated`: the
    first are equal to what the store has, or to the last row with their key; the others differ from that row.

    At most SHOWN of the entities that would change are `changed`, and as many of the rows that would be `rejected`, in
    the source's order. `column_changes` tells how the columns of the
    query's result differ from the last pull's.
    """

    records_pulled: int
    records_ingested: int
    records_new: int
    records_changed: int
    duplicates_skipped: int
    records_unchanged: int
    keys_repeated: int
    records_rejected: int
    rejected_by_reason: dict[Reason, int]
    warnings: list[PullWarning]
    key_column: str | None
    name_column: str | None
    column_changes: list[ColumnChange]
    changed: list[ChangedEntity]
    rejected: list[RejectedRow]
    duration_seconds: float = 0


def field_changes(before: str, after: str) -> Iterator[FieldChange]:
    """How the fields of two JSON objects, given as texts, differ: in the order of `after`, then those that are gone."""
    was, becomes = dict(_fields(before)), dict(_fields(after))
    for field in (*becomes, *(field for field in was if field not in becomes)):
        if was.get(field) != becomes.get(field):
            yield field_change(field, was.get(field), becomes.get(field))


def field_change(field: str, before: str | None, after: str | None) -> FieldChange:
    """A change of a field from one JSON text to another."""
    return FieldChange(field=field, before=_cut(before), after=_cut(after))


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= CHARACTERS_SHOWN:
        return text
    return json.dumps(text[:CHARACTERS_SHOWN] + "…", ensure_ascii=False)


def _fields(data: str) -> Iterator[tuple[str, str]]:
    """The names of a JSON object's fields, and their values as they are written. Parsing would lose digits."""
    depth, name, begin = 0, None, 0
    for found in _MARK.finditer(data):
        mark = data[found.start()]
        if mark in "{[":
            depth += 1
            continue
        if mark in "}]":
            depth -= 1
        if (mark == "," and depth == 1) or depth == 0:
            if name is not None:
                yield name, data[begin : found.start()].strip()
            name = None
        elif mark == '"' and depth == 1 and name is None:
            name = str(json.loads(found[0])).encode(errors="replace").decode()
        elif mark == ":" and depth == 1:
            begin = found.end()
