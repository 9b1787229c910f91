"""Watches: a look at each kind of real source, and the sensor that looks around."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from dagster import DagsterRun, DagsterRunStatus

from qanatix_pipelines.connectors import Connector, Watch
from qanatix_pipelines.defs import watches
from qanatix_pipelines.defs.build import pull_jobs
from qanatix_pipelines.egress import DEVELOPMENT, Egress
from qanatix_pipelines.errors import AddressRefused, QueryRejected, SourceTimeout, StoreUnavailable
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import check_watch, open_source
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.watches import Watches
from qanatix_pipelines.watch import look
from tests.conftest import server
from tests.sources.databases import DATABASES
from tests.sources.harness import Harness
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.ticks import evaluate, in_environment, submit

QUERIES = {
    "postgresql": "SELECT max(updated_at) FROM items",
    "mysql": "SELECT max(updated_at) FROM items",
    "mongodb": '{"filter": {}, "projection": {"updated_at": 1, "_id": 0}, "sort": {"updated_at": -1}}',
    "neo4j": "MATCH (i:Item) RETURN max(i.updated_at)",
    "sqlite": "SELECT max(updated_at) FROM items",
}
MINUTE = timedelta(seconds=60)

Evaluated = list[dg.RunRequest] | str
Tick = Callable[[datetime], Evaluated]


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    with in_environment(tmp_path, monkeypatch) as given:
        yield given


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def tick(settings: Settings, instance: dg.DagsterInstance) -> Tick:  # noqa: ARG001  # it sets the environment
    """Evaluate the sensor at a time: what it asks for, or why it does not."""

    def evaluated(at: datetime) -> Evaluated:
        return evaluate(watches.watches_sensor(pull_jobs(), lambda: at), instance)

    return evaluated


@pytest.fixture
def postgresql() -> PostgreSQLHarness:
    return PostgreSQLHarness(server("postgresql"))


def keys(requests: Evaluated) -> list[str]:
    assert isinstance(requests, list), requests
    return [str(request.run_key) for request in requests]


def ways(harness: Harness) -> list[Watch]:
    """How a source of this type can be watched."""
    by_query = Watch(query=QUERIES[harness.connector_type])
    return [by_query] if harness.connector_type == "neo4j" else [by_query, Watch(cursor_column="updated_at")]


class TestLooking:
    def seen(self, harness: Harness, connector: Connector, watch: Watch, **others: Any) -> str:
        check_watch(connector.connector_type, connector.query, watch)
        return look(
            connector,
            watch,
            open_source(harness.connector_type, harness.config, **harness.allowed),
            DEVELOPMENT,
            **others,
        )

    def test_what_has_changed_looks_different_and_what_has_not_the_same(
        self, harness: Harness, register: Callable[..., Connector]
    ) -> None:
        for watch in ways(harness):
            harness.fill(3)
            connector = register(harness, harness.since)
            first, second = (self.seen(harness, connector, watch) for _ in range(2))
            harness.touch([2])
            third = self.seen(harness, connector, watch)
            assert (first == second, second == third) == (True, False), watch

    def test_within_a_loop_that_runs_already_it_looks_the_same(
        self, postgresql: PostgreSQLHarness, register: Callable[..., Connector]
    ) -> None:
        postgresql.fill(3)
        connector, watch = register(postgresql, postgresql.since), Watch(cursor_column="updated_at")

        async def notebook() -> str:
            return self.seen(postgresql, connector, watch)

        assert asyncio.run(notebook()) == self.seen(postgresql, connector, watch)

    def test_of_nothing_there_is_a_digest_too(self, harness: Harness, register: Callable[..., Connector]) -> None:
        for watch in ways(harness):
            harness.fill(0)
            connector = register(harness, harness.since)
            empty, still = (self.seen(harness, connector, watch) for _ in range(2))
            harness.fill(1)
            assert empty == still != self.seen(harness, connector, watch), watch

    def test_it_leaves_no_connection_open(self, harness: Harness, register: Callable[..., Connector]) -> None:
        harness.fill(3)
        for watch in [*ways(harness), Watch(query=harness.everything)]:
            self.seen(harness, register(harness, harness.since), watch)
        _until(lambda: harness.connections() == 0)

    def test_a_source_that_takes_its_time_is_given_up_and_its_work_ended(
        self, harness: Harness, register: Callable[..., Connector]
    ) -> None:
        watch = Watch(query=harness.slow())

        with pytest.raises(SourceTimeout, match="did not answer the watch within 2 seconds"):
            self.seen(harness, register(harness, harness.since), watch, seconds=2)

        _until(lambda: harness.at_work() == 0)

    def test_it_goes_nowhere_where_pulls_may_not_go(self, harness: Harness, register: Callable[..., Connector]) -> None:
        if not harness.networked:
            pytest.skip("a file has no address")
        source = open_source(harness.connector_type, harness.config, **harness.allowed)
        with pytest.raises(AddressRefused):
            look(register(harness, harness.since), ways(harness)[0], source, Egress(loopback=False))


class TestQuotedColumns:
    """A column's name is the user's, and stays one."""

    @pytest.mark.parametrize(
        ("column", "selected"),
        [('up"dated', '"up""dated"'), ("up'; --", '"up\'; --"'), ("a:last_pull", '"a:last_pull"')],
    )
    def test_on_postgresql(
        self, postgresql: PostgreSQLHarness, register: Callable[..., Connector], column: str, selected: str
    ) -> None:
        query = f"SELECT 1 AS id, now() AS {selected} WHERE now() > :last_pull -- the end"
        source = open_source("postgresql", postgresql.config)

        first, second = (
            look(register(postgresql, query), Watch(cursor_column=column), source, DEVELOPMENT) for _ in range(2)
        )

        assert first != second


class TestMistakes:
    """What is told of a watched column's query is of the user's own query."""

    @pytest.fixture(params=["postgresql", "mysql", "sqlite"])
    def sql(self, request: pytest.FixtureRequest) -> Harness:
        name = request.param
        harness = DATABASES[name].harness(server(name))
        harness.fill(1)
        return harness

    def rejected(self, harness: Harness, connector: Connector, column: str) -> str:
        source = open_source(harness.connector_type, harness.config, **harness.allowed)
        with pytest.raises(QueryRejected) as refused:
            look(connector, Watch(cursor_column=column), source, DEVELOPMENT, 60)
        return str(refused.value)

    def test_a_column_that_is_not_there_is_told(self, sql: Harness, register: Callable[..., Connector]) -> None:
        told = self.rejected(sql, register(sql, sql.since), "nope")

        assert told == "The query's result has no column 'nope', which watch.cursor_column names."

    def test_the_querys_own_fault_is_told_by_its_own_lines(
        self, sql: Harness, register: Callable[..., Connector]
    ) -> None:
        told = self.rejected(sql, register(sql, "SELECT nme FROM nowhere WHERE now() > :last_pull"), "id")

        assert " at line 1, column 17, 'nowhere'" in told


class TestSensor:
    @pytest.fixture(autouse=True)
    def unhurried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A busy machine is no source that does not answer."""
        monkeypatch.setattr(watches, "LOOK_SECONDS", 60)
        monkeypatch.setattr(watches, "look", partial(look, seconds=60))

    def test_a_changed_source_is_pulled_and_an_unchanged_one_is_not(
        self,
        tick: Tick,
        instance: dg.DagsterInstance,
        store: Store,
        harness: Harness,
        register: Callable[..., Connector],
    ) -> None:
        for watch in ways(harness):
            harness.fill(3)
            connector = register(harness, harness.since, watch=watch.model_dump())
            at = datetime.now(UTC)

            first = tick(at)
            submit(instance, first)
            unchanged = tick(at + MINUTE)
            harness.touch([2])
            changed = tick(at + 2 * MINUTE)
            submit(instance, changed)
            afterwards = tick(at + 3 * MINUTE)

            assert [key.split("/")[:2] for key in keys(first) + keys(changed)] == [
                [str(connector.id), "1"],
                [str(connector.id), "2"],
            ]
            assert unchanged == afterwards == "No source has changed."
            store.connectors.remove(connector.id)

    def test_a_request_has_the_tags_that_limits_count_by_and_no_secret(
        self, tick: Tick, store: Store, postgresql: PostgreSQLHarness, register: Callable[..., Connector]
    ) -> None:
        postgresql.fill(1)
        connector = register(postgresql, postgresql.since, watch={"query": "SELECT 'hunter2-canary'"})

        requests = tick(datetime.now(UTC))

        assert isinstance(requests, list)
        (request,) = requests
        expected = {
            "qanatix/trigger": "watch",
            "qanatix/connector": connector.partition_key,
            "qanatix/source": store.connectors.source_of(connector.id),
        }
        assert {key: request.tags[key] for key in expected} == expected
        assert (request.job_name, request.partition_key) == ("pull_postgresql", connector.partition_key)
        assert "hunter2" not in repr(request)

    def test_a_change_is_asked_for_until_its_run_is_there(
        self,
        tick: Tick,
        instance: dg.DagsterInstance,
        postgresql: PostgreSQLHarness,
        register: Callable[..., Connector],
    ) -> None:
        """Whatever died in between: the tick was lost, or the daemon killed before it had submitted anything."""
        postgresql.fill(1)
        register(postgresql, postgresql.since, watch={"query": "SELECT 1"})
        at = datetime.now(UTC)

        lost, found = tick(at), tick(at + MINUTE)
        submit(instance, found)
        afterwards = tick(at + 2 * MINUTE)

        assert keys(lost) == keys(found)
        assert afterwards == "No source has changed."

    def test_a_source_that_fails_is_told_at_its_connector_and_holds_up_no_other(
        self,
        tick: Tick,
        store: Store,
        harness: Harness,
        register: Callable[..., Connector],
    ) -> None:
        harness.fill(1)
        watch = ways(harness)[0].model_dump()
        odd = [
            register(harness, harness.since, watch=watch, connection_config=config)
            for config in (harness.wrong_password(), harness.closed_port())
        ]
        odd.append(register(harness, harness.since, watch={"query": harness.rejected}))
        good = register(harness, harness.since, watch=watch)

        requests = tick(datetime.now(UTC))

        assert [key.split("/")[0] for key in keys(requests)] == [str(good.id)]
        told = [store.connectors.get(connector.id) for connector in odd]
        assert [(one.watch_failures, one.watch_error_code) for one in told] == [
            (1, "login_refused" if harness.networked else "source_unreachable"),  # a file that is not there
            (1, "source_unreachable"),
            (1, "query_rejected"),
        ]
        assert all(one.watch_error_detail for one in told)
        assert "not-the-password" not in repr(told) + repr(requests)

    def test_a_fault_of_ours_is_told_without_its_text(
        self,
        tick: Tick,
        store: Store,
        postgresql: PostgreSQLHarness,
        register: Callable[..., Connector],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        connector = register(postgresql, postgresql.since, watch={"query": "SELECT 1"})

        def broken(*_: object) -> None:
            raise ZeroDivisionError("a row with hunter2 in it")

        monkeypatch.setattr(watches, "look", broken)
        tick(datetime.now(UTC))

        kept = store.connectors.get(connector.id)
        assert (kept.watch_failures, kept.watch_error_code) == (1, "watch_broken")
        assert "hunter2" not in repr(kept)

    def test_a_paused_connector_is_not_looked_at(
        self, tick: Tick, store: Store, postgresql: PostgreSQLHarness, register: Callable[..., Connector]
    ) -> None:
        connector = register(
            postgresql, postgresql.since, watch={"query": "SELECT 1"}, connection_config=postgresql.closed_port()
        )
        store.connectors.change(connector.id, {"paused": True})

        assert tick(datetime.now(UTC) + MINUTE) == "No source has changed."
        assert store.connectors.get(connector.id).watch_failures == 0

    def test_while_a_run_waits_nobody_looks(
        self,
        tick: Tick,
        instance: dg.DagsterInstance,
        store: Store,
        postgresql: PostgreSQLHarness,
        register: Callable[..., Connector],
    ) -> None:
        connector = register(postgresql, postgresql.since, watch={"query": "SELECT clock_timestamp()"})
        tags = {"qanatix/connector": connector.partition_key}
        waiting = partial(DagsterRun, "pull_postgresql", run_id=str(uuid4()), tags=tags)
        instance.add_run(waiting(status=DagsterRunStatus.STARTING))

        asked = tick(datetime.now(UTC))

        assert asked == "No source has changed."
        assert store.connectors.get(connector.id).watched_at is None

    def test_whom_there_is_no_time_for_is_first_at_the_next_tick(
        self,
        tick: Tick,
        store: Store,
        postgresql: PostgreSQLHarness,
        register: Callable[..., Connector],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        connector = register(postgresql, postgresql.since, watch={"query": "SELECT 1"})
        at = datetime.now(UTC)

        with monkeypatch.context() as patch:
            patch.setattr(watches, "BUDGET_SECONDS", -1)
            meanwhile = tick(at)
        kept = store.connectors.get(connector.id)
        afterwards = tick(at)

        assert meanwhile == "No source has changed."
        assert (kept.watch_failures, kept.watched_at) == (0, None)
        assert len(keys(afterwards)) == 1

    def test_where_the_store_is_away_the_tick_is_skipped_and_nothing_lost(
        self,
        tick: Tick,
        postgresql: PostgreSQLHarness,
        register: Callable[..., Connector],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        register(postgresql, postgresql.since, watch={"query": "SELECT 1"})
        at = datetime.now(UTC)

        def away(*_: object) -> None:
            raise StoreUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(Watches, "see", away)
            meanwhile = tick(at)
        afterwards = tick(at)

        assert str(meanwhile).startswith("The store does not answer.")
        assert len(keys(afterwards)) == 1


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)
