"""Any history of the product: what may happen to it, and that after each step its store is what the model says.

The sources and both clocks are the test's, so that an hour passes at once; all between them is the product's.
"""

from dataclasses import replace
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from qanatix_pipelines import pull as pulling
from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.errors import PullInProgress, PullSuperseded, SourceFailed
from qanatix_pipelines.extents import Extent
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.settings import Settings, new_fernet_key
from qanatix_pipelines.store import clock
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.rotation import Rotated
from tests.campaigns import model
from tests.campaigns.holdings import empty, holdings, opened, shown
from tests.campaigns.orders import CHANGES, CONNECTORS, Order, place, told
from tests.campaigns.shelf import FAULTS, Run, Script, instant
from tests.campaigns.worlds import HOUR, VALUES, World, one_of, together

KEYS = (new_fernet_key(), new_fernet_key())
SCRIPTS = st.builds(
    Script,
    at=st.integers(0, 3),
    halts=st.booleans(),
    faults=st.one_of(st.just(()), st.just(()), st.lists(st.sampled_from(list(FAULTS)), max_size=3).map(tuple)),
)
# Of a part: how many hours or numbers back it begins, how many more it takes, and how many rows at most.
PARTS = st.one_of(
    st.none(),
    st.none(),
    st.tuples(st.integers(0, 4), st.none() | st.integers(1, 3), st.none() | st.integers(1, 4)),
)
Drawn = tuple[int, int | None, int | None]
CONNECTOR = one_of(lambda history: list(history.model.connectors))


