"""How far a pull is while it runs: on its receipt, in its run's log, and over REST."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from qanatix_api import receipts
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.defs.progress import ProgressLog
from qanatix_pipelines.errors import LoginRefused, SourceUnreachable
from qanatix_pipelines.limits import Limits
from qanatix_pipelines.pull import run_pull
from qanatix_pipelines.receipts import PullStatus, Receipt
from qanatix_pipelines.staging import Progress
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store
from tests.conftest import server
from tests.held import held
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System
from tests.test_pull import Scripted, Step
from tests.test_store import NEW, READ_AT, batch


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


def read(store: Store, pull: Receipt) -> tuple[int, int]:
    kept = store.pulls.get(pull.id)
    return kept.records_read, kept.bytes_read


def test_each_batch_that_is_staged_is_told_at_once(store: Store, connector: Connector) -> None:
    receipt = store.pulls.begin(connector, "run")
    ingestion = Ingestion(store.engine, connector, receipt)
    told = [read(store, receipt)]

    for number, size in ((1, 100), (2, 250)):
        ingestion.stage(batch((number, "a"), duplicates=2), 3, size)
        told.append(read(store, receipt))

    assert told == [(0, 0), (3, 100), (6, 350)]
    assert store.pulls.get(receipt.id).records_pulled == 0


def test_what_a_completed_pull_has_read_is_what_it_pulled(store: Store, connector: Connector) -> None:
    receipt = store.pulls.begin(connector, "run")
    ingestion = Ingestion(store.engine, connector, receipt)
    ingestion.stage(batch((1, "a"), duplicates=2), 3, 100)

    completed = ingestion.commit(None, READ_AT, 0)

    assert (completed.records_pulled, completed.records_read, completed.bytes_read) == (3, 3, 100)


def test_where_the_source_is_read_again_it_begins_anew(store: Store, connector: Connector) -> None:
    receipt = store.pulls.begin(connector, "run")
    ingestion = Ingestion(store.engine, connector, receipt)
    ingestion.stage(batch((1, "a"), (2, "b")), 2, 100)

    ingestion.restart()
    begun = read(store, receipt)
    ingestion.stage(batch((1, "a")), 1, 60)

    assert (begun, read(store, receipt)) == ((0, 0), (1, 60))


def test_another_attempt_begins_anew(store: Store, connector: Connector) -> None:
    receipt = store.pulls.begin(connector, "run")
    Ingestion(store.engine, connector, receipt).stage(batch((1, "a")), 1, 60)

    assert store.pulls.retry(store.pulls.get(receipt.id))

    assert read(store, receipt) == (0, 0)


def test_a_cancelled_pull_tells_how_far_it_came(store: Store, connector: Connector) -> None:
    receipt = store.pulls.begin(connector, "run")
    Ingestion(store.engine, connector, receipt).stage(batch((1, "a")), 1, 60)

    cancelled = store.pulls.cancel(receipt.id)

    assert (cancelled.records_read, cancelled.bytes_read, cancelled.records_pulled) == (1, 60, 0)


@pytest.fixture
def pulled(store: Store, connector: Connector) -> Callable[..., tuple[Receipt, list[Progress]]]:
    """What a source's steps leave on the receipt, and what was told of each batch."""

    def once(*readings: list[Step]) -> tuple[Receipt, list[Progress]]:
        receipt, heard = store.pulls.begin(connector, "run"), list[Progress]()
        source, limits = Scripted(*readings), Limits(pauses=(0,))
        with suppress(LoginRefused):  # it is on the receipt
            run_pull(store, connector, receipt, lambda _config: source, limits=limits, on_batch=heard.append)
        return store.pulls.get(receipt.id), heard

    return once


def test_a_pull_tells_the_size_of_its_sources_rows(pulled: Callable[..., tuple[Receipt, list[Progress]]]) -> None:
    sizes = [pl.DataFrame({"id": ids}).estimated_size() for ids in ([1, 2, 3], [4])]

    receipt, heard = pulled([[1, 2, 3], [4]])

    assert [(progress.records, progress.bytes) for progress in heard] == [(3, sizes[0]), (4, sum(sizes))]
    assert 0 < heard[0].seconds <= heard[1].seconds
    assert (receipt.records_read, receipt.bytes_read) == (4, sum(sizes))


