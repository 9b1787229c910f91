"""The tables of docs/types: what a type of a source's becomes in an entity."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "types"


@dataclass(frozen=True)
class TypeRow:
    """One row of a table. `source` and `entity` are without their code marks; a bar in a cell has a backslash."""

    type: str
    becomes: str
    source: str
    entity: str


def types_table(connector_type: str) -> list[TypeRow]:
    """The rows of the one table in `docs/types/<connector_type>.md`."""
    lines = (FOLDER / f"{connector_type}.md").read_text().splitlines()
    rows = [line.strip().strip("|") for line in lines if line.startswith("|")][2:]
    return [TypeRow(*(_cell(cell) for cell in row.replace("\\|", "\x00").split("|"))) for row in rows]


def _cell(text: str) -> str:
    text = text.replace("\x00", "|").strip()
    return text[1:-1] if text[:1] == text[-1:] == "`" and text.count("`") == 2 else text
