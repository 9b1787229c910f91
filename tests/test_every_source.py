"""One behaviour suite for every connector type, against its real server: what a source promises, it promises here."""

import asyncio
import math
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from qanatix_pipelines.batches import Batch
from qanatix_pipelines.comparisons import Comparison
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.dry_run import run_dry_run
from qanatix_pipelines.egress import Egress
from qanatix_pipelines.errors import (
    AddressRefused,
    InvalidConnector,
    LoginRefused,
    PullError,
    QueryRejected,
    ResultUnusable,
    SourceUnreachable,
)
from qanatix_pipelines.extents import NEW_ROWS, Extent
from qanatix_pipelines.pull import PullOutcome
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.rejections import Reason, Rejection
from qanatix_pipelines.sources import check_connector, open_source
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.watermarks import OVERLAP_SECONDS, Window
from tests.campaigns.dumps import unwritten
from tests.sources.harness import Harness

Register = Callable[..., Connector]
Pulled = Callable[[Connector], PullOutcome]
Rejected = Callable[[Receipt], Sequence[Rejection]]
SECRET = "not-the-password"


@pytest.fixture
def networked(harness: Harness) -> Harness:
    """One that is reached over a network."""
    if not harness.networked:
        pytest.skip("a file has no host, no port and no password")
    return harness


async def _read(harness: Harness, query: str, batch_size: int, config: dict[str, object] | None = None) -> list[Batch]:
    source = open_source(harness.connector_type, config or harness.config, **harness.allowed)
    async with source.read(query, window=Window(), batch_size=batch_size) as reading:
        return [batch async for batch in reading.batches]


def read(harness: Harness, query: str, batch_size: int = 100, config: dict[str, object] | None = None) -> list[Batch]:
    return asyncio.run(_read(harness, query, batch_size, config))


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 30])
def test_batches_hold_batch_size_rows_and_the_last_one_the_rest(harness: Harness, rows: int) -> None:
    harness.fill(rows)

    heights = [batch.frame.height for batch in read(harness, harness.everything, batch_size=10)]

    assert sum(heights) == rows
    assert heights[:-1] == [10] * (math.ceil(rows / 10) - 1 if rows else 0)
    assert all(0 < height <= 10 for height in heights)


def test_no_row_is_no_batch(harness: Harness) -> None:
    harness.fill(3)

    assert read(harness, harness.nothing) == []


def test_memory_does_not_grow_with_the_rows(harness: Harness) -> None:
    """Six times the rows, and hardly more memory: no more than a few batches are held at once."""

    async def peak() -> int:
        source = open_source(harness.connector_type, harness.config, **harness.allowed)
        tracemalloc.start()
        try:
            async with source.read(harness.everything, window=Window(), batch_size=100) as reading:
                rows = 0
                async for batch in reading.batches:
                    rows += batch.frame.height
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    harness.fill(1_000)
    asyncio.run(peak())  # what is imported and cached once is not counted
    few = asyncio.run(peak())
    harness.fill(6_000)
    many = asyncio.run(peak())

    assert many < 2.5 * few + MIB


MIB = 2**20


def test_a_row_of_15_mib_is_ingested(harness: Harness, register: Register, pulled: Pulled) -> None:
    harness.fill(3)

    receipt = pulled(register(harness, harness.with_body(15 * MIB, item=2), name_column="name")).receipt

    assert (receipt.records_pulled, receipt.records_ingested, receipt.records_rejected) == (3, 3, 0)


@pytest.mark.parametrize("size", [17 * MIB, 40 * MIB])
def test_a_row_of_17_mib_is_set_aside_with_its_place_and_the_pull_goes_on(
    harness: Harness, register: Register, pulled: Pulled, rejected: Rejected, size: int
) -> None:
    if size > harness.greatest_body:
        pytest.skip("no such row can be")
    harness.fill(3)

    receipt = pulled(register(harness, harness.with_body(size, item=2), name_column="name")).receipt

    assert (receipt.records_pulled, receipt.records_ingested, receipt.records_rejected) == (3, 2, 1)
    assert [(rejection.row, rejection.reason) for rejection in rejected(receipt)] == [(2, Reason.ROW_TOO_LARGE)]
    assert receipt.rejected_by_reason == {Reason.ROW_TOO_LARGE: 1}


