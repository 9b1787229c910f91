"""The databases that are pulled from, each a server of its own with the same rows: eleven columns, some 250 bytes."""

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import psycopg
from bson.decimal128 import Decimal128
from pymongo import MongoClient

from tests.servers import Server
from tests.sources.mongodb import server as mongodb
from tests.sources.mysql import server as mysql
from tests.sources.neo4j import server as neo4j
from tests.sources.postgresql import server as postgresql

POSTGRESQL_ITEMS = """
CREATE TABLE items AS
SELECT n AS id, 'Item ' || n AS name, (n * 1.25)::numeric(14, 2) AS price, n * 0.5::float8 AS weight, n % 7 AS kind,
       n % 3 = 0 AS active, md5(n::text) AS code, repeat('lorem ', 1 + (n % 10)::int) AS notes,
       now() - n * interval '1 s' AS updated_at, (now() - n * interval '1 s')::date AS day,
       jsonb_build_object('n', n, 'of', ARRAY[n, n + 1]) AS extra
FROM generate_series({}, {}::bigint) n
"""
MARIADB_ITEMS = """
CREATE TABLE items (
    id bigint PRIMARY KEY, name varchar(100), price decimal(14, 2), weight double, kind int, active bool, code char(32),
    notes text, updated_at datetime(6), day date, extra json
)
SELECT seq AS id, concat('Item ', seq) AS name, seq * 1.25 AS price, seq * 0.5e0 AS weight, seq % 7 AS kind,
       seq % 3 = 0 AS active, md5(seq) AS code, repeat('lorem ', 1 + seq % 10) AS notes,
       now(6) - INTERVAL seq SECOND AS updated_at, date(now() - INTERVAL seq SECOND) AS day,
       json_object('n', seq, 'of', json_array(seq, seq + 1)) AS extra
FROM seq_1_to_{}
"""
NEO4J_ITEMS = """
UNWIND range(1, {}) AS n
CALL (n) {{
    CREATE (:Item {{
        id: n, name: 'Item ' + n, price: n * 1.25, weight: n * 0.5, kind: n % 7, active: n % 3 = 0,
        code: left(toString(n) + '-c4ca4238a0b923820dcc509a6f75849b', 32),
        notes: reduce(text = '', _ IN range(0, n % 10) | text + 'lorem '),
        updated_at: datetime() - duration({{seconds: n}}), day: date(datetime() - duration({{seconds: n}})),
        of: [n, n + 1]
    }})
}} IN TRANSACTIONS OF 10000 ROWS
"""
COLUMNS = ("id", "name", "price", "weight", "kind", "active", "code", "notes", "updated_at", "day", "of")
READER = "reader"  # an account that may do more is refused
# How many documents are inserted at a time: so many take little memory.
_DOCUMENTS = 10_000


