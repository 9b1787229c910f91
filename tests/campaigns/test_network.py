"""Pulls through a network that breaks: each completes as a clean one, or fails whole, in time, and leaves nothing."""

import asyncio
import gc
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from qanatix_pipelines.batches import Reading
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import PullError, SourceError
from qanatix_pipelines.pull import Limits, run_pull
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.source import Source
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.opening import Store
from tests import kept
from tests.campaigns.conftest import DEEP
from tests.campaigns.proxy import Fault, Network, Proxy
from tests.sources.harness import Harness

Register = Callable[..., Connector]

SEED = 20_261
ROWS, BATCH = 300, 50
CUTS = 2000 if DEEP else 48
FEWER = {"mysql97": CUTS // 3}  # speaks as MariaDB does
AT_ONCE = 12
DEADLINE = 3
GRACE = 5
LIMITS = Limits(answer_seconds=DEADLINE, pull_seconds=DEADLINE, pauses=(0.1, 0.2))
UNHURRIED = Limits()
HEAD = 4096


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture(autouse=True)
def _quick_collections() -> None:
    """The garbage collector looks at what the campaign makes alone, for it is called after each pull."""
    gc.collect()
    gc.freeze()


@dataclass
class Findings:
    """What should never be: each list holds the faults after which it was."""

    wrong_stores: list[object] = field(default_factory=list)
    hangs: list[object] = field(default_factory=list)
    leaked_connections: list[object] = field(default_factory=list)
    leaked_sockets: list[object] = field(default_factory=list)
    leaked_tasks: list[object] = field(default_factory=list)
    foreign_errors: list[object] = field(default_factory=list)


@dataclass
class Cut:
    """One pull through a proxy with one fault, and what came of it."""

    connector: Connector
    proxy: Proxy
    fault: Fault
    outcome: str = ""


def test_a_network_that_breaks_gives_a_whole_pull_or_none(  # noqa: C901, PLR0915  # one campaign, told whole
    harness: Harness,
    register: Register,
    store: Store,
    figures: Callable[[str], None],
    request: pytest.FixtureRequest,
) -> None:
    name = request.node.callspec.params["harness"]
    if name == "sqlite":
        pytest.skip("a file has no network")
    harness.fill(ROWS)
    address = urlsplit(harness.server.address)
    assert address.hostname
    assert address.port
    findings = Findings()
    began = time.monotonic()
    with Network() as network:

        def proxied(vertical: str, fault: Fault | None = None) -> tuple[Connector, Proxy]:
            proxy = network.proxy(address.hostname, address.port, fault)
            config = harness.changed(port=proxy.port)
            fields = {"connection_config": config, "vertical": vertical, "batch_size": BATCH}
            return register(harness, harness.since, **fields), proxy

        connector, proxy = proxied("clean")
        clean_receipt = pulled(store, connector, findings)
        clean = contents(store, "clean")
        assert len(clean) == ROWS
        assert proxy.settled(GRACE)

        cuts = [
            Cut(*proxied(f"cut-{number}", fault), fault)
            for number, fault in enumerate(faults(FEWER.get(name, CUTS), proxy.answered, proxy.sent))
        ]
        longest, late = 0.0, 0

        def suffer(cut: Cut) -> float:
            nonlocal late
            started = time.monotonic()
            try:
                receipt: Receipt | PullError = pulled(store, cut.connector, findings, LIMITS)
            except PullError as error:
                receipt = error
            except Exception as error:  # noqa: BLE001  # that there is none is what is asked
                findings.foreign_errors.append((cut.fault, repr(error)))
                cut.outcome = "foreign"
                return 0
            seconds = time.monotonic() - started
            late += seconds > DEADLINE + GRACE
            if seconds > DEADLINE + 4 * GRACE:  # a busy machine is no hang
                findings.hangs.append((cut.fault, seconds))
            gc.collect()
            if not cut.proxy.settled(6 * GRACE):  # a connection that leaks never ends: nobody need hurry
                findings.leaked_connections.append(cut.fault)
            if isinstance(receipt, PullError):
                cut.outcome = receipt.code
                if not isinstance(receipt, SourceError):
                    findings.foreign_errors.append((cut.fault, repr(receipt)))
                if not nothing_of(store, cut.connector):
                    findings.wrong_stores.append(cut.fault)
            else:
                cut.outcome = "completed"
                if figures_of(receipt) != figures_of(clean_receipt) or contents(store, cut.connector.vertical) != clean:
                    findings.wrong_stores.append(cut.fault)
            return seconds

        with ThreadPoolExecutor(AT_ONCE) as threads:
            longest = max(threads.map(suffer, cuts))
        struck = sum(cut.proxy.struck for cut in cuts)

        def mended(cut: Cut) -> None:
            cut.proxy.mend()
            receipt = pulled(store, cut.connector, findings)
            new = 0 if cut.outcome == "completed" else ROWS
            if receipt.records_ingested != new or contents(store, cut.connector.vertical) != clean:
                findings.wrong_stores.append((cut.fault, "afterwards"))

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(mended, cuts))
        outcomes = Counter(cut.outcome for cut in cuts)

    figures(
        f"network {name}: {len(cuts)} cuts ({struck} struck), {len(findings.wrong_stores)} wrong stores, "
        f"{len(findings.hangs)} hangs, {late} over {DEADLINE} + {GRACE} s, "
        f"{len(findings.leaked_connections)} leaked connections, "
        f"longest {longest:.1f} s, {time.monotonic() - began:.0f} s altogether; {dict(outcomes)}"
    )
    assert findings == Findings()