def test_a_batch_has_32_mib_at_most_however_many_rows_it_may_have(harness: Harness) -> None:
    harness.fill(9)

    heights = [batch.frame.height for batch in read(harness, harness.with_body(5 * MIB), batch_size=9)]

    assert heights in ([6, 3], [5, 4])  # MySQL's driver may read two rows at once


def test_the_connection_is_closed_after_success(harness: Harness) -> None:
    harness.fill(30)

    read(harness, harness.everything, batch_size=10)

    assert _open_connections(harness) == 0


def test_the_connection_is_closed_when_the_reader_fails_midway(harness: Harness) -> None:
    harness.fill(30)

    async def fail_after_the_first_batch() -> None:
        source = open_source(harness.connector_type, harness.config, **harness.allowed)
        async with source.read(harness.everything, window=Window(), batch_size=10) as reading:
            async for _ in reading.batches:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(fail_after_the_first_batch())

    assert _open_connections(harness) == 0


def test_the_connection_is_closed_when_the_reader_walks_away(harness: Harness) -> None:
    harness.fill(30)

    async def take_one_batch() -> None:
        source = open_source(harness.connector_type, harness.config, **harness.allowed)
        async with source.read(harness.everything, window=Window(), batch_size=10) as reading:
            await anext(aiter(reading.batches))

    asyncio.run(take_one_batch())

    assert _open_connections(harness) == 0


def test_the_connection_is_closed_when_the_reader_is_cancelled(harness: Harness) -> None:
    harness.fill(30)

    async def cancelled() -> None:
        async def hang() -> None:
            source = open_source(harness.connector_type, harness.config, **harness.allowed)
            async with source.read(harness.everything, window=Window(), batch_size=10):
                reached.set()
                await asyncio.Event().wait()

        reached = asyncio.Event()
        task = asyncio.create_task(hang())
        await asyncio.wait_for(reached.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())

    assert _open_connections(harness) == 0


@pytest.mark.parametrize("ended_by", ["cancelling", "a deadline"])
def test_a_reading_that_is_given_up_ends_its_query_at_the_server(harness: Harness, ended_by: str) -> None:
    slow = harness.slow()

    async def give_up() -> None:
        reading = asyncio.create_task(_read(harness, slow, 10))
        await _comes_true(lambda: harness.at_work() == 1)
        if ended_by == "cancelling":
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reading, 0.01)
        await _comes_true(lambda: harness.at_work() == 0)

    asyncio.run(give_up())

    assert _open_connections(harness) == 0


def test_a_rejected_query_is_named_and_its_connection_closed(harness: Harness) -> None:
    harness.fill(1)

    with pytest.raises(QueryRejected):
        read(harness, harness.rejected)

    assert _open_connections(harness) == 0


def test_a_missing_table_is_a_rejected_query(harness: Harness) -> None:
    if harness.missing is None:
        pytest.skip("a table that is not there is an empty one for this type")

    with pytest.raises(QueryRejected):
        read(harness, harness.missing)


def test_a_query_cannot_write(harness: Harness) -> None:
    if harness.writing is None:
        pytest.skip("a query of this type cannot say it")
    harness.fill(3)

    with pytest.raises(QueryRejected):
        read(harness, harness.writing)

    assert sum(batch.frame.height for batch in read(harness, harness.everything)) == 3


def test_a_wrong_password_is_a_refused_login_that_does_not_show_it(networked: Harness) -> None:
    with pytest.raises(LoginRefused) as refused:
        read(networked, networked.everything, config=networked.wrong_password())

    assert SECRET not in _everything_said(refused.value)
    assert not refused.value.transient


