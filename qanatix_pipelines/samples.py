"""The sample of a test: the first rows of a result, as they would be stored, as far as there is room to show them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import polars as pl

from qanatix_pipelines.batches import Batch, Column
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.rejections import Rejection
from qanatix_pipelines.reports import ShownColumn, ShownEntity, ShownRejection
from qanatix_pipelines.row_keys import Roles

# How much of the sample is shown, in characters; and of a name or a key for whose row there was no room.
SHOWN_CHARACTERS = 1024 * 1024
CUT_CHARACTERS = 200
# A document may have any number of fields, with names of any length.
SHOWN_COLUMNS = 1000


@dataclass
class Sample:
    """The rows that were read. `known` says whether the result's columns are the same for each row."""

    known: bool = False
    columns: dict[str, Column] = field(default_factory=dict)
    entities: list[pl.DataFrame] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    rows: int = 0
    keyless: int = 0

    def take(self, batch: Batch, made: EntityBatch) -> None:
        self.columns |= {column.name: column for column in batch.columns}
        self.entities.append(made.frame)
        self.rejections += made.rejections
        self.rows += batch.frame.height
        self.keyless += made.keyless

    @property
    def frame(self) -> pl.DataFrame:
        """The entities. There is a frame only if there is a row."""
        return pl.concat(self.entities)

    @property
    def repeated(self) -> int:
        """How many rows share their key with a later row that is different."""
        if not self.entities:
            return 0
        unlike = self.frame.unique(["id", "digest"])
        return unlike.height - unlike["id"].n_unique()

    def shown_entities(self) -> list[ShownEntity]:
        """All of them, each with its data as far as there is room."""
        if not self.entities:
            return []
        room, found = SHOWN_CHARACTERS, []
        for entity_id, key, name, data in self.frame.select("id", "source_id", "name", "data").iter_rows():
            size = len(data) + len(name or "") + len(key or "")
            if size <= room:
                room -= size
                found.append(ShownEntity(id=UUID(bytes=entity_id), source_id=key, name=name, data=data))
            else:
                found.append(ShownEntity(id=UUID(bytes=entity_id), source_id=_cut(key), name=_cut(name), data=None))
        return found

    def shown_rejections(self) -> list[ShownRejection]:
        return [
            ShownRejection(row=one.row, key=one.key, reason=one.reason, detail=one.reason.sentence, column=one.column)
            for one in self.rejections
        ]

    def shown_columns(self, roles: Roles, cursor: str | None, entities: Sequence[ShownEntity]) -> list[ShownColumn]:
        data = [_kinds(entity.data) for entity in entities if entity.data is not None]
        columns = list(self.columns.values())[:SHOWN_COLUMNS]
        return [
            ShownColumn(
                name=_cut(column.name) or "",
                type=column.source_type,
                becomes="the entity's name" if column.name == roles.name else _becomes(column, data),
                role={cursor: "cursor", roles.name: "name", roles.key: "key"}.get(column.name),
            )
            for column in columns
        ]


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= CUT_CHARACTERS else text[:CUT_CHARACTERS] + "…"


def _becomes(column: Column, data: Sequence[Mapping[str, str]]) -> str:
    kinds = sorted({kinds[column.name] for kinds in data if column.name in kinds})
    if kinds:
        return " or ".join(kinds)
    if column.json:
        return "any value"
    return "number" if column.dtype.is_numeric() else "boolean" if column.dtype == pl.Boolean else "string"


def _number(_digits: str) -> int:
    """Its value is of no interest, and Python refuses to read the longest ones."""
    return 0


_DECODER = json.JSONDecoder(parse_int=_number, parse_float=_number)


def _kinds(data: str) -> dict[str, str]:
    """What each field of an entity is in JSON, but for those that are null."""
    return {name: _kind(value) for name, value in _DECODER.decode(data).items() if value is not None}


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "number"
        case str():
            return "string"
        case dict():
            return "object"
        case _:
            return "array"
