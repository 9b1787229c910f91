"""The trial of a pull: what it would ingest is staged in a temporary table, compared with the store, and forgotten.

Nothing that others see is written, and no lock is taken that another waits for.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import sqlalchemy as sa

from qanatix_pipelines.batches import Column
from qanatix_pipelines.comparisons import (
    CHARACTERS_SHOWN,
    FIELDS_SHOWN,
    SHOWN,
    ChangedEntity,
    Comparison,
    RejectedRow,
    field_change,
    field_changes,
)
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.errors import PullCancelled, StoreUnavailable
from qanatix_pipelines.health import ColumnChange, column_changes
from qanatix_pipelines.row_keys import Repeated, Roles
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.engine import interrupt
from qanatix_pipelines.store.entity_sets import find
from qanatix_pipelines.store.health import columns_of
from qanatix_pipelines.store.leaves import Leaf, exists, leaf_of
from qanatix_pipelines.store.repeated import repeated
from qanatix_pipelines.store.scratch import Scratch
from qanatix_pipelines.store.staged import newest, numbered
from qanatix_pipelines.store.tally import Tally
from qanatix_pipelines.store.unchanged import Unchanged

# SQLSTATE insufficient_privilege (PostgreSQL documentation, appendix A).
_NOT_ALLOWED = "42501"
_NO_TEMPORARY_TABLES = (
    "The store's user may make no temporary tables: GRANT TEMPORARY ON DATABASE ... TO ... allows it."
)


class Trial:
    """A context in which a connector's next pull is tried. Takes its batches as `Ingestion` does.

    Every method raises StoreFull and StoreUnavailable: at once, because what was staged is lost with its connection.
    """

    def __init__(self, engine: sa.Engine, connector: Connector) -> None:
        self._engine = engine
        self._connector = connector
        self._cancelled = False
        self._comparing: Any = None  # the driver's connection, while it compares

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    def restart(self) -> None:
        """Forget what was staged: the source is read again from the beginning."""
        self._scratch.close()
        self._begin()

    def stage(self, batch: EntityBatch, rows: int, size: int = 0) -> None:
        """Stage a batch, which was made of `rows` rows of `size` bytes."""
        frame = self._unchanged.left_out(batch.frame)
        self._scratch.put(numbered(frame, self._tally.staged))
        self._tally.add(batch, frame.height, rows, size)

    def compare(self, columns: tuple[Column, ...], roles: Roles) -> Comparison:
        """What the commit of a pull would count now, by the statements of its merge; and what of it is shown.

        `columns` are the query's, empty if they vary with the rows; `roles` are the key's and the name's columns.
        Raises PullCancelled after `cancel`.
        """
        tally = self._tally
        with self._snapshot() as connection:
            leaf = self._leaf(connection)
            states = self._states(connection, leaf)
            new, changed = states.get(None, 0), states.get(False, 0)
            ingested = new + changed
            self._check_cancelled()
            lost = repeated(connection, Scratch.staged) if ingested < tally.staged else Repeated()
            self._check_cancelled()
            duplicates = tally.duplicates + tally.staged - ingested
            return Comparison(
                records_pulled=tally.pulled,
                records_ingested=ingested,
                records_new=new,
                records_changed=changed,
                duplicates_skipped=duplicates,
                records_unchanged=duplicates - lost.rows,
                keys_repeated=lost.rows,
                records_rejected=tally.rejected.total(),
                rejected_by_reason=dict(tally.rejected),
                warnings=tally.warnings(roles, lost),
                key_column=roles.key,
                name_column=roles.name,
                column_changes=self._column_changes(connection, columns),
                changed=list(self._changed(connection, leaf, roles)) if leaf is not None and changed else [],
                rejected=list(map(RejectedRow.of, tally.rejections[:SHOWN])),
            )

    def cancel(self) -> None:
        """Interrupt the `compare` of another thread: it raises PullCancelled there, unless it has ended already."""
        self._cancelled = True
        if (connection := self._comparing) is not None:
            interrupt(self._engine, connection)

    def _begin(self) -> None:
        self._tally = Tally()
        self._unchanged = Unchanged(self._engine, self._connector)
        try:
            self._scratch = Scratch(self._engine)
        except sa.exc.ProgrammingError as error:
            if getattr(error.orig, "sqlstate", None) == _NOT_ALLOWED:
                raise StoreUnavailable(_NO_TEMPORARY_TABLES) from None
            raise
        if self._engine.dialect.name == "postgresql":
            with self._scratch.connection.begin():
                self._scratch.connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")

    @contextmanager
    def _snapshot(self) -> Iterator[sa.Connection]:
        """One state of the store for all that is asked of it."""
        connection = self._scratch.connection
        try:
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                self._comparing = connection.connection.dbapi_connection  # a detached one has no other
                self._check_cancelled()
                yield connection
        except StoreUnavailable:
            self._check_cancelled()
            raise
        finally:
            self._comparing = None

    def _check_cancelled(self) -> None:
        if self._cancelled:
            raise PullCancelled

    def _leaf(self, connection: sa.Connection) -> Leaf | None:
        """Where the set's entities are; None if no pull has made any."""
        found = find(connection, self._connector)
        return leaf_of(connection, found.number) if found is not None and exists(connection, found.number) else None

    def _states(self, connection: sa.Connection, leaf: Leaf | None) -> dict[bool | None, int]:
        """How many entities the merge would leave as they are (True), change (False), and make (None)."""
        given, first = newest(connection, Scratch.staged)
        same = sa.select(_same(given, leaf).label("same")).select_from(given).where(first).subquery().c.same
        counted = connection.execute(sa.select(same, sa.func.count()).group_by(same)).all()
        return {None if is_same is None else bool(is_same): count for is_same, count in counted}

    def _changed(self, connection: sa.Connection, leaf: Leaf, roles: Roles) -> Iterator[ChangedEntity]:
        """The first SHOWN entities that would change. One at a time is in memory."""
        given, first = newest(connection, Scratch.staged)
        changing = sa.select(given.c.row).where(first, sa.not_(_same(given, leaf))).order_by(given.c.row).limit(SHOWN)
        kept, staged = leaf.table.c, Scratch.staged.table
        for place in connection.execute(changing).scalars().all():
            self._check_cancelled()
            row = connection.execute(sa.select(staged).where(staged.c.row == place)).one()
            was = connection.execute(sa.select(kept.name, kept.data).where(leaf.own, kept.id == row.id)).one()
            changes = list(field_changes(was.data, row.data))
            if was.name != row.name:
                changes.insert(0, field_change(roles.name or "name", _json(was.name), _json(row.name)))
            yield ChangedEntity(
                id=row.id,
                source_id=row.source_id,
                name=None if row.name is None else row.name[:CHARACTERS_SHOWN],
                fields=changes[:FIELDS_SHOWN],
                more=max(0, len(changes) - FIELDS_SHOWN),
            )

    def _column_changes(self, connection: sa.Connection, columns: tuple[Column, ...]) -> list[ColumnChange]:
        """How the columns differ from those of the last completed pull. Empty before the first."""
        health = tables.connector_health.c
        found = sa.select(health.columns).where(health.connector_id == self._connector.id)
        before = columns_of(connection.execute(found).scalar_one_or_none() or [])
        after = tuple((column.name, column.source_type) for column in columns)
        return column_changes(before, after) if before and after else []


def _same(given: sa.Subquery, leaf: Leaf | None) -> sa.ColumnElement[bool | None]:
    """Whether the store has the entity with the same digest; NULL if it does not have it.

    A subquery for each row, not a join: it asks the index whatever the server believes of the tables.
    """
    if leaf is None:
        return sa.cast(sa.null(), sa.Boolean)
    kept = leaf.table.c
    found = sa.select(kept.digest == given.c.digest).where(leaf.own, kept.id == given.c.id)
    return found.correlate(given).scalar_subquery()


def _json(name: str | None) -> str:
    return json.dumps(name, ensure_ascii=False)