def test_an_unknown_host_is_unreachable(networked: Harness) -> None:
    with pytest.raises(SourceUnreachable) as unreachable:
        read(networked, networked.everything, config=networked.unknown_host())

    assert "no-such-host" not in _everything_said(unreachable.value)
    assert not unreachable.value.transient


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".invalid", "..."])
def test_a_name_that_can_be_no_hosts_is_refused_or_unreachable(networked: Harness, host: str) -> None:
    def register_and_read() -> None:
        config = networked.changed(host=host)
        check_connector(networked.connector_type, config, networked.everything)
        read(networked, networked.everything, config=config)

    with pytest.raises((InvalidConnector, SourceUnreachable)) as refused:
        register_and_read()

    assert host not in _everything_said(refused.value)


def test_a_closed_port_is_unreachable_and_may_open_again(networked: Harness) -> None:
    with pytest.raises(SourceUnreachable) as unreachable:
        read(networked, networked.everything, config=networked.closed_port())

    assert unreachable.value.transient


def test_a_network_that_is_not_open_is_not_connected_to(
    networked: Harness, register: Register, pulled: Callable[..., PullOutcome]
) -> None:
    with pytest.raises(AddressRefused):
        pulled(register(networked, networked.everything), egress=Egress(loopback=False))

    assert _open_connections(networked) == 0


def test_rows_become_entities_once(harness: Harness, register: Register, pulled: Pulled, store: Store) -> None:
    harness.fill(25)
    connector = register(harness, harness.everything, batch_size=10)

    first, second = pulled(connector).receipt, pulled(connector).receipt

    assert (first.records_pulled, first.records_ingested, first.duplicates_skipped) == (25, 25, 0)
    assert (second.records_pulled, second.records_ingested, second.duplicates_skipped) == (25, 0, 25)
    assert store.entities.counted("testing", "item").entities == 25


def test_an_entity_has_its_rows_name_and_key(
    harness: Harness, register: Register, pulled: Pulled, store: Store
) -> None:
    harness.fill(1)

    pulled(register(harness, harness.everything))

    (entity,), _ = store.entities.page(vertical="testing", entity_type="item", limit=10, cursor=None)
    assert entity.name == "Item 1"
    assert entity.source_id == "1"


def test_the_first_pull_sees_all_and_the_next_what_changed_since(
    harness: Harness, register: Register, pulled: Pulled
) -> None:
    harness.fill(20)
    connector = register(harness, harness.since)

    assert pulled(connector).receipt.records_pulled == 20
    harness.touch([3, 4])
    second = pulled(connector).receipt
    assert (second.records_pulled, second.records_ingested) == (2, 2)
    third = pulled(connector).receipt  # both are still within the overlap
    assert (third.records_pulled, third.duplicates_skipped) == (2, 2)


def test_last_pull_moves_with_the_sources_clock(
    harness: Harness, register: Register, pulled: Pulled, store: Store
) -> None:
    harness.fill(1)
    connector = register(harness, harness.since)

    first = pulled(connector).receipt.watermark
    second = pulled(connector).receipt.watermark

    assert first is not None
    assert second is not None
    assert first < second < first + timedelta(seconds=OVERLAP_SECONDS)
    assert store.connectors.get(connector.id).watermark == second


def test_an_integer_cursor_sees_all_first_and_then_what_is_above_less_the_overlap(
    harness: Harness, register: Register, pulled: Pulled, store: Store
) -> None:
    harness.fill(20)
    connector = register(harness, harness.above, cursor_column=harness.id_column, overlap=3)

    first = pulled(connector).receipt
    second = pulled(connector).receipt

    assert (first.records_pulled, first.watermark) == (20, 20)
    assert (second.records_pulled, second.duplicates_skipped, second.watermark) == (3, 3, 20)
    assert store.connectors.get(connector.id).watermark == 20


def test_an_integer_cursor_stays_where_it_is_while_its_rows_are_gone(
    harness: Harness, register: Register, pulled: Pulled, store: Store
) -> None:
    harness.fill(20)
    connector = register(harness, harness.above, cursor_column=harness.id_column, overlap=30)
    pulled(connector)
    harness.fill(5)

    assert pulled(connector).receipt.records_pulled == 5
    assert store.connectors.get(connector.id).watermark == 20


