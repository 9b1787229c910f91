"""Goods in a real source, of which one pull meets every kind: new, changed, repeated, as they are kept, rejected.

A good has a number `n`, by which they are read in order, a key `sku`, a `title`, which is its name, and an `amount`.
Its `updated_at` is the source's own time.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeVar

import psycopg
from bson.datetime_ms import DatetimeMS

from tests.sources.harness import Harness
from tests.sources.mongodb.harness import MongoDBHarness
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.neo4j.harness import Neo4jHarness
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.sources.sqlite.harness import SQLiteHarness
from tests.sources.sqlite.server import execute

Good = tuple[int, str, str | None, int]

# What a first pull finds, and what there is besides at the second.
FIRST: list[Good] = [(n, f"sku-{n}", f"Good {n}", n) for n in range(1, 31)]
_NEW: list[Good] = [(n, f"sku-{n}", f"Good {n}", n) for n in range(41, 51)]
SECOND: list[Good] = [
    *((30 + n, f"sku-{n}", f"Good {n}, changed", n) for n in range(1, 11)),
    *_NEW,
    *_NEW[:2],
    (51, "sku-51", None, 51),
    (52, "sku-52", "  ", 52),
    *((n, f"sku-{n}", f"Good {n}", n) for n in range(53, 61)),
    (61, "sku-43", "Good 43, changed at once", 43),
]
GREATEST = 61
# Where the cursor is `n`, so many of the first pull's are read again.
OVERLAP = 15
# Where a pull begins that is told where.
SINCE = 16

_Harness = TypeVar("_Harness", bound=Harness)


class Goods(ABC, Generic[_Harness]):
    """The goods of one source. `since` asks for those changed after a time, `beyond` for those of a greater `n`."""

    since: ClassVar[str]
    beyond: ClassVar[str]

    def __init__(self, harness: _Harness) -> None:
        self.harness = harness

    @property
    def config(self) -> dict[str, Any]:
        """A connection_config of them."""
        return self.harness.config

    @abstractmethod
    def empty(self) -> None:
        """Have no goods."""

    @abstractmethod
    def add(self, goods: Sequence[Good]) -> None:
        """Have these as well, as of now."""

    @abstractmethod
    def clock(self) -> datetime:
        """The source's time."""


class _SqlGoods(Goods[_Harness]):
    since = "SELECT n, sku, title, amount FROM goods WHERE updated_at > :last_pull ORDER BY n"
    beyond = "SELECT n, sku, title, amount FROM goods WHERE n > :last_pull ORDER BY n"


class PostgreSQLGoods(_SqlGoods[PostgreSQLHarness]):
    def empty(self) -> None:
        self.harness._run("DROP TABLE IF EXISTS goods")
        self.harness._run(
            "CREATE TABLE goods (n int, sku text, title text, amount int, updated_at timestamptz DEFAULT now()) "
            "WITH (autovacuum_enabled = false)"  # what its planner estimates is told by a test: it stays the same
        )

    def add(self, goods: Sequence[Good]) -> None:
        for good in goods:
            self.harness._run("INSERT INTO goods VALUES (%s, %s, %s, %s)", *good)

    def clock(self) -> datetime:
        with psycopg.connect(self.harness.server.address) as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        found: datetime = row[0]
        return found


class MySQLGoods(_SqlGoods[MySQLHarness]):
    def empty(self) -> None:
        self.harness._run(
            "DROP TABLE IF EXISTS goods",
            "CREATE TABLE goods (n int, sku varchar(20), title text, amount int, "
            "updated_at timestamp(6) DEFAULT current_timestamp(6))",
        )

    def add(self, goods: Sequence[Good]) -> None:
        values = ", ".join(
            f"({n}, '{sku}', {'NULL' if title is None else repr(title)}, {amount})" for n, sku, title, amount in goods
        )
        self.harness._run(f"INSERT INTO goods (n, sku, title, amount) VALUES {values}")

    def clock(self) -> datetime:
        ((found,),) = self.harness._run("SELECT utc_timestamp(6)")
        return found.replace(tzinfo=UTC)  # type: ignore[no-any-return]


class SQLiteGoods(_SqlGoods[SQLiteHarness]):
    def empty(self) -> None:
        execute(
            self.harness.path,
            "DROP TABLE IF EXISTS goods",
            "CREATE TABLE goods (n INTEGER, sku TEXT, title TEXT, amount INTEGER, "
            "updated_at TEXT DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')))",
        )

    def add(self, goods: Sequence[Good]) -> None:
        for n, sku, title, amount in goods:
            text = "NULL" if title is None else repr(title)
            execute(
                self.harness.path,
                f"INSERT INTO goods (n, sku, title, amount) VALUES ({n}, '{sku}', {text}, {amount})",
            )

    def clock(self) -> datetime:
        return datetime.now(UTC)


class MongoDBGoods(Goods[MongoDBHarness]):
    since = (
        '{"filter": {"updated_at": {"$gt": ":last_pull"}}, "projection": {"_id": 0, "updated_at": 0}, "sort": {"n": 1}}'
    )
    beyond = '{"filter": {"n": {"$gt": ":last_pull"}}, "projection": {"_id": 0, "updated_at": 0}, "sort": {"n": 1}}'

    @property
    def config(self) -> dict[str, Any]:
        return self.harness.config | {"collection": "goods"}

    def empty(self) -> None:
        with self.harness.database() as database:
            database.goods.drop()

    def add(self, goods: Sequence[Good]) -> None:
        with self.harness.database() as database:
            now = DatetimeMS(self.harness._now(database))
            database.goods.insert_many(
                {"n": n, "sku": sku, "title": title, "amount": amount, "updated_at": now}
                for n, sku, title, amount in goods
            )

    def clock(self) -> datetime:
        with self.harness.database() as database:
            return datetime.fromtimestamp(self.harness._now(database) / 1000, UTC)


class Neo4jGoods(Goods[Neo4jHarness]):
    _returned = "RETURN g.n AS n, g.sku AS sku, g.title AS title, g.amount AS amount ORDER BY n"
    since = f"MATCH (g:Good) WHERE g.updated_at > :last_pull {_returned}"
    beyond = f"MATCH (g:Good) WHERE g.n > :last_pull {_returned}"

    def empty(self) -> None:
        self.harness.run("MATCH (g:Good) DETACH DELETE g")

    def add(self, goods: Sequence[Good]) -> None:
        self.harness.run(
            "UNWIND $goods AS g CREATE (:Good {n: g[0], sku: g[1], title: g[2], amount: g[3], updated_at: datetime()})",
            goods=[list(good) for good in goods],
        )

    def clock(self) -> datetime:
        ((found,),) = self.harness.run("RETURN datetime.realtime()")
        return found.to_native().astimezone(UTC)  # type: ignore[no-any-return]


GOODS: dict[str, type[Goods[Any]]] = {
    "postgresql": PostgreSQLGoods,
    "mysql": MySQLGoods,
    "mongodb": MongoDBGoods,
    "neo4j": Neo4jGoods,
    "sqlite": SQLiteGoods,
}