class Source(ABC):
    """A server with a table, a collection or a label of items."""

    name: str
    connector_type: str
    query: str

    def __init__(self, server: Server) -> None:
        self.server = server
        self.address = server.address  # with the account that only reads
        self.stop = server.stop

    @property
    def version(self) -> str:
        return f"{self.name} {self.server.version}"

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What a connector is given."""

    @abstractmethod
    def fill(self, rows: int) -> None:
        """Replace all items by new ones, with the ids 1 to `rows`."""

    @abstractmethod
    def change(self) -> None:
        """Change one item in a hundred."""


class PostgreSQL(Source):
    name = "PostgreSQL"
    connector_type = "postgresql"
    query = "SELECT * FROM items"

    def __init__(self) -> None:
        super().__init__(postgresql.start())

    @property
    def config(self) -> dict[str, Any]:
        return {"dsn": self.server.address}

    def fill(self, rows: int, above: int = 0) -> None:
        """As above. If another number is given, ids begin with the first one above it."""
        items = POSTGRESQL_ITEMS.format(above + 1, rows)
        self._run("DROP TABLE IF EXISTS items", items, "ALTER TABLE items ADD PRIMARY KEY (id)")
        self._run("VACUUM ANALYZE items")

    def change(self) -> None:
        self._run("UPDATE items SET code = 'changed' WHERE id % 100 = 0")

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self.server.address, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


class MariaDB(Source):
    name = "MariaDB"
    connector_type = "mysql"
    query = "SELECT * FROM items"

    def __init__(self) -> None:
        super().__init__(mysql.start_mariadb())
        parts = mysql.parts(self.server.address)
        self.address = self.server.address.replace(f"{parts['user']}:", f"{READER}:", 1)
        mysql.execute(
            self.server.address,
            f"CREATE USER {READER}@'%' IDENTIFIED BY '{parts['password']}'",
            f"GRANT SELECT ON {parts['database']}.* TO {READER}@'%'",
        )

    @property
    def config(self) -> dict[str, Any]:
        return mysql.parts(self.address) | {"tls": "disabled"}

    def fill(self, rows: int) -> None:
        mysql.execute(self.server.address, "DROP TABLE IF EXISTS items", MARIADB_ITEMS.format(rows))

    def change(self) -> None:
        mysql.execute(self.server.address, "UPDATE items SET code = 'changed' WHERE id % 100 = 0")


class MongoDB(Source):
    name = "MongoDB"
    connector_type = "mongodb"
    query = "{}"

    def __init__(self) -> None:
        super().__init__(mongodb.start())

    @property
    def config(self) -> dict[str, Any]:
        return {"uri": self.server.address, "database": "bench", "collection": "items"}

    def fill(self, rows: int) -> None:
        with MongoClient[dict[str, Any]](self.server.address) as client:
            items = client.bench.items
            items.drop()
            documents = map(_document, range(1, rows + 1))
            while some := list(islice(documents, _DOCUMENTS)):
                items.insert_many(some)

    def change(self) -> None:
        with MongoClient[dict[str, Any]](self.server.address) as client:
            client.bench.items.update_many({"_id": {"$mod": [100, 0]}}, {"$set": {"code": "changed"}})


class Neo4j(Source):
    name = "Neo4j"
    connector_type = "neo4j"
    query = "MATCH (i:Item) RETURN " + ", ".join(f"i.{column} AS {column}" for column in COLUMNS)

    def __init__(self) -> None:
        super().__init__(neo4j.start())

    @property
    def config(self) -> dict[str, Any]:
        parts = urlsplit(self.server.address)
        return {
            "uri": f"bolt://{parts.hostname}:{parts.port}",
            "user": parts.username,
            "password": parts.password,
            "database": parts.path.strip("/"),
            "tls": "disabled",
        }

    def fill(self, rows: int) -> None:
        self._run("MATCH (i:Item) CALL (i) { DELETE i } IN TRANSACTIONS OF 10000 ROWS")
        self._run(NEO4J_ITEMS.format(rows))

    def change(self) -> None:
        self._run("MATCH (i:Item) WHERE i.id % 100 = 0 SET i.code = 'changed'")

    def _run(self, statement: str) -> None:
        with neo4j.driver(self.server.address) as driver, driver.session(database=self.config["database"]) as session:
            session.run(statement).consume()


def _document(n: int) -> dict[str, Any]:
    updated_at = datetime.now(UTC) - timedelta(seconds=n)
    return {
        "_id": n,
        "name": f"Item {n}",
        "price": Decimal128(f"{n * 1.25:.2f}"),
        "weight": n * 0.5,
        "kind": n % 7,
        "active": n % 3 == 0,
        "code": f"{n * 0x9E3779B97F4A7C15:032x}"[-32:],
        "notes": "lorem " * (1 + n % 10),
        "updated_at": updated_at,
        "day": f"{updated_at:%Y-%m-%d}",
        "extra": {"n": n, "of": [n, n + 1]},
    }


SOURCES: dict[str, type[Source]] = {
    "postgresql": PostgreSQL,
    "mariadb": MariaDB,
    "mongodb": MongoDB,
    "neo4j": Neo4j,
}