def test_a_cursor_column_that_is_not_in_the_result_fails_by_its_name(
    harness: Harness, register: Register, pulled: Pulled
) -> None:
    harness.fill(2)

    with pytest.raises(ResultUnusable, match="'no_such_column'"):
        pulled(register(harness, harness.above, cursor_column="no_such_column"))


def test_a_cursor_column_that_holds_no_integers_fails_by_its_name(
    harness: Harness, register: Register, pulled: Pulled
) -> None:
    harness.fill(2)

    with pytest.raises(ResultUnusable, match=r"'name'.*integers"):
        pulled(register(harness, harness.above, cursor_column="name"))


def test_a_full_refresh_sees_all_and_moves_last_pull(
    harness: Harness, register: Register, pulled: Callable[..., PullOutcome], store: Store
) -> None:
    harness.fill(20)
    connector = register(harness, harness.since)
    first = pulled(connector).receipt

    again = pulled(connector, Extent(full_refresh=True)).receipt

    assert (again.records_pulled, again.duplicates_skipped) == (20, 20)
    assert again.watermark is not None
    assert again.watermark == store.connectors.get(connector.id).watermark != first.watermark


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_dry_run_says_what_the_pull_after_it_does(
    harness: Harness, register: Register, pulled: Callable[..., PullOutcome], store: Store
) -> None:
    def counts(of: Comparison | Receipt) -> dict[str, object]:
        return of.model_dump(include=set(Receipt.model_fields) & set(Comparison.model_fields) - {"duration_seconds"})

    harness.fill(12)
    connector = register(harness, harness.since, name_column="name", batch_size=5)
    opened = partial(open_source, connector.connector_type, **harness.allowed)
    seen: list[tuple[int, int, int]] = []
    for change in (lambda: None, lambda: None, lambda: harness.touch([3, 4]), lambda: harness.forget_name(4)):
        change()
        with unwritten(store):
            for extent in (NEW_ROWS, Extent(full_refresh=True)):
                compared = run_dry_run(store, store.connectors.get(connector.id), opened, extent=extent)

        receipt = pulled(connector, Extent(full_refresh=True)).receipt

        assert counts(compared) == counts(receipt)
        seen.append((compared.records_new, compared.records_changed, compared.records_rejected))
    assert seen == [(12, 0, 0), (0, 0, 0), (0, 2, 0), (0, 0, 1)]


def test_a_window_of_time_is_read_alone_and_leaves_last_pull(
    harness: Harness, register: Register, pulled: Callable[..., PullOutcome], store: Store
) -> None:
    harness.fill(6)
    harness.touch([1, 2])
    connector = register(harness, harness.during)
    assert pulled(connector).receipt.records_pulled == 6  # without an end, as any pull
    kept = store.connectors.get(connector.id)
    noon = datetime.now(UTC) - timedelta(hours=12)

    yesterday = pulled(connector, Extent(since=noon - timedelta(days=1), until=noon)).receipt
    today = pulled(connector, Extent(since=noon, until=noon + timedelta(days=1))).receipt

    assert (yesterday.records_pulled, yesterday.duplicates_skipped) == (4, 4)
    assert (today.records_pulled, today.duplicates_skipped) == (2, 2)
    assert store.connectors.get(connector.id) == kept


def test_a_window_of_numbers_is_read_alone_and_leaves_last_pull(
    harness: Harness, register: Register, pulled: Callable[..., PullOutcome], store: Store
) -> None:
    harness.fill(6)
    connector = register(harness, harness.among, cursor_column=harness.id_column)

    window = pulled(connector, Extent(since=2, until=5)).receipt
    beyond = pulled(connector, Extent(since=5, until=10**30)).receipt

    assert (window.records_ingested, beyond.records_ingested) == (3, 1)
    assert store.connectors.get(connector.id) == connector
    assert pulled(connector).receipt.records_ingested == 2


def test_a_limit_reads_so_many_rows_and_leaves_last_pull(
    harness: Harness, register: Register, pulled: Callable[..., PullOutcome], store: Store
) -> None:
    harness.fill(20)
    connector = register(harness, harness.since, batch_size=3)

    first = pulled(connector, Extent(limit=7)).receipt

    assert (first.records_pulled, first.records_ingested) == (7, 7)
    assert store.connectors.get(connector.id) == connector
    assert pulled(connector).receipt.records_ingested == 13


