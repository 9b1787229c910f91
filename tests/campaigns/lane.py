"""One store and one source, between which the same pull is made over and over, and dies on its way."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.extents import NEW_ROWS, Extent
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.opening import open_store
from qanatix_pipelines.watermarks import Watermark
from tests.campaigns.contents import contents, made, put_back
from tests.campaigns.goods import FIRST, OVERLAP, SECOND, SINCE, Goods
from tests.campaigns.lives import Death, lived
from tests.campaigns.victim import Life, Mood, live

BATCH_SIZE = 12
# The coarsest of the sources' clocks, MongoDB's.
TICK = timedelta(milliseconds=1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass
class Figures:
    """`late` are deaths after the pull's end. `different` tells the pulls that left something else than a clean one."""

    pulls: int = 0
    kills: int = 0
    twice: int = 0
    late: int = 0
    different: list[str] = field(default_factory=list)


class Lane:
    """The store of `settings` is empty at first. It is given connectors.

    The pulls of `by_part` read from a number on that they are told, and leave the watermark alone. That of `at_first`
    is the first into its set. Those of `by_time` and `at_first` are large.
    """

    def __init__(self, settings: Settings, goods: Goods[Any]) -> None:
        self._settings, self._goods = settings, goods
        self._store = open_store(settings)
        self._kept = contents(self._store.engine)
        self._runs = 0
        self.figures = Figures()
        goods.empty()
        goods.add(FIRST)
        self.by_time = self._registered("by_time", goods.since)
        self.by_number = self._registered("by_number", goods.beyond, cursor_column="n", overlap=OVERLAP)
        self.by_part = self._registered("by_part", goods.beyond, cursor_column="n")
        self._extents: dict[UUID, Extent] = {}
        self._large: set[UUID] = set()
        for connector in (self.by_time, self.by_number, self.by_part):
            self._pull(connector, [])
            self._kept = contents(self._store.engine)
        self._extents[self.by_part.id] = Extent(since=SINCE)
        self.at_first = self._registered("at_first", goods.beyond, cursor_column="n")
        self._kept = contents(self._store.engine)
        self._large = {self.by_time.id, self.at_first.id}
        goods.add(SECOND)
        self._clean: dict[UUID, dict[str, object]] = {}
        self._seconds = 0.0

    def close(self) -> None:
        self._store.engine.dispose()

    def clean(self, connector: Connector) -> Receipt:
        """The pull that nothing happens to: all others must do the same."""
        put_back(self._store.engine, self._kept)
        receipt, self._clean[connector.id] = self._pull(connector, [])
        return receipt

    def watermark(self, connector: Connector) -> Watermark | None:
        return self._store.connectors.get(connector.id).watermark

    def instant(self, random: Random) -> Death:
        """Any instant of a life, and a little after it."""
        return Death(seconds=random.uniform(0, self._seconds))

    def pull(self, connector: Connector, deaths: Sequence[Death], mood: Mood = "well") -> int:
        """Make the pull with these deaths on its way. How many of them met it alive."""
        put_back(self._store.engine, self._kept)
        before = self.figures.kills
        _, found = self._pull(connector, deaths, mood)
        kills = self.figures.kills - before
        self.figures.pulls += 1
        self.figures.twice += kills > 1
        wrong = [part for part, value in self._clean[connector.id].items() if found[part] != value]
        if wrong:
            source = self._goods.harness.connector_type
            self.figures.different.append(f"{source} {connector.name} {deaths} {mood}: {', '.join(wrong)}")
        return kills

    def _pull(
        self, connector: Connector, deaths: Sequence[Death], mood: Mood = "well"
    ) -> tuple[Receipt, dict[str, object]]:
        """Its receipt, and all that can be said of the store after it."""
        timed = connector.cursor_column is None
        earliest = self._goods.clock() - TICK if timed else None
        pull, _ = self._store.pulls.queue(connector.id, self._extents.get(connector.id, NEW_ROWS))
        for death in deaths:
            self._live(pull, death, mood)
            if self._begun_again(pull):
                self.figures.kills += 1
            else:
                self.figures.late += 1
                break
        else:
            self._live(pull, Death(), mood)
        receipt = self._store.pulls.get(pull.id)
        found = made(self._store.engine, self._kept, pull.id)
        found["told by its run"] = receipt.run_id == f"run {self._runs}"
        if timed and isinstance(receipt.watermark, datetime) and earliest is not None:
            found["the source's time"] = earliest <= receipt.watermark <= self._goods.clock()
        if self._store.engine.dialect.name == "sqlite":
            with self._store.engine.connect() as connection:
                found["integrity"] = connection.execute(sa.text("PRAGMA integrity_check")).scalars().all()
        return receipt, found

    def _live(self, pull: Receipt, death: Death, mood: Mood) -> None:
        self._runs += 1
        life = Life(
            self._settings,
            pull.connector_id,
            pull.id,
            f"run {self._runs}",
            mood,
            point=death.point,
            step=death.step,
            large=pull.connector_id in self._large,
        )
        seconds = lived(live, life, death)
        if death == Death():
            self._seconds = seconds

    def _begun_again(self, pull: Receipt) -> bool:
        """Do as the sensor does once the lease has run out. False if the pull has ended."""
        with self._store.engine.begin() as transaction:
            transaction.execute(tables.pull.update().where(tables.pull.c.id == pull.id).values(lease_until=LONG_AGO))
        lapsed = self._store.pulls.lapsed()
        return any(self._store.pulls.retry(found) for found in lapsed)

    def _registered(self, name: str, query: str, **fields: object) -> Connector:
        given: dict[str, object] = {
            "name": name,
            "connector_type": self._goods.harness.connector_type,
            "vertical": "testing",
            "entity_type": name,
            "connection_config": self._goods.config,
            "query": query,
            "name_column": "title",
            "id_column": "sku",
            "batch_size": BATCH_SIZE,
        }
        return self._store.connectors.add(NewConnector.model_validate(given | fields))
