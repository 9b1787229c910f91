"""The type tables of `docs/types/`: one source of truth for readers and for the tests that are made from it.

A table has the columns `type | becomes | example in the source | example in the entity`, the last two in back-quotes.
"""

from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs" / "types"


@dataclass(frozen=True)
class TypeRow:
    """`source` is an expression of the source's language, `entity` the JSON text that it becomes."""

    type: str
    becomes: str
    source: str
    entity: str


def type_rows(connector_type: str) -> list[TypeRow]:
    lines = (DOCS / f"{connector_type}.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")][2:]
    return [TypeRow(*(_cell(cell) for cell in line.replace(r"\|", "\0").strip("|").split("|"))) for line in table]


def _cell(text: str) -> str:
    return text.strip().removeprefix("`").removesuffix("`").replace("\0", "|")
