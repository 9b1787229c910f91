"""Keys that are none: rows of one pull with one key and different content, and rows without a key."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from qanatix_pipelines.batches import Batch, Column
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.entities import EntityMaker
from qanatix_pipelines.health import SHOWN
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.row_keys import WarningCode
from qanatix_pipelines.store import tables, unchanged
from qanatix_pipelines.store.health import health_of
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store
from tests.test_store import NEW, READ_AT

Row = tuple[str | None, str]  # key, content

COLUMNS = (Column("id", "text", pl.String), Column("name", "text", pl.String))


@pytest.fixture
def connector(store: Store) -> Connector:
    return added(store)


def added(store: Store) -> Connector:
    return store.connectors.add(NEW.model_copy(update={"entity_type": f"type-{next(_numbers)}"}))


def pulled(
    store: Store,
    connector: Connector,
    *batches: Sequence[Row],
    columns: tuple[Column, ...] = COLUMNS,
    watermark: datetime | None = None,
    receipt: Receipt | None = None,
) -> Receipt:
    """The receipt of a pull of these rows: `receipt`, if that is claimed already."""
    pull = Ingestion(store.engine, connector, receipt or store.pulls.begin(connector, "run"))
    maker = EntityMaker(connector)
    maker.check(columns)
    for rows in batches:
        frame = pl.DataFrame(list(rows), schema=dict.fromkeys(("id", "name"), pl.String), orient="row")
        batch = Batch(frame.select(column.name for column in columns), columns)
        pull.stage(maker.make(batch), len(rows))
    return pull.commit(watermark, READ_AT, time.monotonic(), columns, maker.roles)


def repeated(rows: Sequence[Row]) -> int:
    """By the rule: those whose content is not that of the last row with their key."""
    last = dict(rows)
    return sum(key is not None and content != last[key] for key, content in rows)


_row = st.tuples(st.sampled_from(["1", "2", "3", None]), st.sampled_from("ab"))
_pull = st.tuples(st.lists(_row, max_size=12), st.integers(1, 5))
_property = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class TestCounted:
    @pytest.mark.slow
    @_property
    @given(st.lists(_pull, min_size=1, max_size=4))
    @example([([("1", "a")], 1), ([("1", "a"), ("1", "b")], 1)])  # one as it is kept, then another
    @example([([("1", "a")], 1), ([("1", "a"), ("1", "a"), ("1", "b")], 3)])
    @example([([("1", "a")], 1), ([("1", "a"), ("1", "b"), ("1", "a")], 1)])
    def test_any_pulls_in_any_batches_are_counted_by_the_rule(
        self, store: Store, pulls: list[tuple[list[Row], int]]
    ) -> None:
        self._hold(store, pulls)

    @pytest.mark.slow
    @_property
    @given(st.lists(_pull, min_size=1, max_size=4))
    def test_also_where_all_rows_look_as_if_they_had_been_staged(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, pulls: list[tuple[list[Row], int]]
    ) -> None:
        monkeypatch.setattr(unchanged, "_SPARE_BITS", 30)  # which leaves four places in the filter

        self._hold(store, pulls)

    def _hold(self, store: Store, pulls: list[tuple[list[Row], int]]) -> None:
        connector = added(store)
        for rows, size in pulls:
            batches = [rows[start : start + size] for start in range(0, len(rows), size)]

            receipt = pulled(store, connector, *batches)

            assert receipt.keys_repeated == repeated(rows)
            assert receipt.keys_repeated <= receipt.duplicates_skipped
            assert receipt.records_pulled == receipt.records_ingested + receipt.duplicates_skipped == len(rows)

    def test_rows_with_equal_content_are_duplicates_and_no_more(self, store: Store, connector: Connector) -> None:
        receipt = pulled(store, connector, [("1", "a"), ("1", "a")], [("1", "a")])

        assert (receipt.records_ingested, receipt.duplicates_skipped, receipt.keys_repeated) == (1, 2, 0)
        assert receipt.warnings == []

    def test_of_an_attempt_that_was_begun_again_nothing_is_counted(self, store: Store, connector: Connector) -> None:
        pull = Ingestion(store.engine, connector, store.pulls.begin(connector, "run"))
        maker = EntityMaker(connector)
        frame = pl.DataFrame([("1", "a"), ("1", "b"), (None, "c")], schema=["id", "name"], orient="row")
        pull.stage(maker.make(Batch(frame, COLUMNS)), 3)
        pull.restart()
        pull.stage(maker.make(Batch(frame[:1], COLUMNS)), 1)

        receipt = pull.commit(None, READ_AT, time.monotonic(), COLUMNS, maker.roles)

        assert (receipt.keys_repeated, receipt.warnings) == (0, [])

    def test_what_a_dead_attempt_has_staged_is_not_counted(self, store: Store, connector: Connector) -> None:
        receipt = store.pulls.begin(connector, "run")
        frame = pl.DataFrame([("1", "a")], schema=["id", "name"], orient="row")
        for name, attempt in (("a", 1), ("b", 2)):
            made = EntityMaker(connector).make(Batch(frame.with_columns(name=pl.lit(name)), COLUMNS))
            with store.engine.begin() as transaction:
                transaction.execute(tables.pull.update().values(attempt=attempt))
            pull = Ingestion(store.engine, connector, receipt.model_copy(update={"attempt": attempt}))
            for _ in range(attempt):
                pull.stage(made, 1)

        assert pull.commit(None, READ_AT, time.monotonic()).keys_repeated == 0


class TestWarnings:
    def test_ten_keys_are_named_of_those_with_the_most_rows(self, store: Store, connector: Connector) -> None:
        rows = [(str(key), str(number)) for key in range(12) for number in range(key + 1)]

        (warning,) = pulled(store, connector, rows).warnings

        assert warning.code is WarningCode.KEYS_REPEATED
        assert warning.detail == (
            "66 rows have the key of a later row, but other content. Only the last row with a key counts. Does the "
            "column 'id' tell rows apart? Else name one that does as id_column."
        )
        assert warning.keys == ["11", "10", "9", "8", "7", "6", "5", "4", "3", "2"]

    def test_one_row_is_not_told_of_as_rows(self, store: Store, connector: Connector) -> None:
        (warning,) = pulled(store, connector, [("1", "a"), ("1", "b")]).warnings

        assert warning.detail.startswith("1 row has the key of a later row, but other content.")

    def test_a_key_that_is_too_long_to_look_for_is_not_named(self, store: Store, connector: Connector) -> None:
        receipt = pulled(store, connector, [("x" * 501, "a"), ("x" * 501, "b")])

        assert receipt.keys_repeated == 1
        assert receipt.warnings[0].keys == []

    def test_a_result_without_a_key_is_told(self, store: Store, connector: Connector) -> None:
        receipt = pulled(store, connector, [("1", "a"), ("1", "b")], columns=COLUMNS[1:])

        assert [warning.code for warning in receipt.warnings] == [WarningCode.NO_KEY]
        assert (receipt.key_column, receipt.name_column, receipt.keys_repeated) == (None, "name", 0)

    def test_rows_without_a_key_are_counted(self, store: Store, connector: Connector) -> None:
        receipt = pulled(store, connector, [("1", "a"), (None, "b")], [(None, "c"), (None, "c")])

        (warning,) = receipt.warnings
        assert (warning.code, warning.detail[:46]) == (
            WarningCode.KEYS_NULL,
            "3 rows have no key: 'id' is null there. Each c",
        )
        assert (receipt.key_column, receipt.name_column) == ("id", "name")

    def test_where_nothing_is_pulled_nothing_is_warned_of(self, store: Store, connector: Connector) -> None:
        assert pulled(store, connector, columns=COLUMNS[1:]).warnings == []


class TestHealth:
    def test_a_warning_is_told_for_a_day(self, store: Store, connector: Connector) -> None:
        (warning,) = pulled(store, connector, [("1", "a"), ("1", "b")], watermark=READ_AT).warnings
        pulled(store, store.connectors.get(connector.id), watermark=READ_AT)

        (health,) = health_of(store.engine, "postgresql")

        assert health.warned_at is not None
        assert health.warning(health.warned_at + SHOWN) == warning.sentences
        assert health.warning(health.warned_at + SHOWN + timedelta(seconds=1)) is None

    def test_a_pull_that_reads_everything_and_warns_of_nothing_ends_it(
        self, store: Store, connector: Connector
    ) -> None:
        pulled(store, connector, [("1", "a"), ("1", "b")], watermark=READ_AT)
        pulled(store, connector, [("1", "b")])

        (health,) = health_of(store.engine, "postgresql")

        assert health.warning(READ_AT) is None


class TestColumns:
    def test_a_connector_is_told_what_its_last_result_had(self, store: Store, connector: Connector) -> None:
        pulled(store, connector, [("1", "a")])

        assert store.connectors.last_pulls()[connector.id].roles == ("id", "name")

    def test_after_another_query_nothing_is_known(self, store: Store, connector: Connector) -> None:
        pulled(store, connector, [("1", "a")])

        store.connectors.change(connector.id, {"query": "SELECT 1 AS id"})

        assert store.connectors.last_pulls()[connector.id].roles == (None, None)


_numbers = count()
