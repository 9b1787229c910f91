"""A dry run says what the pull that follows does, whatever the source has, and leaves the store as it was."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qanatix_pipelines.batches import Column
from qanatix_pipelines.comparisons import SHOWN, Comparison
from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.dry_run import run_dry_run
from qanatix_pipelines.errors import PullError
from qanatix_pipelines.extents import Extent
from qanatix_pipelines.health import column_changes
from qanatix_pipelines.limits import Limits
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.store import tables, unchanged
from qanatix_pipelines.store.health import columns_of
from qanatix_pipelines.store.opening import Store
from tests.campaigns.conftest import DEEP
from tests.campaigns.dumps import empty, unwritten
from tests.campaigns.shelf import COLUMNS, Run, Script, instant

CASES = 500 if DEEP else 12
# What a result may have, and the query's columns with it.
ID, SKU, NAME, STAMP = COLUMNS
SHAPES: dict[str, tuple[Column, ...]] = {
    "id, sku, name, stamp": COLUMNS,
    "id, CAST(sku AS TEXT) AS sku, name, stamp": (ID, Column("sku", "text", pl.String), NAME, STAMP),
    "id, sku, name, stamp, 'red' AS colour": (*COLUMNS, Column("colour", "text", pl.String)),
    "id, name, stamp": (ID, NAME, STAMP),
    "sku, stamp": (SKU, STAMP),
}
# Queries, each with its cursor_column.
READS = (
    ("SELECT * FROM shown ORDER BY n", None),
    ("SELECT * FROM shown WHERE at > :last_pull ORDER BY n", None),
    ("SELECT * FROM shown WHERE number > :last_pull ORDER BY n", "sku"),
)
NAMES = (None, " ", "Bolt", "Nut", "a\x00b")


@dataclass(frozen=True)
class Step:
    """The source changes in some rows, and perhaps its columns; then a connector is pulled."""

    rows: Mapping[int, tuple[int | None, int | None, str | None] | None]  # by their place; None deletes
    shape: str
    connector: int
    full_refresh: bool
    seconds: int
    faults: tuple[str, ...]


_row = st.tuples(st.sampled_from([None, 1, 2, 3]), st.sampled_from([None, 1, 2]), st.sampled_from(NAMES))
_shape = st.sampled_from([next(iter(SHAPES))] * 4 + list(SHAPES))
_step = st.builds(
    Step,
    rows=st.dictionaries(st.integers(1, 8), _row | st.none(), max_size=8),
    shape=_shape,
    connector=st.integers(0, 1),
    full_refresh=st.booleans(),
    seconds=st.sampled_from([0, 1, 10, 4000]),
    faults=st.sampled_from([(), (), (), ("source_unreachable",), ("source_unreachable", "source_unreachable")]),
)
# Two connectors that fill one set: each has its query, key, name and batch size.
_options = st.fixed_dictionaries(
    {
        "read": st.sampled_from(READS),
        "id_column": st.sampled_from([None, None, "sku"]),
        "name_column": st.sampled_from([None, "name"]),
        "batch_size": st.integers(1, 5),
        "overlap": st.sampled_from([None, 2]),
    }
)
_property = settings(
    max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Case:
    """A source, and the connectors that read it into one set of an otherwise empty store."""

    def __init__(self, store: Store, database: sqlite3.Connection, options: tuple[dict[str, Any], ...]) -> None:
        self.store, self.database = store, database
        self.seconds = 0
        database.execute("CREATE TABLE items (n INTEGER PRIMARY KEY, id INTEGER, sku INTEGER, name TEXT, stamp TEXT)")
        self.connectors = [store.connectors.add(_new(one)).id for one in options]

    def take(self, step: Step) -> None:
        self.seconds += step.seconds
        for place, row in step.rows.items():
            self.database.execute("DELETE FROM items WHERE n = ?", [place])
            if row is not None:
                self.database.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?)", [place, *row, self._stamp()])
        self.database.execute("DROP VIEW IF EXISTS shown")
        # The last three are there to ask by, and are in no result.
        self.database.execute(f"CREATE VIEW shown AS SELECT {step.shape}, n, stamp AS at, sku AS number FROM items")

    def run(self, connector: Connector, receipt: Receipt, step: Step) -> Run:
        read = connector.model_copy(update={"query": connector.query.replace("*", _names(step.shape))})
        script = Script(at=1, faults=step.faults)
        databases = {"": self.database}
        return Run(self.store, read, receipt, script, databases, self.clock, SHAPES[step.shape])

    def clock(self) -> datetime:
        return instant(self.seconds)

    def _stamp(self) -> str:
        return instant(self.seconds).isoformat()


def _new(options: dict[str, Any]) -> NewConnector:
    given = {
        "name": "Items",
        "connector_type": "shelf",
        "vertical": "testing",
        "entity_type": "item",
        "connection_config": {"database": ""},
    }
    query, cursor_column = options["read"]
    options = {"query": query, "cursor_column": cursor_column, **options}
    return NewConnector.model_validate(given | {name: options[name] for name in options if name != "read"})


def _names(shape: str) -> str:
    return ", ".join(column.name for column in SHAPES[shape])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@_property
@given(options=st.tuples(_options, _options), steps=st.lists(_step, min_size=1, max_size=4))
def test_it_says_what_the_pull_that_follows_does(
    store: Store, monkeypatch: pytest.MonkeyPatch, options: tuple[dict[str, Any], ...], steps: list[Step]
) -> None:
    monkeypatch.setattr(unchanged, "_SHARE", 3)  # so that some of these few rows are left out, and not all
    empty(store)
    with closing(sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)) as database:
        case = Case(store, database, options)
        for step in steps:
            case.take(step)
            _hold(case, step)


def _hold(case: Case, step: Step) -> None:
    store = case.store
    connector = store.connectors.get(case.connectors[step.connector])
    receipt = store.pulls.begin(connector, f"run-{next(_numbers)}", Extent(full_refresh=step.full_refresh))
    known, columns = _entities(store), _columns(store, connector.id)
    run = case.run(connector, receipt, step)
    with unwritten(store):
        compared = _compared(run, Extent(full_refresh=step.full_refresh))

    run.go_on()

    if isinstance(compared, PullError):
        assert type(run.error) is type(compared)
        assert str(run.error) == str(compared)
        return
    assert run.outcome is not None, run.error
    ended = run.outcome.receipt.model_dump()
    assert {name: ended[name] for name in _COUNTED} == compared.model_dump(include=_COUNTED)
    assert compared.records_ingested == compared.records_new + compared.records_changed
    assert compared.duplicates_skipped == compared.records_unchanged + compared.keys_repeated
    after = _entities(store)
    assert compared.records_new == len(after) - len(known)
    changed = {id_: known[id_] for id_ in known if known[id_] != after[id_]}
    assert compared.records_changed == len(changed)
    assert len(compared.changed) == min(len(changed), SHOWN)
    for one in compared.changed:
        assert _shown(one.fields) == _differing(known[one.id], after[one.id])
    assert [(row.row, row.reason) for row in compared.rejected] == [
        (row.row, row.reason) for row in store.rejections.page(receipt.id, limit=SHOWN)[0]
    ]
    now = _columns(store, connector.id)
    assert compared.column_changes == (column_changes(columns_of(columns), columns_of(now)) if columns else [])


def _compared(run: Run, extent: Extent) -> Comparison | PullError:
    try:
        return run_dry_run(run.store, run.connector, run.open_source, extent=extent, limits=Limits(pauses=(0, 0)))
    except PullError as error:
        return error


_COUNTED = {
    "records_pulled",
    "records_ingested",
    "duplicates_skipped",
    "keys_repeated",
    "records_rejected",
    "rejected_by_reason",
    "warnings",
    "key_column",
    "name_column",
}


def _entities(store: Store) -> dict[UUID, dict[str, Any]]:
    """What each entity shows, with its name as one more field."""
    with store.engine.execution_options(reads=True).connect() as connection:
        rows = connection.execute(sa.select(tables.entity.c.id, tables.entity.c.name, tables.entity.c.data)).all()
    return {row.id: json.loads(row.data) | {"the name": row.name} for row in rows}


def _columns(store: Store, connector_id: UUID) -> list[list[str]]:
    health = tables.connector_health.c
    with store.engine.execution_options(reads=True).connect() as connection:
        found = connection.execute(sa.select(health.columns).where(health.connector_id == connector_id))
        return found.scalar_one_or_none() or []


def _shown(fields: list[Any]) -> list[tuple[Any, Any]]:
    return sorted(((_said(field.before), _said(field.after)) for field in fields), key=repr)


def _said(text: str | None) -> Any:
    return "absent" if text is None else json.loads(text)


def _differing(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[Any, Any]]:
    differing = (name for name in before.keys() | after.keys() if before.get(name, "") != after.get(name, ""))
    return sorted(((before.get(name, "absent"), after.get(name, "absent")) for name in differing), key=repr)


_numbers = count()
