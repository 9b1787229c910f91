"""The dry run of a pull: what it shows, and that nothing of it stays."""

import asyncio
import gc
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import polars as pl
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines import comparisons
from qanatix_pipelines.batches import Column
from qanatix_pipelines.comparisons import Comparison, FieldChange, field_changes
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.dry_run import run_dry_run
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.errors import LoginRefused, MergeTimeout, PullCancelled, SourceTimeout, StoreUnavailable
from qanatix_pipelines.health import ColumnChange
from qanatix_pipelines.limits import Limits
from qanatix_pipelines.row_keys import UNKNOWN, Roles
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.trial import Trial
from qanatix_pipelines.store.unchanged import Unchanged
from qanatix_pipelines.tenants import Tenant
from tests.campaigns.dumps import dump, unwritten
from tests.test_pull import SOON, Scripted, away
from tests.test_store import NEW, READ_AT, ingest, ingestion
from tests.test_store import batch as numbered

Batches = tuple[EntityBatch, ...]


def batch(*rows: tuple[int, str], duplicates: int = 0) -> EntityBatch:
    """Entities with these ids and contents. The numbers stand where ids are told apart first."""
    made = numbered(*rows, duplicates=duplicates)
    id_ = pl.col("id")
    return replace(made, frame=made.frame.with_columns(id=id_.bin.slice(8) + id_.bin.slice(0, 8)))


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


def tried(
    store: Store,
    connector: Connector,
    *batches: EntityBatch,
    columns: tuple[Column, ...] = (),
    roles: Roles = UNKNOWN,
) -> Comparison:
    with Trial(store.engine, connector) as trial:
        for one in batches:
            trial.stage(one, one.frame.height + one.duplicates)
        return trial.compare(columns, roles)


def counts(compared: Comparison) -> tuple[int, int, int, int]:
    return compared.records_new, compared.records_changed, compared.records_unchanged, compared.keys_repeated


def dry_run(store: Store, connector: Connector, source: Scripted, limits: Limits = SOON) -> Comparison:
    return run_dry_run(store, connector, lambda _config: source, limits=limits)


_objects = st.dictionaries(
    st.text(max_size=3), st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=4), max_size=5
)


class TestCounts:
    @pytest.mark.parametrize(
        ("batches", "expected"),
        [
            ((), (0, 0, 0, 0)),
            ((batch((1, "a"), (2, "b")),), (0, 0, 2, 0)),
            ((batch((1, "z"), (3, "c")),), (1, 1, 0, 0)),
            ((batch((3, "a")), batch((3, "b"))), (1, 0, 0, 1)),
            ((batch((3, "a")), batch((3, "a"))), (1, 0, 1, 0)),
            ((batch((1, "z")), batch((1, "a"))), (0, 0, 1, 1)),
            ((batch((1, "a")), batch((1, "z"))), (0, 1, 0, 1)),
            ((batch((1, "a"), duplicates=2),), (0, 0, 3, 0)),
        ],
    )
    def test_a_row_is_new_or_changes_an_entity_or_is_as_it_is_kept_or_repeats_a_key(
        self, store: Store, connector: Connector, batches: Batches, expected: tuple[int, int, int, int]
    ) -> None:
        ingest(store, connector, batch((1, "a"), (2, "b")))

        assert counts(tried(store, connector, *batches)) == expected
        assert ingest(store, connector, *batches) == (sum(expected[:2]), sum(expected[2:]))

    def test_what_another_set_or_tenant_has_is_not_compared_with(self, store: Store, connector: Connector) -> None:
        ingest(store, connector, batch((1, "a")))
        others = store.of(Tenant("acme"))

        assert counts(tried(others, others.connectors.add(NEW), batch((1, "a")))) == (1, 0, 0, 0)