def faults(count: int, answered: int, sent: int) -> Iterator[Fault]:
    """Half of them within the first bytes of the answer, at even distances; the others anywhere."""
    chance = random.Random(SEED)
    kinds = ("reset", "truncation", "silence", "drip", "refusal", "latency")
    for number in range(count):
        kind = kinds[number % len(kinds)]
        lasting = chance.random() < 0.5
        if kind == "latency":
            yield Fault(kind, at=chance.randrange(10, 200))
        elif number < count // 2:
            yield Fault(kind, number * HEAD // (count // 2) + chance.randrange(HEAD // (count // 2)), lasting=lasting)
        elif chance.random() < 0.25:
            yield Fault(kind, chance.randrange(sent), sent=True, lasting=lasting)
        else:
            yield Fault(kind, chance.randrange(answered), lasting=lasting)


def pulled(store: Store, connector: Connector, findings: Findings, limits: Limits = UNHURRIED) -> Receipt:
    current = store.connectors.get(connector.id)
    receipt = store.pulls.begin(current, f"run-{uuid4()}")

    def watched(config: Mapping[str, Any]) -> Source:
        source = open_source(current.connector_type, config)
        read = source.read

        @asynccontextmanager
        async def watching(*args: Any, **options: Any) -> AsyncIterator[Reading]:
            tasks, sockets = asyncio.all_tasks(), watched_sockets()
            try:
                async with read(*args, **options) as reading:
                    yield reading
            finally:
                findings.leaked_tasks.extend(task for task in asyncio.all_tasks() - tasks if not task.done())
                findings.leaked_sockets.extend(watched_sockets() - sockets)

        source.read = watching
        return source

    return run_pull(store, current, receipt, watched, limits=limits).receipt


def watched_sockets() -> set[int]:
    """The file descriptors that the running loop waits for."""
    return set(asyncio.get_running_loop()._selector.get_map())


def contents(store: Store, vertical: str) -> set[tuple[object, ...]]:
    entity = tables.entity.c
    own = kept.entities().where(tables.entity_set.c.vertical == vertical)
    query = own.with_only_columns(entity.source_id, entity.name, entity.digest, entity.data)
    with store.engine.execution_options(reads=True).connect() as connection:
        return {tuple(row) for row in connection.execute(query)}


def figures_of(receipt: Receipt) -> tuple[object, ...]:
    return (
        receipt.status,
        receipt.records_pulled,
        receipt.records_ingested,
        receipt.duplicates_skipped,
        receipt.records_rejected,
        receipt.error_code,
        receipt.watermark is None,
    )


def nothing_of(store: Store, connector: Connector) -> bool:
    """Whether a failed pull is ended, and left no row, no entity and no watermark."""
    last = store.connectors.last_pulls()[connector.id]
    return (
        last.status == "failed"
        and not kept.staged_in(store)
        and not contents(store, connector.vertical)
        and store.connectors.get(connector.id).watermark is None
    )
