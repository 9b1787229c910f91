"""Any history of the product: what may happen to it, and that after each step its store is what the model says.

The sources and both clocks are the test's, so that an hour passes at once; all between them is the product's.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from pydantic import SecretStr

from qanatix_pipelines import pull as pulling
from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.errors import PullError, PullInProgress, PullSuperseded, SourceFailed
from qanatix_pipelines.pulls import Pull
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.store import clock, tables
from qanatix_pipelines.store.opening import Store, open_engine, open_store
from tests.campaigns import model
from tests.campaigns.holdings import holdings, shown
from tests.campaigns.orders import CREDENTIALS, SETTINGS, place, told
from tests.campaigns.shelf import FAULTS, OUTER_SECONDS, Run, Script, instant
from tests.campaigns.worlds import HOUR, World, one_of

KEYS = (new_fernet_key(), new_fernet_key())
SCRIPTS = st.builds(
    Script,
    at=st.integers(0, 3),
    halts=st.booleans(),
    faults=st.one_of(st.just(()), st.lists(st.sampled_from(list(FAULTS)), max_size=3).map(tuple)),
)
CONNECTOR = one_of(lambda history: list(history.model.connectors))


class History(World):
    kept_by: Settings  # by each test
    runs = checks = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).runs += 1
        _empty(self.kept_by)
        self.keys = KEYS
        self.stores: dict[str, Store] = {}  # by their keys
        self.store = self._open(self.keys[0])
        self.model.one_writer = self.store.engine.dialect.name == "sqlite"
        self.asked: list[tuple[UUID, Connector, model.Connector]] = []
        self.attempts: list[tuple[Run, model.Attempt]] = []
        self.patches = [
            mock.patch.object(clock, "datetime", mock.Mock(now=lambda _zone: instant(self.model.now))),
            mock.patch.object(pulling, "LEASE_SECONDS", 10**9),  # signs of life are given by a rule of their own
        ]
        for patch in self.patches:
            patch.start()

    def teardown(self) -> None:
        for run, _ in self.attempts:
            if run.halted:
                run.go_on()
        for patch in self.patches:
            patch.stop()
        for store in self.stores.values():
            store.engine.dispose()
        super().teardown()

    @rule(hours=st.integers(1, 3), alive=st.booleans())
    def time_passes(self, hours: int, alive: bool) -> None:
        """Every lease runs out, but for those of processes that are alive."""
        self.model.now += hours * HOUR
        if alive:
            for pull in [key for key, pull in self.model.pulls.items() if pull.live]:
                self._give_sign(pull)

    # Connectors

    @rule(given=st.fixed_dictionaries(SETTINGS), credentials=CREDENTIALS, batch_size=st.integers(1, 3))
    def create(self, given: dict[str, Any], credentials: dict[str, str], batch_size: int) -> None:
        new = {"connector_type": "shelf", "connection_config": credentials, "batch_size": batch_size}
        connector = self.store.connectors.add(NewConnector.model_validate(new | told(given)), place(credentials))
        self.model.connectors[connector.id] = model.Connector(**given, credentials=credentials)

    @precondition(lambda self: self.model.connectors)
    @rule(connector=CONNECTOR, given=st.one_of([st.fixed_dictionaries({name: of}) for name, of in SETTINGS.items()]))
    def edit(self, connector: UUID, given: dict[str, Any]) -> None:
        self.store.connectors.change(connector, told(given))
        self.model.change(connector, given, None)

    @precondition(lambda self: self.model.connectors)
    @rule(connector=CONNECTOR, credentials=CREDENTIALS)
    def log_in_otherwise(self, connector: UUID, credentials: dict[str, str]) -> None:
        self.store.connectors.change(connector, {}, credentials, place(credentials))
        self.model.change(connector, {}, credentials)

    @precondition(lambda self: self.model.connectors)
    @rule(connector=CONNECTOR)
    def delete(self, connector: UUID) -> None:
        self.store.connectors.remove(connector)
        self.model.give_up(connector)
        del self.model.connectors[connector]

    @rule()
    def rotate(self) -> None:
        old, new = self.keys
        self.store = self._open(f"{new},{old}")
        assert self.store.connectors.rotate() == len(self.model.connectors)
        self.store = self._open(new)
        self.keys = new, old

    # Pulls

    @precondition(lambda self: self.model.connectors)
    @rule(connector=CONNECTOR, full_refresh=st.booleans(), script=SCRIPTS)
    def pull(self, connector: UUID, full_refresh: bool, script: Script) -> None:
        """By a run that nobody asked the API for."""
        self.model.lose(connector)
        kept = self.store.connectors.get(connector)
        if self.model.live(connector) is not None:
            with pytest.raises(PullInProgress):
                self.store.pulls.begin(kept, "run", full_refresh=full_refresh)
            return
        receipt = self.store.pulls.begin(kept, "run", full_refresh=full_refresh)
        self.model.queue(receipt.id, connector, full_refresh=full_refresh)
        self._begin(receipt, kept, self.model.connectors[connector], script)
        self._advance(*self.attempts[-1])

    @precondition(lambda self: self.model.connectors)
    @rule(connector=CONNECTOR, full_refresh=st.booleans(), callers=st.integers(1, 3))
    def ask(self, connector: UUID, full_refresh: bool, callers: int) -> None:
        """Over the API, by several at once."""
        self.model.lose(connector)
        live = self.model.live(connector)
        answers = _together(callers, lambda: self.store.pulls.queue(connector, full_refresh=full_refresh))
        if live is not None and full_refresh and not self.model.pulls[live].full_refresh:
            assert {type(answer) for answer in answers} == {PullInProgress}
            return
        assert len({pull.id for pull, _ in answers}) == 1
        assert sorted(new for _, new in answers) == [False] * (callers - 1) + [live is None]
        if live is None:
            self.model.queue(answers[0][0].id, connector, full_refresh=full_refresh)
            self._expect_run(answers[0][0].id)

    @precondition(lambda self: self.asked)
    @rule(
        asked=one_of(lambda history: history.asked),
        late=st.booleans(),
        rivals=st.integers(1, 2),
        script=SCRIPTS,
    )
    def claim(self, asked: tuple[UUID, Connector, model.Connector], late: bool, rivals: int, script: Script) -> None:
        """By a run that read the connector when the pull was asked for, or a `late` one that reads it now."""
        self.asked.remove(asked)
        pull, kept, known = asked
        owner = self.model.pulls[pull].connector
        if late and owner in self.model.connectors:
            kept, known = self.store.connectors.get(owner), self.model.connectors[owner]
        answers = _together(rivals, lambda: self.store.pulls.claim(pull, kept, "run"))
        winners = [answer for answer in answers if isinstance(answer, Pull)]
        current = owner in self.model.connectors and self.model.connectors[owner].generation == known.generation
        if self.model.pulls[pull].status != "queued" or not current:
            assert winners == []
            return
        assert len(winners) == 1
        self._begin(winners[0], kept, known, script)

    @precondition(lambda self: self._open_attempts())
    @rule(one=one_of(lambda history: history._open_attempts()))
    def go_on(self, one: tuple[Run, model.Attempt]) -> None:
        """A claimed run begins, or a halted one goes on, also where its pull was given to another meanwhile."""
        self._advance(*one)

    @precondition(lambda self: self._running_attempts())
    @rule(one=one_of(lambda history: history._running_attempts()), script=SCRIPTS)
    def kill(self, one: tuple[Run, model.Attempt], script: Script) -> None:
        """Its process, so that its lease runs out and another run takes over. It may be alive after all."""
        pull = one[1].pull
        connector = self.model.pulls[pull].connector
        self.model.now += HOUR
        again = self.model.retry(pull)
        assert self.store.pulls.retry(self.store.pulls.get(pull)) == again
        if again:
            kept = self.store.connectors.get(connector)
            receipt = self.store.pulls.claim(pull, kept, "another run")
            self._begin(receipt, kept, self.model.connectors[connector], script)

    @precondition(lambda self: self.attempts)
    @rule(one=one_of(lambda history: history.attempts))
    def give_last_words(self, one: tuple[Run, model.Attempt]) -> None:
        run, attempt = one
        self.store.pulls.end(run.receipt, SourceFailed("It failed."))
        if self.model.runs(attempt):
            self.model.pulls[attempt.pull].end("failed", "source_failed")

    @precondition(lambda self: self.attempts)
    @rule(one=one_of(lambda history: history.attempts))
    def give_a_sign_of_life(self, one: tuple[Run, model.Attempt]) -> None:
        run, attempt = one
        pull = self.model.pulls[attempt.pull]
        if self.model.runs(attempt):
            self.store.pulls.renew(run.receipt)
            pull.lease = self.model.now + model.LEASE
        elif (pull.status, pull.attempt) == ("completed", attempt.number):
            self.store.pulls.renew(run.receipt)
        else:
            with pytest.raises(PullSuperseded):
                self.store.pulls.renew(run.receipt)

    @rule(awake=st.booleans())
    def begin_lapsed_pulls_again(self, awake: bool) -> None:
        """Some are `awake` after all when they have been found, and give a sign before they are given up."""
        found = self.store.pulls.lapsed()
        assert {pull.id for pull in found} == set(self.model.lapsed())
        for pull in found:
            if awake:
                self._give_sign(pull.id)
                assert not self.store.pulls.retry(pull)
                continue
            again = self.model.retry(pull.id)
            assert [self.store.pulls.retry(pull), self.store.pulls.retry(pull)] == [again, False]
            if again:
                self._expect_run(pull.id)

    # What holds at all times

    @invariant()
    def the_store_is_the_models(self) -> None:
        type(self).checks += 1
        store = holdings(self.store.engine)
        live = [pull for pull in store.pulls.values() if pull.live]
        assert all(sum(parts) == pulled for pulled, *parts in (pull.counts for pull in store.pulls.values()))
        assert len({pull.connector for pull in live}) == len(live)
        assert store.staged <= {key for key, pull in store.pulls.items() if pull.status == "running"}
        assert store.pulls == {
            key: replace(pull, lease=pull.lease * pull.live) for key, pull in self.model.pulls.items()
        }
        assert store.connectors == {key: shown(connector) for key, connector in self.model.connectors.items()}
        assert store.entities == self.model.entities

    def _begin(self, receipt: Pull, kept: Connector, known: model.Connector, script: Script) -> None:
        run = Run(self.store, kept, receipt, script, self.databases, self.clock)
        self.attempts.append((run, self.model.claim(receipt.id, known)))

    def _advance(self, run: Run, attempt: model.Attempt) -> None:
        pull = self.model.pulls[attempt.pull]
        current, beginning = self.model.runs(attempt), not run.begun
        if beginning:
            run.store = self.store  # a process has the keys of when it was started
        run.go_on()
        if beginning:
            kept = self.model.connectors.get(pull.connector)
            if kept is None or kept.generation != attempt.connector.generation:
                assert (type(run.error), run.config) == (PullSuperseded, None)
                return
            assert run.config == attempt.connector.credentials
            self.model.read(attempt)
            staged = run.script.at > 0 and len(attempt.rows) > 0
            if run.script.halts and (current or not staged):
                assert run.halted
                if staged:
                    pull.lease = self.model.now + model.LEASE
                return
        if not current:
            assert run.error is not None
            return
        completes = self.model.advance(attempt, run.script.faults)
        assert (run.outcome is not None) == completes, run.error

    def _give_sign(self, pull: UUID) -> None:
        kept, receipt = self.model.pulls[pull], self.store.pulls.get(pull)
        if kept.status == "running":
            self.store.pulls.renew(receipt)
        else:
            self.store.pulls.await_run(receipt)
        kept.lease = self.model.now + (model.LEASE if kept.status == "running" else model.QUEUED)

    def _expect_run(self, pull: UUID) -> None:
        connector = self.model.pulls[pull].connector
        self.asked.append((pull, self.store.connectors.get(connector), replace(self.model.connectors[connector])))

    def _open_attempts(self) -> list[tuple[Run, model.Attempt]]:
        return [one for one in self.attempts if not one[0].over]

    def _running_attempts(self) -> list[tuple[Run, model.Attempt]]:
        return [one for one in self.attempts if self.model.runs(one[1])]

    def _open(self, keys: str) -> Store:
        if keys not in self.stores:
            store = open_store(self.kept_by.model_copy(update={"encryption_key": SecretStr(keys)}))
            if store.engine.dialect.name == "sqlite":  # no power is lost here, and disks take most of the time
                sa.event.listen(store.engine, "checkout", lambda made, *_: made.execute("PRAGMA synchronous = OFF"))
            self.stores[keys] = store
        return self.stores[keys]


def _empty(settings: Settings) -> None:
    engine = open_engine(settings)
    with engine.begin() as transaction:
        for table in tables.metadata.sorted_tables:
            transaction.execute(table.delete())
    engine.dispose()


def _together(number: int, call: Callable[[], Any]) -> list[Any]:
    """What each of so many calls at once answers or raises."""
    barrier = threading.Barrier(number)

    def one(_number: int) -> Any:
        barrier.wait(OUTER_SECONDS)
        try:
            return call()
        except PullError as error:
            return error

    if number == 1:
        return [one(0)]
    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(one, range(number)))
