"""One pull, from a source that does as it is told into a real store: retries, deadlines, heartbeats, cursors."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from qanatix_pipelines import pull as pulling
from qanatix_pipelines.batches import Batch, Column, Reading
from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.errors import (
    ColumnMissing,
    LoginRefused,
    PullSuperseded,
    ResultUnusable,
    SourceError,
    SourceTimeout,
    SourceUnreachable,
    StoreUnavailable,
)
from qanatix_pipelines.extents import NEW_ROWS, Extent
from qanatix_pipelines.limits import Limits
from qanatix_pipelines.pull import PullOutcome, pull, run_pull
from qanatix_pipelines.receipts import PullStatus, Receipt
from qanatix_pipelines.row_keys import UNKNOWN, Roles
from qanatix_pipelines.sources.source import Asked, Source, SourceConfig
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.connectors import ConnectorStore
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.watermarks import Watermark, Window

CLOCK = datetime(2026, 3, 7, 12, tzinfo=UTC)
OUTER_SECONDS = 10
SOON = Limits(pauses=(0, 0))
# What a source does next: give the rows of a batch, fail, or something else.
Step = list[Any] | BaseException | Callable[[], Awaitable[None]]


class Scripted(Source):
    """Each reading takes the next list of steps, and each batch holds `n`s. The last reading's end is the source's."""

    config_type = SourceConfig
    title = "Scripted"
    kind = "postgres"

    def __init__(self, *readings: list[Step], dtype: type[pl.DataType] = pl.Int64) -> None:
        self._readings = list(readings)
        self._dtype = dtype
        self.windows: list[Window] = []

    @classmethod
    def check_query(cls, query: str) -> Asked:
        return Asked(":last_pull" in query)

    @asynccontextmanager
    async def read(self, query: str, *, window: Window, batch_size: int) -> AsyncIterator[Reading]:
        del query, batch_size
        self.windows.append(window)
        columns = (Column("id", "integer", self._dtype),)
        yield Reading(columns, CLOCK, self._batches(self._readings.pop(0), columns))

    async def _batches(self, steps: list[Step], columns: tuple[Column, ...]) -> AsyncIterator[Batch]:
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, list):
                yield Batch(pl.DataFrame({"id": step}, schema={"id": self._dtype}), columns)
            else:
                await step()

    @property
    def starts(self) -> list[Watermark | None]:
        return [window.start(CLOCK + timedelta(days=1)) for window in self.windows]


@pytest.fixture
def new(store: Store) -> Callable[..., Connector]:
    def registered(**fields: object) -> Connector:
        given = {
            "name": "Items",
            "connector_type": "scripted",
            "vertical": "testing",
            "entity_type": "item",
            "connection_config": {},
            "query": "items after :last_pull",
        }
        return store.connectors.add(NewConnector.model_validate(given | fields))

    return registered


@pytest.fixture
def connector(new: Callable[..., Connector]) -> Connector:
    return new()


@pytest.fixture
def pulled(store: Store) -> Callable[..., PullOutcome]:
    def once(connector: Connector, source: Source, *, limits: Limits = SOON, extent: Extent = NEW_ROWS) -> PullOutcome:
        kept = store.connectors.get(connector.id)
        receipt = store.pulls.begin(kept, "run", extent)
        return run_pull(store, kept, receipt, lambda _config: source, limits=limits)

    return once


def away() -> SourceError:
    return SourceUnreachable("The source is away.", transient=True)


def counts(receipt: Receipt) -> tuple[int, int, int]:
    return receipt.records_pulled, receipt.records_ingested, receipt.duplicates_skipped


def last_receipt(store: Store) -> Receipt:
    with store.engine.connect() as connection:
        newest = sa.select(tables.pull.c.id).order_by(tables.pull.c.created_at.desc()).limit(1)
        return store.pulls.get(connection.execute(newest).scalar_one())


class TestFaults:
    def test_a_source_that_failed_for_a_moment_is_read_again_as_if_it_had_not(
        self, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        source = Scripted([[1, 2], away()], [[1], away()], [[1, 2], [3]])

        assert counts(pulled(connector, source).receipt) == (3, 3, 0)

    def test_what_only_a_failed_reading_saw_is_not_ingested(
        self, store: Store, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        pulled(connector, Scripted([[1, 9], away()], [[1]]))

        assert store.entities.counted("testing", "item").entities == 1

    def test_the_third_fault_is_the_pulls(
        self, store: Store, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        source = Scripted(*([[1], away()] for _ in range(4)))

        with pytest.raises(SourceUnreachable):
            pulled(connector, source)

        assert len(source.windows) == 3
        assert (last_receipt(store).status, last_receipt(store).error_code) == (PullStatus.FAILED, "source_unreachable")
        assert store.entities.counted("testing", "item").entities == 0

    def test_a_store_that_is_away_when_the_credentials_are_asked_for_is_waited_for(
        self, connector: Connector, pulled: Callable[..., PullOutcome], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = ConnectorStore.connection_config
        away = iter([StoreUnavailable(), StoreUnavailable()])

        def asked(store: ConnectorStore, connector: Connector) -> dict[str, Any]:
            for error in away:
                raise error
            return real(store, connector)

        monkeypatch.setattr(ConnectorStore, "connection_config", asked)

        assert counts(pulled(connector, Scripted([[1]])).receipt) == (1, 1, 0)

    def test_a_fault_that_does_not_pass_is_not_tried_again(
        self, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        source = Scripted([LoginRefused("The source refused the user.")], [[1]])

        with pytest.raises(LoginRefused):
            pulled(connector, source)

        assert len(source.windows) == 1

    def test_a_fault_of_ours_is_told_by_its_kind_alone(
        self, store: Store, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        with pytest.raises(KeyError):
            pulled(connector, Scripted([KeyError("hunter2")]))

        assert last_receipt(store).error_code == "pull_broken"
        assert "hunter2" not in last_receipt(store).model_dump_json()

    def test_an_interrupt_cancels_the_pull(
        self, store: Store, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        with pytest.raises(KeyboardInterrupt):
            pulled(connector, Scripted([[1], KeyboardInterrupt()]))

        assert (last_receipt(store).status, last_receipt(store).error_code) == (PullStatus.CANCELLED, "pull_cancelled")

    def test_a_failed_pull_leaves_last_pull_where_it_was(
        self, store: Store, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        with pytest.raises(LoginRefused):
            pulled(connector, Scripted([[1], LoginRefused("The source refused the user.")]))

        assert store.connectors.get(connector.id).watermark is None


class TestWithinARunningLoop:
    """As in a notebook, and where a run is executed within asyncio."""

    def test_a_pull_reads_and_commits(self, connector: Connector, pulled: Callable[..., PullOutcome]) -> None:
        async def notebook() -> PullOutcome:
            return pulled(connector, Scripted([[1, 2], away()], [[1, 2], [3]]))

        assert counts(asyncio.run(notebook()).receipt) == (3, 3, 0)

    def test_its_error_is_the_callers(self, connector: Connector, pulled: Callable[..., PullOutcome]) -> None:
        async def notebook() -> PullOutcome:
            return pulled(connector, Scripted([LoginRefused("The source refused the user.")]))

        with pytest.raises(LoginRefused):
            asyncio.run(notebook())

    def test_an_interrupt_of_the_caller_cancels_the_pull_and_waits_for_its_end(
        self, store: Store, connector: Connector, pulled: Callable[..., PullOutcome], interrupting: type[BaseException]
    ) -> None:
        ended = []

        async def interrupted() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append("closed")

        async def notebook() -> PullOutcome:
            return pulled(connector, Scripted([[1], interrupted]))

        with pytest.raises(interrupting):
            asyncio.run(notebook())

        assert ended == ["closed"]
        assert (last_receipt(store).status, last_receipt(store).error_code) == (PullStatus.CANCELLED, "pull_cancelled")

    @pytest.fixture
    def interrupting(self) -> Iterator[type[BaseException]]:
        """What SIGINT raises in the main thread: an exception of a kind of its own, as in Dagster's runs."""

        class Interrupted(BaseException):
            pass

        def interrupt(*_: object) -> None:
            raise Interrupted

        before = signal.signal(signal.SIGINT, interrupt)
        yield Interrupted
        signal.signal(signal.SIGINT, before)