class TestShown:
    def test_a_changed_entity_is_shown_as_it_is_and_as_it_would_be(self, store: Store, connector: Connector) -> None:
        ingest(store, connector, batch((1, "a"), (2, "b")))

        (changed,) = tried(store, connector, batch((1, "z"), (2, "b"), (3, "c")), roles=Roles("id", "title")).changed

        assert (changed.id, changed.source_id, changed.name) == (UUID(int=1 << 64), "1", "z")
        assert [(field.field, field.before, field.after) for field in changed.fields] == [
            ("title", '"a"', '"z"'),
            ("is", '"a"', '"z"'),
        ]

    def test_the_first_are_shown_in_the_sources_order(
        self, store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("qanatix_pipelines.store.trial.SHOWN", 2)
        ingest(store, connector, batch((1, "a"), (2, "b"), (3, "c")))

        compared = tried(store, connector, batch((3, "z"), (1, "z"), (2, "z")))

        assert compared.records_changed == 3
        assert [changed.source_id for changed in compared.changed] == ["3", "1"]

    def test_of_an_entity_with_many_fields_some_are_shown(
        self, store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("qanatix_pipelines.store.trial.FIELDS_SHOWN", 1)
        ingest(store, connector, batch((1, "a")))

        (changed,) = tried(store, connector, batch((1, "z"))).changed

        assert ([field.field for field in changed.fields], changed.more) == (["name"], 1)

    def test_columns_are_compared_with_those_of_the_last_pull(self, store: Store, connector: Connector) -> None:
        def columns(**types: str) -> tuple[Column, ...]:
            return tuple(Column(name, type_, pl.String) for name, type_ in types.items())

        pull = ingestion(store, connector)
        first = columns(id="integer", price="numeric", old="text")
        assert tried(store, connector, columns=first).column_changes == []
        pull.commit(None, READ_AT, time.monotonic(), first)

        assert tried(store, connector, columns=columns(id="integer", price="text", new="date")).column_changes == [
            ColumnChange(name="new", before=None, after="date"),
            ColumnChange(name="old", before="text", after=None),
            ColumnChange(name="price", before="numeric", after="text"),
        ]


class TestFields:
    @pytest.mark.parametrize(
        ("before", "after", "changes"),
        [
            ('{"a":1}', '{"a":1}', []),
            ('{"a":1.10}', '{"a":1.1}', [("a", "1.10", "1.1")]),
            ('{"a":1}', "{}", [("a", "1", None)]),
            ("{}", '{"a":null}', [("a", None, "null")]),
            ('{"a":{"b":[{"c":2}]},"d":1}', '{"a":{"b":[{}]},"d":1}', [("a", '{"b":[{"c":2}]}', '{"b":[{}]}')]),
            ('{"a": "x, \\"y\\": {" , "b":2}', '{"a":"x","b":2}', [("a", '"x, \\"y\\": {"', '"x"')]),
            ('{"a\\"b":"\\\\"}', '{"a\\"b":"\\\\\\\\"}', [('a"b', '"\\\\"', '"\\\\\\\\"')]),
            ('{"a":"","":1}', '{"a":[],"":1}', [("a", '""', "[]")]),
        ],
    )  # fmt: skip
    def test_a_change_is_told_as_it_is_written(self, before: str, after: str, changes: list[Any]) -> None:
        told = [(change.field, change.before, change.after) for change in field_changes(before, after)]

        assert told == changes

    @given(_objects, _objects)
    def test_any_two_objects_differ_where_their_values_do(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        told = {change.field: change for change in field_changes(json.dumps(before), json.dumps(after))}

        assert told.keys() == {
            name
            for name in before.keys() | after.keys()
            if (name in before, before.get(name)) != (name in after, after.get(name))
        }
        for name, change in told.items():
            assert (change.before is None, change.after is None) == (name not in before, name not in after)

    def test_a_long_value_is_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(comparisons, "CHARACTERS_SHOWN", 4)

        assert list(field_changes('{"a":"abcdef"}', '{"a":1234}')) == [
            FieldChange(field="a", before='"\\"abc…"', after="1234")
        ]


class TestNothingStays:
    def test_the_store_is_as_it_was(self, store: Store, connector: Connector) -> None:
        ingest(store, connector, batch((1, "a"), (2, "b")))

        with unwritten(store):
            tried(store, connector, batch((1, "z"), (3, "c")))

    def test_of_one_that_breaks_off_neither(self, store: Store, connector: Connector) -> None:
        with unwritten(store), pytest.raises(KeyboardInterrupt):
            dry_run(store, connector, Scripted([[1, 2], KeyboardInterrupt()]))

        if store.engine.dialect.name == "postgresql":
            assert _trials(store) == 0

    def test_the_server_itself_refuses_to_change_anything_else(self, store: Store, connector: Connector) -> None:
        if store.engine.dialect.name == "sqlite":
            pytest.skip("SQLite cannot tell a temporary table from others there")
        with Trial(store.engine, connector) as trial:
            trial.stage(batch((1, "a")), 1)
            trial.restart()
            connection = trial._scratch.connection
            with pytest.raises(sa.exc.InternalError, match="read-only transaction"), connection.begin():
                connection.execute(tables.connector.delete())

    def test_nobody_waits_for_it(self, store: Store, connector: Connector) -> None:
        """A pull of the same connector begins and ends while it goes on."""
        with Trial(store.engine, connector) as trial:
            trial.stage(batch((1, "a")), 1)
            assert ingest(store, connector, batch((1, "a"))) == (1, 0)
            trial.stage(batch((2, "b")), 1)
            with trial._snapshot():
                assert ingest(store, connector, batch((3, "c"))) == (1, 0)
            assert counts(trial.compare((), UNKNOWN)) == (1, 0, 1, 0)

    def test_it_waits_for_nobody(self, store: Store, connector: Connector) -> None:
        with store.engine.begin() as another:
            another.execute(tables.connector.update().values(name="Changed"))

            assert counts(tried(store, connector, batch((1, "a")))) == (1, 0, 0, 0)

    def test_a_user_who_may_make_no_temporary_tables_is_told_so(self, store: Store, connector: Connector) -> None:
        if store.engine.dialect.name == "sqlite":
            pytest.skip("SQLite has no users")
        with _without_the_right(store), pytest.raises(StoreUnavailable) as raised:
            tried(store, connector)

        assert "GRANT TEMPORARY" in (raised.value.reason or "")


class TestFaults:
    def test_a_source_that_failed_for_a_moment_is_read_again_as_if_it_had_not(
        self, store: Store, connector: Connector
    ) -> None:
        source = Scripted([[1, 2], away()], [[1], away()], [[1, 2], [3]])

        assert counts(dry_run(store, connector, source)) == (3, 0, 0, 0)

    @pytest.mark.usefixtures("caplog")  # which keeps what is logged
    def test_a_log_keeps_nothing_of_what_is_tried_again(self, store: Store, connector: Connector) -> None:
        dry_run(store, connector, Scripted([[1, 2], away()], [[1, 2]]))
        gc.collect()

        assert [one for one in gc.get_objects() if type(one) is Unchanged] == []

    def test_a_fault_that_does_not_pass_is_not_tried_again(self, store: Store, connector: Connector) -> None:
        source = Scripted([LoginRefused("The source refused the user.")], [[1]])

        with pytest.raises(LoginRefused):
            dry_run(store, connector, source)

        assert len(source.windows) == 1

    def test_a_source_that_does_not_answer_is_given_up(self, store: Store, connector: Connector) -> None:
        with pytest.raises(SourceTimeout):
            dry_run(store, connector, Scripted([[1], asyncio.Event().wait]), Limits(answer_seconds=0.05, pauses=()))

    def test_a_comparison_is_given_up_at_its_deadline(
        self, store: Store, connector: Connector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Trial, "_states", _endless)

        with pytest.raises(MergeTimeout):
            dry_run(store, connector, Scripted([[1]]), Limits(merge_seconds=0.2))

    def test_a_comparison_is_cancelled_while_it_works(self, store: Store, connector: Connector) -> None:
        with Trial(store.engine, connector) as trial:
            trial.cancel()
            with pytest.raises(PullCancelled):
                trial.compare((), UNKNOWN)

    def test_no_pull_is_asked_for(self, store: Store, connector: Connector) -> None:
        dry_run(store, connector, Scripted([[1]]))

        assert dump(store)["pull"] == []
        assert store.connectors.get(connector.id) == connector


def _endless(_trial: Trial, connection: sa.Connection, _leaf: object) -> dict[bool | None, int]:
    """A statement that only an interruption ends."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i > 0) SELECT count(*) FROM n"
    connection.exec_driver_sql(numbers if connection.dialect.name == "sqlite" else "SELECT pg_sleep(600)")
    raise AssertionError("nothing else ends it")


@contextmanager
def _without_the_right(store: Store) -> Iterator[None]:
    """PostgreSQL gives it to everybody, unless the operator takes it back."""

    def act(connection: Any, *_: object) -> None:
        connection.execute("SET ROLE plain")

    def run(*statements: str) -> None:
        with store.engine.begin() as transaction:
            for statement in statements:
                transaction.exec_driver_sql(statement)

    database = store.engine.url.database
    run("CREATE ROLE plain", "GRANT plain TO CURRENT_USER", f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    sa.event.listen(store.engine, "checkout", act)
    try:
        yield
    finally:
        sa.event.remove(store.engine, "checkout", act)
        store.engine.dispose()
        run("DROP ROLE plain", f"GRANT TEMPORARY ON DATABASE {database} TO PUBLIC")


def _trials(store: Store) -> int:
    """How many temporary tables of trials there are."""
    with store.engine.connect() as connection:
        found = "SELECT count(*) FROM pg_class WHERE relname = 'scratch' AND relpersistence = 't'"
        return int(connection.exec_driver_sql(found).scalar_one())