def test_the_sources_clock_is_kept_beside_the_watermark(
    harness: Harness, register: Register, pulled: Pulled, store: Store
) -> None:
    connector = register(harness, harness.since)
    pulled(connector)

    kept = store.connectors.get(connector.id)
    assert isinstance(kept.watermark, datetime)
    assert kept.source_clock is not None
    assert kept.watermark_at is not None
    assert kept.watermark <= kept.source_clock
    assert abs(kept.source_clock - kept.watermark_at) < timedelta(minutes=1)


def test_the_overlap_is_the_connectors_own(harness: Harness, register: Register, pulled: Pulled) -> None:
    harness.fill(20)
    connector = register(harness, harness.since, overlap=3 * 86_400)

    pulled(connector)

    assert pulled(connector).receipt.duplicates_skipped == 20


def test_a_query_without_last_pull_keeps_no_watermark(
    harness: Harness, register: Register, pulled: Pulled, store: Store
) -> None:
    harness.fill(1)
    connector = register(harness, harness.everything)

    assert pulled(connector).receipt.watermark is None
    assert store.connectors.get(connector.id).watermark is None


def test_a_row_without_a_name_is_rejected_with_its_place_and_its_key(
    harness: Harness, register: Register, pulled: Pulled, rejected: Rejected
) -> None:
    harness.fill(5)
    harness.forget_name(3)

    receipt = pulled(register(harness, harness.everything, name_column="name")).receipt

    assert (receipt.records_pulled, receipt.records_ingested, receipt.records_rejected) == (5, 4, 1)
    assert rejected(receipt) == [Rejection(3, "3", Reason.NAME_MISSING, "name")]


def test_a_missing_name_column_fails_before_anything_is_ingested(
    harness: Harness, register: Register, pulled: Pulled, store: Store
) -> None:
    harness.fill(5)
    connector = register(harness, harness.everything, name_column="title")

    with pytest.raises(ResultUnusable, match="'title'"):
        pulled(connector)

    assert store.entities.counted("testing", "item").entities == 0


def test_without_a_name_column_entities_have_no_name(
    harness: Harness, register: Register, pulled: Pulled, store: Store
) -> None:
    if harness.nameless is None:
        pytest.skip("a query of this type cannot leave the name out")
    harness.fill(2)

    pulled(register(harness, harness.nameless))

    entities, _ = store.entities.page(vertical="testing", entity_type="item", limit=10, cursor=None)
    assert [entity.name for entity in entities] == [None, None]


def test_two_columns_of_one_name_are_refused(harness: Harness, register: Register, pulled: Pulled) -> None:
    if harness.repeated is None:
        pytest.skip("a query of this type cannot name two columns alike")
    harness.fill(1)

    with pytest.raises((ResultUnusable, QueryRejected)):
        pulled(register(harness, harness.repeated))


def test_a_failed_pull_leaves_a_receipt_and_nothing_else(
    harness: Harness, register: Register, pulled: Pulled, store: Store
) -> None:
    harness.fill(5)
    connector = register(harness, harness.since, connection_config=harness.wrong_password())

    with pytest.raises(PullError):
        pulled(connector)

    assert store.pulls.live(connector.id) is None
    assert store.connectors.last_pulls()[connector.id].status == "failed"
    assert store.connectors.get(connector.id).watermark is None
    assert store.entities.counted("testing", "item").entities == 0


def _open_connections(harness: Harness) -> int:
    """A server notices a closed connection a moment later."""
    with suppress(TimeoutError):
        asyncio.run(_comes_true(lambda: harness.connections() == 0))
    return harness.connections()


async def _comes_true(condition: Callable[[], bool]) -> None:
    """Raises TimeoutError after five seconds."""
    async with asyncio.timeout(5):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110  # what a server shows, no event tells
            await asyncio.sleep(0.05)


def _everything_said(error: BaseException) -> str:
    """The error's text and that of every error that would be shown beneath it."""
    said = repr(error) + str(error)
    following = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said if following is None else said + _everything_said(following)