def test_progress_is_told_outside_of_the_pulls_loop(store: Store, connector: Connector) -> None:
    """A log handler may open a connection then, which is none of the pull's."""
    receipt, loops = store.pulls.begin(connector, "run"), list[object]()

    def hear(_progress: Progress) -> None:
        loops.append(asyncio._get_running_loop())

    run_pull(store, connector, receipt, lambda _config: Scripted([[1], [2]]), on_batch=hear)

    assert loops == [None, None]


def test_what_is_read_again_counts_once(pulled: Callable[..., tuple[Receipt, list[Progress]]]) -> None:
    receipt, heard = pulled([[1, 2], SourceUnreachable("The source is away.", transient=True)], [[1, 2], [3]])

    assert [progress.records for progress in heard] == [2, 2, 3]
    assert (receipt.records_read, receipt.records_pulled) == (3, 3)


def test_a_failed_pull_tells_how_far_it_came(pulled: Callable[..., tuple[Receipt, list[Progress]]]) -> None:
    receipt, _ = pulled([[1, 2], [3], LoginRefused("The source refused the user.")])

    assert (receipt.status, receipt.records_read, receipt.records_pulled) == (PullStatus.FAILED, 3, 0)


class TestLog:
    def told(self, caplog: pytest.LogCaptureFixture, *heard: Progress) -> list[str]:
        caplog.set_level(logging.INFO)
        log = ProgressLog(logging.getLogger("run"))
        for progress in heard:
            log.hear(progress)
        log.tell()
        return caplog.messages

    def test_it_says_rows_their_rate_and_their_size(self, caplog: pytest.LogCaptureFixture) -> None:
        assert self.told(caplog, Progress(500, 3 * 2**19, 0.25)) == ["500 rows so far, 2000 rows/s, 1.5 MiB"]

    def test_it_tells_of_the_first_batch_of_one_in_each_second_and_of_the_last(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        batches = [Progress(tenth, 0, tenth / 10) for tenth in range(1, 26)]

        told = [message.split(maxsplit=1)[0] for message in self.told(caplog, *batches)]

        assert told == ["1", "11", "21", "25"]

    def test_where_the_source_is_read_again_it_tells_of_the_first_batch_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        told = self.told(caplog, Progress(10, 0, 0.5), Progress(20, 0, 0.6), Progress(10, 0, 0.4), Progress(20, 0, 0.5))

        assert [message.split(maxsplit=1)[0] for message in told] == ["10", "10", "20"]

    def test_of_no_batch_it_tells_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        assert self.told(caplog) == []


def test_a_receipt_moves_while_its_pull_runs(stack: System) -> None:
    harness = PostgreSQLHarness(server("postgresql"))
    with held(harness.server.address, rows=80, after=40) as (query, let_go):
        connector = stack.register(query, harness.config, batch_size=10)
        asked = stack.api.post(f"/connectors/{connector['id']}/pull?wait=false").json()
        halted = _receipt(stack, asked, lambda receipt: receipt["progress"]["records_read"] >= 40)
        let_go()
        ended = _receipt(stack, asked, lambda receipt: receipt["status"] not in ("queued", "running"))

    assert (halted["status"], halted["records_pulled"], halted["progress"]["records_read"]) == ("running", 0, 40)
    assert halted["progress"]["bytes_read"] > 40 * len("Item 1")
    assert halted["progress"]["records_per_second"] is not None
    assert (ended["status"], ended["records_pulled"], ended["progress"]["records_read"]) == ("completed", 80, 80)
    assert ended["progress"]["bytes_read"] > halted["progress"]["bytes_read"]
    assert stack.api.get(f"/pulls/{ended['pull_id']}").json() == ended


def test_a_rate_is_told_once_the_pull_has_begun(store: Store, connector: Connector) -> None:
    queued, _ = store.pulls.queue(connector.id)
    assert receipts.Progress.of(queued).records_per_second is None

    begun = store.pulls.claim(queued.id, connector, "run")
    began = begun.started_at
    assert began is not None

    ended = begun.model_copy(update={"records_read": 1001, "finished_at": began + timedelta(seconds=4)})
    assert receipts.Progress.of(ended).records_per_second == 250


def _receipt(stack: System, asked: dict[str, Any], is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Of this pull, once it is so."""
    for _ in range(600):
        receipt: dict[str, Any] = stack.api.get(f"/pulls/{asked['pull_id']}").json()
        if is_so(receipt):
            return receipt
        time.sleep(0.1)
    raise AssertionError(f"it is never so: {receipt}")
