"""Which connectors are to be pulled or looked at by themselves, as the store keeps it. On SQLite and on PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.errors import SourceUnreachable
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.schedules import Due
from qanatix_pipelines.store.watches import DueWatch
from qanatix_pipelines.tenants import Tenant

HOURLY = {"cron": "0 * * * *", "timezone": "UTC"}
WATCH = {"query": "SELECT 1", "every_seconds": 60}
LATER = timedelta(hours=2)

Register = Callable[..., Connector]


@pytest.fixture
def add(store: Store) -> Register:
    def added(tenant: str = "default", **fields: Any) -> Connector:
        given = {
            "name": "Items",
            "connector_type": "postgresql",
            "vertical": "testing",
            "entity_type": "item",
            "connection_config": {"dsn": "postgresql://reader:secret@db.internal/shop"},
            "query": "SELECT 1 AS id",
        }
        return store.of(Tenant(tenant)).connectors.add(NewConnector.model_validate(given | fields))

    return added


def now() -> datetime:
    return datetime.now(UTC)


def due(store: Store, at: datetime | None = None, limit: int = 100) -> list[Due]:
    return store.schedules.due(at or now() + LATER, limit)


def looks(store: Store, at: datetime | None = None, limit: int = 100) -> list[DueWatch]:
    return store.watches.due(at or now(), limit)


def set_due(store: Store, connector: Connector, at: datetime) -> None:
    with store.engine.begin() as transaction:
        this = tables.connector.c.id == connector.id
        transaction.execute(sa.update(tables.connector).where(this).values(next_due_at=at))


class TestSchedules:
    def test_a_new_connector_is_due_at_its_schedules_next_time(self, store: Store, add: Register) -> None:
        connector = add(schedule=HOURLY)

        next_hour = connector.created_at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        assert store.connectors.get(connector.id).next_due_at == connector.next_due_at == next_hour
        assert due(store, next_hour - timedelta(seconds=1)) == []
        assert [one.connector_id for one in due(store, next_hour)] == [connector.id]

    def test_without_a_schedule_it_never_is(self, store: Store, add: Register) -> None:
        add()
        assert due(store) == []

    def test_all_tenants_are_asked_for_and_the_longest_due_comes_first(self, store: Store, add: Register) -> None:
        late, early = add(schedule=HOURLY), add("acme", schedule=HOURLY)
        set_due(store, late, now() - timedelta(minutes=1))
        set_due(store, early, now() - timedelta(minutes=2))

        assert [one.connector_id for one in due(store)] == [early.id, late.id]
        assert [one.connector_id for one in due(store, limit=1)] == [early.id]

    def test_what_is_due_says_what_a_run_must_be_told(self, store: Store, add: Register) -> None:
        connector = add(schedule=HOURLY)

        (one,) = due(store)

        assert one.partition_key == connector.partition_key
        assert one.source == store.connectors.source_of(connector.id)
        assert one.schedule == HOURLY

    def test_moving_on_happens_once(self, store: Store, add: Register) -> None:
        connector = add(schedule=HOURLY)
        (one,) = due(store)
        first, second = one.due_at + timedelta(hours=1), one.due_at + timedelta(hours=2)

        store.schedules.move_on(one, first)
        store.schedules.move_on(one, second)

        assert store.connectors.get(connector.id).next_due_at == first

    def test_whose_pull_is_in_progress_is_due_once_it_has_ended(self, store: Store, add: Register) -> None:
        connector = add(schedule=HOURLY)
        pull = store.pulls.begin(connector, "run")
        meanwhile = due(store)
        store.pulls.end(pull, SourceUnreachable("It is away."))

        assert meanwhile == []
        assert [one.connector_id for one in due(store)] == [connector.id]

    def test_a_changed_schedule_counts_from_now(self, store: Store, add: Register) -> None:
        connector = add(schedule=HOURLY)
        set_due(store, connector, now() - timedelta(days=1))
        (one,) = due(store, now())

        changed = store.connectors.change(connector.id, {"schedule": {"cron": "0 0 1 1 *"}})
        store.schedules.move_on(one, now())

        new_year = datetime(now().year + 1, 1, 1, tzinfo=UTC)
        assert changed.next_due_at == store.connectors.get(connector.id).next_due_at == new_year

    def test_another_change_leaves_it_due(self, store: Store, add: Register) -> None:
        connector = add(schedule=HOURLY)
        set_due(store, connector, now() - timedelta(days=1))

        store.connectors.change(connector.id, {"name": "Other", "schedule": HOURLY, "query": "SELECT 2 AS id"})

        assert [one.connector_id for one in due(store, now())] == [connector.id]

    def test_a_schedule_ends_with_null(self, store: Store, add: Register) -> None:
        changed = store.connectors.change(add(schedule=HOURLY).id, {"schedule": None})

        assert (changed.schedule, changed.next_due_at, due(store)) == (None, None, [])

    def test_paused_it_is_not_due_and_resumed_from_now_on(self, store: Store, add: Register) -> None:
        connector = add(schedule=HOURLY)
        set_due(store, connector, now() - timedelta(days=1))

        paused = store.connectors.change(connector.id, {"paused": True})
        meanwhile = due(store)
        resumed = store.connectors.change(connector.id, {"paused": False})

        assert (paused.next_due_at, meanwhile) == (None, [])
        assert resumed.next_due_at is not None
        assert now() < resumed.next_due_at <= now() + timedelta(hours=1)

    def test_a_schedule_that_is_changed_while_paused_rests_too(self, store: Store, add: Register) -> None:
        connector = add(schedule=HOURLY)
        store.connectors.change(connector.id, {"paused": True})

        changed = store.connectors.change(connector.id, {"schedule": {"cron": "* * * * *"}})

        assert changed.next_due_at is None


class TestWatches:
    def test_what_was_never_looked_at_is_due_at_once(self, store: Store, add: Register) -> None:
        watched = add("acme", watch=WATCH)
        add()

        (one,) = looks(store)

        assert (one.connector.id, one.connector.tenant, one.watch.query) == (watched.id, "acme", "SELECT 1")

    def test_the_longest_due_comes_first(self, store: Store, add: Register) -> None:
        first, second, third = add(watch=WATCH), add(watch=WATCH), add(watch=WATCH)
        at = now()
        for one in looks(store, at, limit=1):
            store.watches.put_off(one, at)

        assert [one.connector.id for one in looks(store, at + timedelta(minutes=1))] == [second.id, third.id, first.id]

    def test_what_is_seen_first_is_asked_for_and_not_looked_at_until_that_is_settled(
        self, store: Store, add: Register
    ) -> None:
        connector = add(watch=WATCH)
        at = now()
        (one,) = looks(store, at)

        store.watches.see(one, "a", at)

        (asked,) = store.watches.asked(10)
        assert (asked.connector_id, asked.change, asked.digest) == (connector.id, 1, "a")
        assert looks(store, at + LATER) == []
        store.watches.settle(asked)
        assert store.watches.asked(10) == []
        assert len(looks(store, at + timedelta(seconds=60))) == 1
        assert looks(store, at + timedelta(seconds=59)) == []

    def test_the_same_again_is_no_change(self, store: Store, add: Register) -> None:
        add(watch=WATCH)
        changes = [_seen(store, digest, minute) for minute, digest in enumerate("aab")]
        assert changes == [1, None, 2]

    def test_what_comes_back_to_what_it_was_is_a_change_of_its_own(self, store: Store, add: Register) -> None:
        add(watch=WATCH)
        changes = [_seen(store, digest, minute) for minute, digest in enumerate("aba")]
        assert changes == [1, 2, 3]

    def test_settling_happens_once(self, store: Store, add: Register) -> None:
        add(watch=WATCH)
        at = now()
        (one,) = looks(store, at)
        store.watches.see(one, "a", at)
        (asked,) = store.watches.asked(10)
        store.watches.settle(asked)
        (again,) = looks(store, at + LATER)
        store.watches.see(again, "a", at + LATER)

        store.watches.settle(asked)

        assert store.watches.asked(10) == []

    def test_failures_are_counted_told_and_looked_at_less_and_less_often(self, store: Store, add: Register) -> None:
        connector = add(watch=WATCH)
        pauses = []
        at = now()
        for _ in range(8):
            (one,) = looks(store, at)
            store.watches.fail(one, SourceUnreachable("It is away."), at)
            pauses.append(_next_look(store) - at)
            at = _next_look(store)

        kept = store.connectors.get(connector.id)
        assert [pause.total_seconds() for pause in pauses] == [120, 240, 480, 960, 1920, 3600, 3600, 3600]
        assert (kept.watch_failures, kept.watch_error_code, kept.watch_error_detail) == (
            8,
            "source_unreachable",
            "It is away.",
        )

    def test_a_long_interval_is_not_made_shorter_by_failures(self, store: Store, add: Register) -> None:
        add(watch=WATCH | {"every_seconds": 86_400})
        at = now()
        (one,) = looks(store, at)

        store.watches.fail(one, SourceUnreachable("It is away."), at)

        assert _next_look(store) - at == timedelta(days=1)

    def test_an_answer_ends_the_failures(self, store: Store, add: Register) -> None:
        connector = add(watch=WATCH)
        at = now()
        (one,) = looks(store, at)
        store.watches.fail(one, SourceUnreachable("It is away."), at)
        (one,) = looks(store, at + LATER)

        store.watches.see(one, "a", at + LATER)

        kept = store.connectors.get(connector.id)
        assert (kept.watch_failures, kept.watch_error_code, kept.watched_at) == (0, None, at + LATER)

    def test_paused_it_is_not_looked_at_and_resumed_at_once(self, store: Store, add: Register) -> None:
        connector = add(watch=WATCH)
        at = now()
        (one,) = looks(store, at)
        store.watches.see(one, "a", at)

        store.connectors.change(connector.id, {"paused": True})
        meanwhile = (looks(store, at + LATER), store.watches.asked(10))
        store.connectors.change(connector.id, {"paused": False})

        assert meanwhile == ([], [])
        assert [one.connector.id for one in looks(store)] == [connector.id]

    @pytest.mark.parametrize(
        ("change", "anew"),
        [
            ({"name": "Other"}, False),
            ({"schedule": HOURLY}, False),
            ({"watch": WATCH}, False),
            ({"query": "SELECT 2 AS id"}, True),
            ({"watch": WATCH | {"query": "SELECT 2"}}, True),
        ],
    )
    def test_where_something_else_is_watched_or_read_all_counts_as_changed(
        self, store: Store, add: Register, change: dict[str, Any], anew: bool
    ) -> None:
        connector = add(watch=WATCH)
        _seen(store, "a", 0)

        store.connectors.change(connector.id, change)

        assert (_seen(store, "a", 1) is not None) is anew

    def test_a_look_that_was_begun_before_a_change_is_not_kept(self, store: Store, add: Register) -> None:
        connector = add(watch=WATCH)
        at = now()
        (one,) = looks(store, at)
        store.connectors.change(connector.id, {"watch": WATCH | {"query": "SELECT 2"}})

        store.watches.see(one, "a", at)

        assert store.watches.asked(10) == []


def _seen(store: Store, digest: str, minute: int) -> int | None:
    """See this at the only look that is due in so many minutes, and settle it. Which change it is, if it is one."""
    at = now() + timedelta(minutes=minute)
    (one,) = looks(store, at)
    store.watches.see(one, digest, at)
    asked = store.watches.asked(10)
    for change in asked:
        store.watches.settle(change)
    return asked[0].change if asked else None


def _next_look(store: Store) -> datetime:
    with store.engine.connect() as connection:
        found: datetime = connection.execute(sa.select(tables.connector.c.next_look_at)).scalar_one()
    return found
