"""Why a row becomes no entity. The reasons are a closed list, because a source's own message may contain the row."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    ROW_TOO_LARGE = "row_too_large"
    NAME_MISSING = "name_missing"
    KEY_MISSING = "key_missing"
    NOT_TEXT = "not_text"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    UNREADABLE = "unreadable"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Reason.ROW_TOO_LARGE: "The row is larger than 16 MiB.",
    Reason.NAME_MISSING: "The column that name_column names is null or blank.",
    Reason.KEY_MISSING: "The key is null.",
    Reason.NOT_TEXT: "The name or the key holds NUL, or half of a surrogate pair, and so is no text.",
    Reason.NOT_UTF8: "The column holds text that cannot be read as UTF-8.",
    Reason.NOT_JSON: "The column holds no JSON, or JSON that is nested too deeply.",
    Reason.UNREADABLE: "A value cannot be read: it breaks its source's own rules, is nested too deeply, or is a time "
    "beyond the years 1 to 9999.",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What a source found wrong with a row. If the fault is one column's, the source left that value out."""

    reason: Reason
    column: str | None = None


OVERSIZED = Fault(Reason.ROW_TOO_LARGE)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that could not become an entity. `row` counts from 1, in the order in which the source sent the rows.

    `key` is the row's key; None if it has none, or one that cannot be shown.
    """

    row: int
    key: str | None
    reason: Reason
    column: str | None

    @classmethod
    def read(cls, row: int, key: str | None, reason: str, column: str | None) -> Self:
        """A rejection from the columns of its row in the store."""
        return cls(row, key, Reason(reason), column)


# A longer key is not shown: nobody could search for it. In characters.
LONGEST_KEY = 500


def rejection(row: int, key: str | None, fault: Fault) -> Rejection:
    told = key is not None and len(key) <= LONGEST_KEY and "\x00" not in key
    return Rejection(row, key if told else None, fault.reason, fault.column)


def told_by_reason(counts: Mapping[Reason, int]) -> str:
    """As `12 rejected: 9 name_missing, 3 not_json`, the most frequent reason first."""
    most = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return f"{sum(counts.values()):,} rejected: " + ", ".join(f"{count:,} {reason}" for reason, count in most)
