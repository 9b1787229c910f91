"""The settings tables of `docs/settings/`: one source of truth for readers and for the tests that are made from it.

A table has the columns `setting | tried as | what we do | why`: the first, and each value of the next, in back-quotes.
"""

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs" / "settings"


@dataclass(frozen=True)
class SettingRow:
    """`tried` are values that a test sets; `widest` is the one that a pull sets for its session, None: it is left."""

    name: str
    tried: tuple[str, ...]
    widest: str | None
    why: str


def setting_rows(connector_type: str) -> list[SettingRow]:
    """The rows of all tables of a page that are about one setting."""
    lines = (DOCS / f"{connector_type}.md").read_text().splitlines()
    return [_row(line) for line in lines if re.match(r"\| `[\w.]+` \|", line)]


def _row(line: str) -> SettingRow:
    name, tried, done, why = (cell.strip().replace("\0", "|") for cell in line.replace(r"\|", "\0").split("|")[1:-1])
    return SettingRow(name.strip("`"), _quoted(tried), None if done == "left" else _quoted(done)[0], why)


def _quoted(cell: str) -> tuple[str, ...]:
    return tuple(re.findall("`([^`]*)`", cell))
