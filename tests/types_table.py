"""The table of types in a page of docs/types: the tests are made of it, so that it stays true."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TypeExample:
    """A line of the table. `source` and `entity` are the examples, without their backticks."""

    type: str
    becomes: str
    source: str
    entity: str


def type_examples(connector_type: str) -> list[TypeExample]:
    page = (Path(__file__).parents[1] / "docs" / "types" / f"{connector_type}.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("|")]
    cells = [[_cell(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    if [cell.lower() for cell in cells[0]] != ["type", "becomes", "example in the source", "example in the entity"]:
        raise ValueError(f"The table of {connector_type} has other columns: {cells[0]}")
    return [TypeExample(*line) for line in cells[2:]]


def _cell(text: str) -> str:
    return text.strip().removeprefix("`").removesuffix("`").replace("\\|", "|")