class History(World):
    kept_by: Settings  # by each test
    runs = checks = pulls = begun_again = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).runs += 1
        empty(self.kept_by)
        self.keys = KEYS
        self.stores: dict[str, Store] = {}  # by their keys
        self.store = self._open(self.keys[0])
        self.last_read: dict[UUID, tuple[Connector, model.Connector]] = {}
        self.asked: list[tuple[UUID, Connector, model.Connector]] = []
        self.attempts: list[tuple[Run, model.Attempt]] = []
        self.patches = [
            mock.patch.object(clock, "datetime", mock.Mock(now=lambda _zone: instant(self.model.now))),
            mock.patch.object(pulling, "LEASE_SECONDS", 10**9),  # heartbeats are written by a rule of their own
        ]
        for patch in self.patches:
            patch.start()

    def teardown(self) -> None:
        for run, _ in self.attempts:
            if run.halted:
                run.go_on()
        type(self).pulls += len(self.model.pulls)
        type(self).begun_again += sum(pull.attempt - 1 for pull in self.model.pulls.values())
        for patch in self.patches:
            patch.stop()
        for store in self.stores.values():
            store.engine.dispose()
        super().teardown()

    @initialize(rows=st.lists(VALUES, min_size=2, max_size=6), new=st.tuples(CONNECTORS, CONNECTORS))
    def begin(self, rows: list[tuple[int | None, str | None]], new: tuple[Order, Order]) -> None:
        """With connectors, and something that they may pull."""
        for database in self.databases:
            self.insert(database, rows, late=0)
        for one in new:
            self.create(one)

    @rule(hours=st.integers(1, 3), alive=st.booleans())
    def time_passes(self, hours: int, alive: bool) -> None:
        """Every lease runs out, but for those of processes that are alive."""
        self.model.now += hours * HOUR
        if alive:
            for pull in [key for key, pull in self.model.pulls.items() if pull.live]:
                self._give_sign(pull)

    # Connectors

    @precondition(lambda self: len(self.model.connectors) < 3)
    @rule(new=CONNECTORS)
    def create(self, new: Order) -> None:
        kept = self.store.connectors.add(NewConnector.model_validate(new.as_told()), place(new.credentials))
        self.model.connectors[kept.id] = model.Connector(**new.settings, credentials=new.credentials)

    @precondition(lambda self: self.model.connectors)
    @rule(connector=CONNECTOR, change=CHANGES)
    def edit(self, connector: UUID, change: tuple[dict[str, Any], dict[str, str] | None]) -> None:
        settings, credentials = change
        self.store.connectors.change(
            connector, told(settings), credentials, place(credentials) if credentials else None
        )
        self.model.change(connector, settings, credentials)

    @precondition(lambda self: len(self.model.connectors) > 2)
    @rule(connector=CONNECTOR)
    def delete(self, connector: UUID) -> None:
        self.store.connectors.remove(connector)
        self.model.give_up(connector)
        del self.model.connectors[connector]

    @rule()
    def rotate(self) -> None:
        old, new = self.keys
        self.store = self._open(f"{new},{old}")
        assert self.store.connectors.rotate() == Rotated(len(self.model.connectors), (), ())
        self.store = self._open(new)
        self.keys = new, old

    @precondition(lambda self: self.model.connectors)
    @rule(connector=CONNECTOR, back=st.none() | st.integers(0, 4))
    def steer(self, connector: UUID, back: int | None) -> None:
        """Have its next pull begin some hours or numbers back, or read everything."""
        cursor = model.QUERIES[self.model.connectors[connector].query][0]
        if cursor is None:
            return
        value = None if back is None else self._place(cursor, back)
        given = instant(value) if value is not None and cursor == "stamp" else value
        if self.model.live(connector) is not None:
            with pytest.raises(PullInProgress):
                self.store.watermarks.put(connector, given, lambda _connector: None)
            return
        self.store.watermarks.put(connector, given, lambda _connector: None)
        self.model.steer(connector, value)

    # Pulls

    @rule(full_refresh=st.booleans())
    def pull_all(self, full_refresh: bool) -> None:
        """And nothing happens meanwhile."""
        for connector in self.model.connectors:
            self.pull(connector, full_refresh, None, Script(), slow=False)

    @precondition(lambda self: self.model.connectors)
    @rule(connector=CONNECTOR, full_refresh=st.booleans(), drawn=PARTS, script=SCRIPTS, slow=st.booleans())
    def pull(self, connector: UUID, full_refresh: bool, drawn: Drawn | None, script: Script, slow: bool) -> None:
        """By a run that nobody asked the API for; a `slow` one read the connector when the last such pull began."""
        extent, part = self._asked(connector, full_refresh, drawn)
        self.model.lose(connector)
        now = self.store.connectors.get(connector), replace(self.model.connectors[connector])
        kept, known = self.last_read.get(connector, now) if slow else now
        self.last_read[connector] = now
        if self.model.live(connector) is not None:
            with pytest.raises(PullInProgress):
                self.store.pulls.begin(kept, "run", extent)
        elif known.generation != now[1].generation:
            with pytest.raises(PullSuperseded):
                self.store.pulls.begin(kept, "run", extent)
            left = self.store.pulls.live(connector)
            assert left is not None
            self.model.queue(left.id, connector, full_refresh=extent.full_refresh, part=part)
            self._expect_run(left.id)
        else:
            receipt = self.store.pulls.begin(kept, "run", extent)
            self.model.queue(receipt.id, connector, full_refresh=extent.full_refresh, part=part)
            self._begin(receipt, kept, known, script)
            self._advance(*self.attempts[-1])

    @precondition(lambda self: self.model.connectors)
    @rule(connector=CONNECTOR, full_refresh=st.booleans(), drawn=PARTS, callers=st.integers(1, 3))
    def ask(self, connector: UUID, full_refresh: bool, drawn: Drawn | None, callers: int) -> None:
        """Over the API, by several at once."""
        extent, part = self._asked(connector, full_refresh, drawn)
        self.model.lose(connector)
        live = self.model.live(connector)
        answers = together(callers, lambda: self.store.pulls.queue(connector, extent))
        if live is not None and not self.model.pulls[live].answers(extent.full_refresh, part):
            assert {type(answer) for answer in answers} == {PullInProgress}
            return
        assert len({pull.id for pull, _ in answers}) == 1
        assert sorted(new for _, new in answers) == [False] * (callers - 1) + [live is None]
        if live is None:
            self.model.queue(answers[0][0].id, connector, full_refresh=extent.full_refresh, part=part)
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
        answers = together(rivals, lambda: self.store.pulls.claim(pull, kept, "run"))
        winners = [answer for answer in answers if isinstance(answer, Receipt)]
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
    @rule(
        one=one_of(lambda history: history._running_attempts()),
        script=SCRIPTS,
        deaths=st.integers(1, 3),
        dead=st.booleans(),
    )
    def kill(self, one: tuple[Run, model.Attempt], script: Script, deaths: int, dead: bool) -> None:
        """Its process, so that its lease runs out and another run takes over; or it is not dead, and goes on."""
        old, attempt = one
        owner = self.model.pulls[attempt.pull].connector
        kept, known = self.store.connectors.get(owner), self.model.connectors[owner]
        for _ in range(deaths):
            self.model.now += HOUR
            again = self.model.retry(attempt.pull)
            assert self.store.pulls.retry(self.store.pulls.get(attempt.pull)) == again
            if not again:
                break
            self._begin(self.store.pulls.claim(attempt.pull, kept, "another run"), kept, known, script)
        else:
            self._advance(*self.attempts[-1])
        if not dead and not old.over:
            self._advance(old, attempt)

    @precondition(lambda self: self.attempts)
    @rule(one=one_of(lambda history: history.attempts), last=st.booleans())
    def speak(self, one: tuple[Run, model.Attempt], last: bool) -> None:
        """Last words, or a heartbeat, of a run that may be long over."""
        run, attempt = one
        pull = self.model.pulls[attempt.pull]
        if last:
            self.store.pulls.end(run.receipt, SourceFailed("It failed."))
            if self.model.runs(attempt):
                pull.end("failed", "source_failed")
        elif self.model.runs(attempt) or (pull.status, pull.attempt) == ("completed", attempt.number):
            self.store.pulls.renew(run.receipt)
            pull.lease = self.model.now + model.LEASE
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
        assert all(store.read[key] == 0 for key, pull in store.pulls.items() if pull.status == "queued")
        assert all(store.read[key] == pull.counts[0] for key, pull in store.pulls.items() if pull.status == "completed")
        assert all(store.read[key] for key in store.staged)
        assert len({pull.connector for pull in live}) == len(live)
        assert store.staged <= {key for key, pull in store.pulls.items() if pull.status == "running"}
        assert store.pulls == {
            key: replace(pull, lease=pull.lease * pull.live) for key, pull in self.model.pulls.items()
        }
        assert store.connectors == {key: shown(connector) for key, connector in self.model.connectors.items()}
        assert store.entities == self.model.entities

    def _place(self, cursor: str, back: int) -> int:
        return back if cursor == "id" else self.model.clock - back * HOUR

    def _asked(self, connector: UUID, full_refresh: bool, drawn: Drawn | None) -> tuple[Extent, model.Part]:
        """In the product's words, and in the model's."""
        query = self.model.connectors[connector].query
        cursor, _ = model.QUERIES[query]
        if drawn is None:
            return Extent(full_refresh=full_refresh), model.Part()
        back, more, limit = drawn
        if cursor is None:
            return Extent(limit=back + 1), model.Part(limit=back + 1)
        since = self._place(cursor, back)
        until = since + more * HOUR if more is not None and ":until" in query else None
        if cursor == "id":
            return Extent(since=since, limit=limit), model.Part(since, None, limit)
        end = None if until is None else instant(until)
        return Extent(since=instant(since), until=end, limit=limit), model.Part(since, until, limit)

    def _begin(self, receipt: Receipt, kept: Connector, known: model.Connector, script: Script) -> None:
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
            self.stores[keys] = opened(self.kept_by, keys)
        return self.stores[keys]
