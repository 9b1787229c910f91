"""SQLite, in a child process: a file that the operator has opened to pulls, one read transaction, one statement."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from qanatix_pipelines.batches import MAX_ROW_BYTES, Batch, Column, Expected, Named, Reading, check_names
from qanatix_pipelines.errors import QueryRejected, SourceError, SourceFailed
from qanatix_pipelines.sources.compared import Compared, compared
from qanatix_pipelines.sources.documents import Gathering
from qanatix_pipelines.sources.source import Heard, Stage
from qanatix_pipelines.sources.sql import NAME, SqlQuery, sql_words
from qanatix_pipelines.sources.sqlite.faults import fault
from qanatix_pipelines.sources.sqlite.frames import COLUMNS, END, EXPECTED, FAULT, OPENED, ROWS
from qanatix_pipelines.sources.sqlite.plan import expected
from qanatix_pipelines.sources.sqlite.process import Child, child
from qanatix_pipelines.sources.sqlite.query import (
    DIALECT,
    LEAST_COMPARED,
    LEAST_TEXT,
    bound,
    compared_alone,
    parameters,
    parse_sqlite,
)
from qanatix_pipelines.sources.sqlite.values import fields
from qanatix_pipelines.watermarks import Window

KEY = "id"
T = TypeVar("T")


@asynccontextmanager
async def read(
    path: str,
    folders: Sequence[Path],
    query: str,
    *,
    window: Window,
    batch_size: int,
    named: Named,
    passed: Heard,
) -> AsyncIterator[Reading]:
    """As `Source.read`."""
    statement = await asyncio.to_thread(parse_sqlite, query)
    asked = await asyncio.to_thread(compared, statement, DIALECT) if window.rows is not None else Compared()
    # The machine's clock is the source's. What was committed before it was read is in the snapshot.
    clock = datetime.now(UTC)
    request = {
        "path": path,
        "folders": [str(folder) for folder in folders],
        "statement": statement.numbered(),
        "parameters": parameters(bound(statement, window.start(clock), window.until, integer=window.integer)),
        "batch_size": batch_size,
        "max_row_bytes": MAX_ROW_BYTES,
        "doubt": _doubt(statement, window),
        "limit": window.rows,
        "tables": sorted({table.name for table in asked.tables.values()}),
    }
    async with child(request) as reader:
        await _said(reader, statement, _opened)
        passed(Stage.LOGIN)
        passed(Stage.ACCOUNT)  # a file has none
        told = await _said(reader, statement, partial(_expected, asked)) if window.rows is not None else None
        names = await _said(reader, statement, _names)
        passed(Stage.QUERY)
        if names is None:
            raise QueryRejected("The query returns no columns: it must be one that returns rows.")
        columns = tuple(Column(name, "any", pl.String, json=True) for name in names)
        check_names(columns)
        yield Reading(
            columns=columns,
            watermark=clock if statement.asks_for(NAME) else None,
            batches=_batches(reader, statement, names, batch_size, named),
            names_have_case=False,
            expected=told,
        )


async def _batches(
    reader: Child, statement: SqlQuery, names: Sequence[str], batch_size: int, named: Named
) -> AsyncIterator[Batch]:
    spelled = _spelling(names)
    named = replace(
        named, key=spelled(named.key or KEY), name=spelled(named.name), cursor=named.cursor and spelled(named.cursor)
    )
    key = names.index(named.key) if named.key in names else None
    gathering = Gathering(batch_size, "any", named, names)

    def gathered(kind: bytes, said: Any) -> list[Batch] | None:
        """The batches that are full now. None if there are no more rows."""
        if kind == END:
            _check_texts(mixed=said)
            return None
        if kind != ROWS:
            raise ValueError(kind)
        full = []
        for values in said:
            row, text, wrong = fields(names, values, key)
            full.append(gathering.add(row, text, fault=wrong))
        return [batch for batch in full if batch is not None]

    while (batches := await _said(reader, statement, gathered)) is not None:
        while batches:
            yield batches.pop(0)
    if (rest := gathering.rest()) is not None:
        yield rest


async def _said(reader: Child, statement: SqlQuery, take: Callable[[bytes, Any], T]) -> T:
    """What `take` makes of the next frame: in a thread, for heartbeats, deadlines and cancels must not wait for it."""
    kind, text = await reader.frame()

    def taken() -> T:
        said = json.loads(text)
        if kind == FAULT:
            raise fault(said, partial(sql_words, statement, DIALECT))
        return take(kind, said)

    try:
        return await asyncio.to_thread(taken)
    except SourceError:
        raise
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        # No frame that our child sends: a file that breaks SQLite's rules may have made it send anything.
        raise SourceFailed(f"The file could not be read ({type(error).__name__}).") from None


def _opened(kind: bytes, _said: None) -> None:
    if kind != OPENED:
        raise ValueError(kind)


def _expected(asked: Compared, kind: bytes, said: Any) -> Expected:
    if kind != EXPECTED:
        raise ValueError(kind)
    return expected(said, asked)


def _names(kind: bytes, said: list[str] | None) -> list[str] | None:
    if kind != COLUMNS:
        raise ValueError(kind)
    return said


def _doubt(statement: SqlQuery, window: Window) -> dict[str, Any] | None:
    """What the child asks to see whether `:last_pull`, a text, is compared with numbers, of which none is above a text.

    Such a query would return everything at first, and then nothing, ever. It is asked of a first pull, and of a later
    one that returns nothing.
    """
    alone = [
        compared and name == NAME for compared, name in zip(compared_alone(statement), statement.names, strict=True)
    ]
    if window.integer or not any(alone):
        return None
    usual = bound(statement, None, window.until, integer=False)

    def least(value: float | str) -> dict[str, Any]:
        return parameters([value if compared else other for compared, other in zip(alone, usual, strict=True)])

    return {
        "statement": f"SELECT EXISTS (SELECT 1 FROM (\n{statement.numbered()}\n))",
        "least_text": least(LEAST_TEXT),
        "least_number": least(LEAST_COMPARED),
        "always": window.watermark is None,
    }


def _check_texts(*, mixed: bool) -> None:
    if mixed:
        raise QueryRejected(
            "The query compares :last_pull, which is a text, with numbers, so nothing would ever be newer. Write "
            "unixepoch(:last_pull) for seconds since 1970, or julianday(:last_pull); or name an integer column as "
            "cursor_column."
        )


def _spelling(names: Sequence[str]) -> Callable[[str], str]:
    """A name as the column that it means is called in the result: SQLite's names have no case."""
    return lambda name: name if name in names else next((own for own in names if own.lower() == name.lower()), name)