class TestDeadlines:
    @staticmethod
    async def silence() -> None:
        await asyncio.sleep(OUTER_SECONDS / 2)

    def test_a_source_that_does_not_answer_is_given_up(
        self, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        with pytest.raises(SourceTimeout, match=r"no answer within 0\.2 seconds"):
            pulled(connector, Scripted([[1], self.silence]), limits=Limits(answer_seconds=0.2))

    def test_a_source_that_always_has_a_little_more_is_given_up(
        self, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        async def moment() -> None:
            await asyncio.sleep(0.02)

        drip: list[Step] = [step for n in range(100) for step in (moment, [n])]

        with pytest.raises(SourceTimeout, match=r"took longer than 0\.5 seconds"):
            pulled(connector, Scripted(drip), limits=Limits(pull_seconds=0.5))

    def test_what_was_read_until_then_is_not_ingested(
        self, store: Store, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        with pytest.raises(SourceTimeout):
            pulled(connector, Scripted([[1], self.silence]), limits=Limits(answer_seconds=0.2))

        assert store.entities.counted("testing", "item").entities == 0
        assert last_receipt(store).error_code == "source_timeout"

    def test_a_timeout_of_somebody_elses_is_not_called_ours(
        self, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        with pytest.raises(TimeoutError):
            pulled(connector, Scripted([TimeoutError()]))


class TestHeartbeat:
    @pytest.fixture(autouse=True)
    def _often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pulling, "LEASE_SECONDS", 0.06)

    def test_a_pull_whose_source_takes_its_time_renews_its_lease(
        self, store: Store, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        async def until_renewed() -> None:
            lease = last_receipt(store).lease_until
            deadline = time.monotonic() + OUTER_SECONDS
            while last_receipt(store).lease_until == lease:
                assert time.monotonic() < deadline, "no heartbeat was written"
                await asyncio.sleep(0.02)

        assert counts(pulled(connector, Scripted([[1], until_renewed])).receipt) == (1, 1, 0)

    def test_a_pull_that_was_given_up_stops_its_reading(
        self, store: Store, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        ended: list[str] = []

        async def deleted_meanwhile() -> None:
            store.connectors.remove(connector.id)
            try:
                await asyncio.sleep(OUTER_SECONDS)
                ended.append("by itself")
            except asyncio.CancelledError:
                ended.append("by us")
                raise

        with pytest.raises(PullSuperseded):
            pulled(connector, Scripted([[1], deleted_meanwhile]))

        assert ended == ["by us"]


class _HeldBack(Ingestion):
    """Stages nothing before it is told to go on, once."""

    def __init__(self, store: Store, connector: Connector, receipt: Receipt) -> None:
        super().__init__(store.engine, connector, receipt)
        self.goes_on = threading.Event()

    def stage(self, batch: EntityBatch, rows: int, size: int = 0) -> None:
        assert self.goes_on.wait(OUTER_SECONDS)
        super().stage(batch, rows, size)


def test_a_batch_is_read_while_the_one_before_is_staged(store: Store, connector: Connector) -> None:
    ingestion = _HeldBack(store, connector, store.pulls.begin(connector, "run"))

    async def go_on() -> None:
        ingestion.goes_on.set()

    outcome = asyncio.run(pull(connector, Scripted([[1], go_on, [2]]), ingestion))

    assert outcome.receipt.records_ingested == 2


@pytest.mark.slow
def test_a_large_batch_is_staged_before_the_next_is_read(store: Store, connector: Connector) -> None:
    ingestion = _Watched(store, connector, store.pulls.begin(connector, "run"))
    staged = []

    async def look() -> None:
        staged.append(ingestion.staged.is_set())

    asyncio.run(pull(connector, Scripted([["x" * 2**20 * 9], look], dtype=pl.String), ingestion))

    assert staged == [True]


def test_a_source_is_read_again_only_when_nothing_is_being_staged(store: Store, connector: Connector) -> None:
    ingestion = _HeldBack(store, connector, store.pulls.begin(connector, "run"))

    async def break_off() -> None:
        asyncio.get_running_loop().call_later(0.1, ingestion.goes_on.set)
        raise away()

    outcome = asyncio.run(
        pull(connector, Scripted([[1, 2], break_off], [[1]]), ingestion, limits=Limits(pauses=(0.001,)))
    )

    assert (outcome.receipt.records_pulled, store.entities.counted("testing", "item").entities) == (1, 1)


class _Watched(Ingestion):
    """Tells when something is staged, when its commit is under way, and when it was cancelled."""

    def __init__(self, store: Store, connector: Connector, receipt: Receipt) -> None:
        super().__init__(store.engine, connector, receipt)
        self.staged, self.committing, self.cancelled = threading.Event(), threading.Event(), threading.Event()

    def stage(self, batch: EntityBatch, rows: int, size: int = 0) -> None:
        super().stage(batch, rows, size)
        self.staged.set()

    def begin_merge(self) -> None:
        if self._engine.dialect.name == "sqlite":
            self.committing.set()
        super().begin_merge()

    def commit(
        self,
        watermark: Watermark | None,
        read_at: datetime,
        started: float,
        columns: tuple[Column, ...] = (),
        roles: Roles = UNKNOWN,
        *,
        clock: datetime | None = None,
    ) -> Receipt:
        self.committing.set()
        return super().commit(watermark, read_at, started, columns, roles, clock=clock)

    def cancel(self) -> None:
        super().cancel()
        self.cancelled.set()


def test_a_pull_that_is_cancelled_while_it_commits_ingests_nothing(store: Store, connector: Connector) -> None:
    """Its commit waits for somebody who has the connector locked, or on SQLite everything."""
    receipt = store.pulls.begin(connector, "run")
    ingestion = _Watched(store, connector, receipt)

    async def cancel_it() -> None:
        with store.engine.connect() as other:

            async def lock() -> None:
                assert await asyncio.to_thread(ingestion.staged.wait, OUTER_SECONDS)
                other.begin()
                other.execute(sa.select(tables.connector).with_for_update())

            pulling_now = asyncio.create_task(pull(connector, Scripted([[1, 2], lock]), ingestion))
            assert await asyncio.to_thread(ingestion.committing.wait, OUTER_SECONDS)
            pulling_now.cancel()
            assert await asyncio.to_thread(ingestion.cancelled.wait, OUTER_SECONDS)
            other.rollback()
        with pytest.raises(asyncio.CancelledError):
            await pulling_now

    asyncio.run(cancel_it())  # and waits for the commit's thread

    assert store.pulls.get(receipt.id).status is PullStatus.RUNNING
    assert store.entities.counted("testing", "item").entities == 0


class TestLastPull:
    def test_a_pull_starts_where_the_last_one_began_less_the_overlap(
        self, new: Callable[..., Connector], pulled: Callable[..., PullOutcome]
    ) -> None:
        connector, source = new(overlap=60), Scripted([[1]], [[1]])

        pulled(connector, source)
        pulled(connector, source)

        assert source.starts == [None, CLOCK - timedelta(seconds=60)]

    def test_a_full_refresh_reads_everything_and_moves_on_from_there(
        self, new: Callable[..., Connector], pulled: Callable[..., PullOutcome], store: Store
    ) -> None:
        connector, source = new(overlap=60), Scripted([[1]], [[1]])

        pulled(connector, source)
        refreshed = pulled(connector, source, extent=Extent(full_refresh=True))

        assert source.starts == [None, None]
        assert counts(refreshed.receipt) == (1, 0, 1)
        assert store.connectors.get(connector.id).watermark == CLOCK

    def test_time_passes_by_our_own_clock_between_two_pulls(
        self, store: Store, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        source = Scripted([[1]], [[1]])
        pulled(connector, source)
        with store.engine.begin() as transaction:
            hour_ago = store.connectors.get(connector.id).watermark_at - timedelta(hours=1)
            transaction.execute(tables.connector.update().values(watermark_at=hour_ago))

        pulled(connector, source)

        assert source.windows[1].elapsed >= timedelta(hours=1)


class TestParts:
    """Pulls that are asked for a part of their source."""

    JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
    FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)

    @pytest.mark.parametrize(
        "extent",
        [
            Extent(since=JANUARY),
            Extent(since=JANUARY, until=FEBRUARY),
            Extent(limit=1),
            Extent(since=FEBRUARY, limit=1),
        ],
        ids=["since", "window", "limit", "some since"],
    )
    def test_the_watermark_is_left_alone_and_the_rows_are_ingested(
        self, new: Callable[..., Connector], pulled: Callable[..., PullOutcome], store: Store, extent: Extent
    ) -> None:
        connector, source = new(), Scripted([[1]], [[2]])
        pulled(connector, source)
        before = store.connectors.get(connector.id)

        receipt = pulled(connector, source, extent=extent).receipt

        assert counts(receipt) == (1, 1, 0)
        assert (receipt.extent, receipt.watermark) == (extent, None)
        assert store.connectors.get(connector.id) == before

    def test_a_window_is_bound_as_it_was_given(
        self, new: Callable[..., Connector], pulled: Callable[..., PullOutcome]
    ) -> None:
        connector, source = new(overlap=60), Scripted([[1]], [[1]])
        pulled(connector, source)
        later = CLOCK + timedelta(days=300)

        pulled(connector, source, extent=Extent(since=later, until=later + timedelta(days=1)))

        assert source.windows[1].start(CLOCK) == later
        assert source.windows[1].until == later + timedelta(days=1)

    def test_integers_are_bound_as_they_were_given(
        self, new: Callable[..., Connector], pulled: Callable[..., PullOutcome], store: Store
    ) -> None:
        connector, source = new(cursor_column="id", overlap=100), Scripted([[7]], [[9]])
        pulled(connector, source)

        pulled(connector, source, extent=Extent(since=5, until=8, limit=3))

        assert (source.windows[1].start(CLOCK), source.windows[1].until, source.windows[1].rows) == (5, 8, 3)
        assert source.windows[1].integer
        assert store.connectors.get(connector.id).watermark == 7

    def test_a_limit_alone_begins_where_the_next_pull_does(
        self, new: Callable[..., Connector], pulled: Callable[..., PullOutcome]
    ) -> None:
        connector, source = new(overlap=60), Scripted([[1]], [[1]], [[1]])

        pulled(connector, source, extent=Extent(limit=5))
        pulled(connector, source)
        pulled(connector, source, extent=Extent(limit=5))

        assert source.starts == [None, None, CLOCK - timedelta(seconds=60)]
        assert [window.rows for window in source.windows] == [5, None, 5]

    def test_a_source_that_fails_for_a_moment_is_read_again_from_the_same_place(
        self, connector: Connector, pulled: Callable[..., PullOutcome]
    ) -> None:
        source = Scripted([[1], away()], [[1], [2]])

        receipt = pulled(connector, source, extent=Extent(since=self.JANUARY)).receipt

        assert (counts(receipt), source.starts) == ((2, 2, 0), [self.JANUARY, self.JANUARY])

    def test_the_next_attempt_of_a_pull_whose_process_died_reads_the_same_part(
        self, new: Callable[..., Connector], pulled: Callable[..., PullOutcome], store: Store
    ) -> None:
        connector, source = new(), Scripted([[1]], [[1], [2]])
        pulled(connector, source)
        kept = store.connectors.get(connector.id)
        extent = Extent(since=self.JANUARY, until=self.FEBRUARY, limit=2)
        died = store.pulls.begin(kept, "run", extent)
        assert store.pulls.retry(died)

        again = store.pulls.claim(died.id, kept, "another run")
        receipt = run_pull(store, kept, again, lambda _config: source, limits=SOON).receipt

        window = source.windows[1]
        assert (window.watermark, window.until, window.rows) == (self.JANUARY, self.FEBRUARY, 2)
        assert (receipt.attempt, receipt.extent, counts(receipt)) == (2, extent, (2, 1, 1))
        assert store.connectors.get(connector.id) == kept


class TestIntegerCursors:
    def test_the_greatest_number_in_any_order_is_kept(
        self, store: Store, new: Callable[..., Connector], pulled: Callable[..., PullOutcome]
    ) -> None:
        connector = new(cursor_column="id")

        pulled(connector, Scripted([[5, 9], [3]]))

        assert store.connectors.get(connector.id).watermark == 9

    def test_the_next_pull_starts_an_overlap_before_it(
        self, new: Callable[..., Connector], pulled: Callable[..., PullOutcome]
    ) -> None:
        connector, source = new(cursor_column="id", overlap=3), Scripted([[9]], [[9]])

        pulled(connector, source)
        pulled(connector, source)

        assert source.starts == [None, 6]
        assert source.windows[1].integer

    def test_a_number_may_have_more_digits_than_64_bits(
        self, store: Store, new: Callable[..., Connector], pulled: Callable[..., PullOutcome]
    ) -> None:
        connector = new(cursor_column="id")

        pulled(connector, Scripted([[str(2**64), "7"]], dtype=pl.String))

        assert store.connectors.get(connector.id).watermark == 2**64

    def test_a_pull_without_rows_leaves_it(
        self, store: Store, new: Callable[..., Connector], pulled: Callable[..., PullOutcome]
    ) -> None:
        connector = new(cursor_column="id")
        pulled(connector, Scripted([[9]]))

        pulled(connector, Scripted([]))

        assert store.connectors.get(connector.id).watermark == 9

    @pytest.mark.parametrize(
        ("dtype", "values", "greatest"),
        [
            (pl.String, ["null", "7", None], 7),
            (pl.String, ["null", None], None),
            (pl.String, ["1732000000001.0", "1732000000000"], 1_732_000_000_001),
            (pl.String, ["1e+3", "999", "1.2E2"], 1000),
            (pl.String, ["-5", "-0.0"], 0),
            (pl.String, ["12345678901234567890123456789012345678.0"], 12345678901234567890123456789012345678),
            (pl.Float64, [1_732_000_000_001.0, None], 1_732_000_000_001),
        ],
    )
    def test_null_is_skipped_and_a_whole_number_is_an_integer(
        self,
        store: Store,
        new: Callable[..., Connector],
        pulled: Callable[..., PullOutcome],
        dtype: type[pl.DataType],
        values: list[object],
        greatest: int | None,
    ) -> None:
        connector = new(cursor_column="id")

        pulled(connector, Scripted([values], dtype=dtype))

        assert store.connectors.get(connector.id).watermark == greatest

    @pytest.mark.parametrize("text", ["1.5", "1e-3", '"7"', '"n/a"', "e", "1e40", "1e999999999999", "9" * 39, '"NaN"'])
    def test_a_text_that_is_no_whole_number_of_38_digits_is_refused(
        self, new: Callable[..., Connector], pulled: Callable[..., PullOutcome], text: str
    ) -> None:
        with pytest.raises(ResultUnusable, match="something else than integers"):
            pulled(new(cursor_column="id"), Scripted([["1", text]], dtype=pl.String))

    @pytest.mark.parametrize(
        ("dtype", "value"),
        [(pl.Float64, 1.5), (pl.Float64, float("nan")), (pl.String, "2026-03-07"), (pl.Boolean, True)],
    )
    def test_a_column_of_something_else_is_refused(
        self, new: Callable[..., Connector], pulled: Callable[..., PullOutcome], dtype: type[pl.DataType], value: object
    ) -> None:
        with pytest.raises(ResultUnusable, match="something else than integers"):
            pulled(new(cursor_column="id"), Scripted([[value]], dtype=dtype))

    def test_a_column_that_is_not_there_is_named(
        self, new: Callable[..., Connector], pulled: Callable[..., PullOutcome]
    ) -> None:
        with pytest.raises(ColumnMissing, match="no column 'seq'"):
            pulled(new(cursor_column="seq"), Scripted([[1]]))

    def test_of_very_many_columns_some_are_named(self) -> None:
        error = ColumnMissing("seq", "cursor_column", ["x" * 100, *(f"c{n}" for n in range(1000))])

        assert f"Its columns are '{'x' * 64}…', 'c0', " in str(error)
        assert str(error).endswith("'c18' and 981 more.")
