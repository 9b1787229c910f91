"""The world around the product: databases, whose rows come, change and go, and the clock by which they are stamped."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from qanatix_pipelines.errors import PullError
from tests.campaigns import model
from tests.campaigns.shelf import OUTER_SECONDS, instant
from tests.campaigns.shelf import database as empty_database

HOUR = 3600
VALUES = st.tuples(st.sampled_from([None, 1, 2, 3]), st.sampled_from([None, " ", "Bolt", "Nut", "Gear", "Cog"]))


def one_of(choices: Callable[[Any], list[Any]]) -> st.SearchStrategy[Any]:
    return st.runner().flatmap(lambda machine: st.sampled_from(choices(machine)))


class World(RuleBasedStateMachine):
    """What happens there is told to the model, too."""

    def __init__(self) -> None:
        super().__init__()
        self.model = model.Model()
        self.databases = {name: empty_database() for name in self.model.databases}

    def teardown(self) -> None:
        for database in self.databases.values():
            database.close()

    def clock(self) -> datetime:
        """The databases'."""
        return instant(self.model.clock)

    @rule(
        database=st.sampled_from(["north", "south"]),
        rows=st.lists(VALUES, min_size=1, max_size=4),
        late=st.integers(0, 2),
    )
    def insert(self, database: str, rows: list[tuple[int | None, str | None]], late: int) -> None:
        """All with one stamp, by the source's clock or up to two hours ago: their transaction took so long."""
        for sku, name in rows:
            number = max(self.model.databases[database], default=0) + 1
            self._write(database, number, sku, name, self.model.clock - late * HOUR)

    @precondition(lambda self: self._rows())
    @rule(row=one_of(lambda world: world._rows()), values=st.none() | VALUES, stamped=st.booleans())
    def update_or_delete(
        self, row: tuple[str, model.Row], values: tuple[int | None, str | None] | None, stamped: bool
    ) -> None:
        """Some applications do not touch the stamp."""
        database, old = row
        if values is None:
            del self.model.databases[database][old.id]
            self.databases[database].execute("DELETE FROM items WHERE id = ?", [old.id])
        else:
            self._write(database, old.id, *values, self.model.clock if stamped else old.stamp)

    @rule(hours=st.integers(-3, 3))
    def set_the_sources_clock(self, hours: int) -> None:
        self.model.ahead += hours * HOUR
        self.model.setting += hours != 0

    def _write(self, database: str, number: int, sku: int | None, name: str | None, stamp: int) -> None:
        self.model.write(database, number, sku, name, stamp)
        self.databases[database].execute(
            "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)", [number, sku, name, instant(stamp).isoformat()]
        )

    def _rows(self) -> list[tuple[str, model.Row]]:
        return [(database, row) for database, rows in self.model.databases.items() for row in rows.values()]


def together(number: int, call: Callable[[], Any]) -> list[Any]:
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
