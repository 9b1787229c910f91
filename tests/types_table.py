"""The type tables of `docs/types/`: one source of truth for readers and for the tests that are made from it.

A table has the columns `type | becomes | example in the source | example in the entity`, the last two in back-quotes.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qanatix_pipelines.connectors import ConnectorSettings
from qanatix_pipelines.entities import maker_of
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Window

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


def entity_data(connector_type: str, config: dict[str, Any], query: str, **allowed: Any) -> list[str]:
    """The JSON texts of the entities that a query's rows become. What the operator must allow is `allowed`."""
    connector = ConnectorSettings(
        name="Types", connector_type=connector_type, vertical="testing", entity_type="value", query=query
    )

    async def read() -> list[str]:
        source = open_source(connector_type, config, **allowed)
        async with source.read(query, window=Window(), batch_size=100) as reading:
            maker = maker_of(connector, reading)
            if reading.columns is not None:
                maker.check(reading.columns)
            return [text async for batch in reading.batches for text in maker.make(batch).frame["data"]]

    return asyncio.run(read())


def _cell(text: str) -> str:
    return text.strip().removeprefix("`").removesuffix("`").replace("\0", "|")
