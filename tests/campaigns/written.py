"""A table (nodes, a collection) called `written` in each database: how it is written and read, and who sees what."""

import asyncio
import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import asyncmy
import asyncpg
import neo4j
import psycopg
from pymongo import AsyncMongoClient, UpdateOne

from tests.campaigns.writers import Language, Run
from tests.servers import Server, new_password
from tests.sources.mongodb.harness import MongoDBHarness
from tests.sources.mysql.server import execute, parts
from tests.sources.neo4j.harness import Neo4jHarness
from tests.sources.sqlite import server as sqlite


class Written(ABC):
    """An empty table of a server's.

    `stamps` are the columns with a time; `number` is one with a sequence's numbers, if any. `late` are those of them
    that may be committed after a pull has gone past them.
    """

    connector_type: ClassVar[str]
    language: ClassVar[Language]
    # What `open_source` is told beside the config.
    allowed: Mapping[str, Any] = {}
    stamps: ClassVar[tuple[str, ...]] = ("updated_at",)
    number: ClassVar[str | None] = None
    late: ClassVar[tuple[str, ...]] = ("updated_at",)

    def __init__(self, server: Server) -> None:
        self.server = server

    @abstractmethod
    def seeing(self) -> Mapping[str, Any] | None:
        """The connection_config of a user that sees all transactions; None where nobody does."""

    @abstractmethod
    def blind(self) -> Mapping[str, Any] | None:
        """That of a user that sees only its own; None where everybody sees all."""

    @abstractmethod
    def connect(self) -> AbstractAsyncContextManager[Run]:
        """A connection of a writer's own, with nothing committed but what it says."""

    @abstractmethod
    def rows(self, cursor: str, after: Any) -> list[tuple[int, int, Any]]:
        """(id, value, cursor) of those whose cursor, a stamp or the number, is greater than that; or of all."""

    def query(self, cursor: str) -> str:
        return f"SELECT id, value, {cursor} FROM written WHERE {cursor} > :last_pull"


class WrittenPostgreSQL(Written):
    connector_type = "postgresql"
    language = Language(
        begin="BEGIN",
        insert="INSERT INTO written VALUES ({id}, {value}, now(), clock_timestamp(), nextval('numbers'))",
        update=(
            "UPDATE written SET value = {value}, updated_at = now(), touched_at = clock_timestamp(), "
            "number = nextval('numbers') WHERE id = {id}"
        ),
    )
    stamps = ("updated_at", "touched_at")
    number = "number"
    late = (*stamps, number)

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._run("DROP TABLE IF EXISTS written")
        self._run("DROP SEQUENCE IF EXISTS numbers")
        self._run("CREATE SEQUENCE numbers")
        self._run(
            "CREATE TABLE written "
            "(id int PRIMARY KEY, value int, updated_at timestamptz, touched_at timestamptz, number bigint)"
        )

    def seeing(self) -> Mapping[str, Any]:
        return self._user("GRANT pg_read_all_stats TO {}")

    def blind(self) -> Mapping[str, Any]:
        return self._user()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Run]:
        connection = await asyncpg.connect(self.server.address)
        try:
            yield connection.execute
        finally:
            await connection.close()

    def rows(self, cursor: str, after: Any) -> list[tuple[int, int, Any]]:
        query = f"SELECT id, value, {cursor} FROM written"
        with psycopg.connect(self.server.address) as connection:
            if after is None:
                return connection.execute(query.encode()).fetchall()
            return connection.execute(f"{query} WHERE {cursor} > %s".encode(), [after]).fetchall()

    def _user(self, *grants: str) -> Mapping[str, Any]:
        name, password = f"reader_{uuid4().hex[:8]}", new_password()
        self._run(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        for grant in ("GRANT SELECT ON written TO {}", *grants):
            self._run(grant.format(name))
        place = self.server.address.rpartition("@")[2]
        return {"dsn": f"postgresql://{name}:{password}@{place}"}

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.server.address) as connection:
            connection.execute(statement.encode())


class WrittenMySQL(Written):
    """On either kind of server."""

    connector_type = "mysql"
    language = Language(
        begin="START TRANSACTION",
        insert="INSERT INTO written VALUES ({id}, {value}, NOW(6))",
        update="UPDATE written SET value = {value}, updated_at = NOW(6) WHERE id = {id}",
    )

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        execute(
            server.address,
            "DROP TABLE IF EXISTS written",
            "CREATE TABLE written (id int PRIMARY KEY, value int, updated_at timestamp(6))",
        )

    def seeing(self) -> Mapping[str, Any]:
        return self._user("GRANT PROCESS ON *.* TO {}")

    def blind(self) -> Mapping[str, Any]:
        return self._user()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Run]:
        connection = await asyncmy.connect(**parts(self.server.address), autocommit=True)
        try:
            async with connection.cursor() as cursor:
                yield cursor.execute
        finally:
            await connection.ensure_closed()

    def rows(self, cursor: str, after: Any) -> list[tuple[int, int, Any]]:
        query = f"SELECT id, value, {cursor} FROM written"
        greater = query if after is None else (f"{query} WHERE {cursor} > %s", [after])
        return execute(self.server.address, greater)  # type: ignore[return-value]

    def _user(self, *grants: str) -> Mapping[str, Any]:
        address = parts(self.server.address)
        name, password = f"reader_{uuid4().hex[:8]}", new_password()
        create = f"CREATE USER {name}@'%' IDENTIFIED BY '{password}'"
        grants = (f"GRANT SELECT ON {address['database']}.* TO {{}}", *grants)
        execute(self.server.address, create, *(grant.format(f"{name}@'%'") for grant in grants))
        return address | {"user": name, "password": password}


class WrittenMariaDB(WrittenMySQL):
    """It has sequences."""

    language = Language(
        begin="START TRANSACTION",
        insert="INSERT INTO written VALUES ({id}, {value}, NOW(6), NEXT VALUE FOR numbers)",
        update=(
            "UPDATE written SET value = {value}, updated_at = NOW(6), number = NEXT VALUE FOR numbers WHERE id = {id}"
        ),
    )
    number = "number"
    late = ("updated_at", number)

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        execute(server.address, "CREATE OR REPLACE SEQUENCE numbers", "ALTER TABLE written ADD COLUMN number bigint")


class WrittenNeo4j(Written):
    connector_type = "neo4j"
    language = Language(begin="BEGIN", insert="{id} {value}", update="{id} {value}")
    # One text for all: each new one would be planned anew.
    _MERGE = "MERGE (w:Written {id: $id}) SET w.value = $value, w.updated_at = datetime()"

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._harness = Neo4jHarness(server)
        self._harness.run("MATCH (w:Written) DELETE w")
        self._harness.run("CREATE CONSTRAINT written IF NOT EXISTS FOR (w:Written) REQUIRE w.id IS UNIQUE")

    def seeing(self) -> Mapping[str, Any] | None:
        return self._harness.config

    def blind(self) -> Mapping[str, Any] | None:
        return None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Run]:
        config = self._harness.config
        auth = config["user"], config["password"]
        async with (
            neo4j.AsyncGraphDatabase.driver(config["uri"], auth=auth) as driver,
            driver.session(database=config["database"]) as session,
        ):
            transaction: neo4j.AsyncTransaction | None = None

            async def run(statement: str) -> None:
                nonlocal transaction
                if transaction is None:
                    transaction = await session.begin_transaction()
                elif statement in ("COMMIT", "ROLLBACK"):
                    await (transaction.commit() if statement == "COMMIT" else transaction.rollback())
                    transaction = None
                else:
                    row, value = map(int, statement.split())
                    await (await transaction.run(self._MERGE, id=row, value=value)).consume()

            yield run

    def rows(self, cursor: str, after: Any) -> list[tuple[int, int, Any]]:
        greater = f"MATCH (w:Written) WHERE $after IS NULL OR w.{cursor} > $after"
        records = self._harness.run(f"{greater} RETURN w.id, w.value, w.{cursor}", after=after)
        return [tuple(record) for record in records]

    def query(self, cursor: str) -> str:
        return f"MATCH (w:Written) WHERE w.{cursor} > $last_pull RETURN w.id AS id, w.value AS value"


class WrittenSQLite(Written):
    """One writer at a time: the others wait for its lock, and stamp when they have it."""

    connector_type = "sqlite"
    _STAMP = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    language = Language(
        begin="BEGIN IMMEDIATE",
        insert=f"INSERT INTO written VALUES ({{id}}, {{value}}, {_STAMP})",
        update=f"UPDATE written SET value = {{value}}, updated_at = {_STAMP} WHERE id = {{id}}",
    )

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._path = Path(server.address).with_name("written.db")
        self.allowed = {"folders": (self._path.parent,)}
        sqlite.execute(
            self._path,
            "PRAGMA journal_mode = WAL",  # no pull holds up a commit
            "DROP TABLE IF EXISTS written",
            "CREATE TABLE written (id INTEGER PRIMARY KEY, value INTEGER, updated_at TEXT)",
        )

    def seeing(self) -> Mapping[str, Any] | None:
        return None

    def blind(self) -> Mapping[str, Any] | None:
        return {"path": str(self._path)}

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Run]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as thread:  # one of its own, for who waits for the lock must hold up nobody
            opened = partial(sqlite3.connect, self._path, timeout=60, isolation_level=None)
            connection = await loop.run_in_executor(thread, opened)
            try:
                yield lambda statement: loop.run_in_executor(thread, connection.execute, statement)
            finally:
                await loop.run_in_executor(thread, connection.close)

    def rows(self, cursor: str, after: Any) -> list[tuple[int, int, Any]]:
        """With the time at which they are read in place of their stamp.

        With one writer no row is stamped before the greatest stamp that can be seen. By the clock rows can be lost.
        """
        greater = "" if after is None else f"WHERE {cursor} > '{after}'"
        read = f"SELECT id, value, {self._STAMP} FROM written {greater}"
        return sqlite.execute(self._path, read)  # type: ignore[return-value]


class WrittenMongoDB(Written):
    """Without transactions: a writer takes the time of its own clock, and writes what it stamped when it commits."""

    connector_type = "mongodb"
    language = Language(begin="BEGIN", insert="{id} {value}", update="{id} {value}")
    stamps = ("updated_at", "touched_at")

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._harness = MongoDBHarness(server)
        with self._harness.database() as database:
            database.written.drop()

    def seeing(self) -> Mapping[str, Any] | None:
        return None

    def blind(self) -> Mapping[str, Any] | None:
        return self._harness.config | {"collection": "written"}

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Run]:
        async with AsyncMongoClient[dict[str, Any]](self.server.address, directConnection=True) as client:
            collection = client[self._harness.config["database"]].written
            changes: list[UpdateOne] = []

            async def run(statement: str) -> None:
                if statement in ("BEGIN", "ROLLBACK"):
                    changes.clear()
                elif statement == "COMMIT":
                    await collection.bulk_write(changes)
                else:
                    row, value = map(int, statement.split())
                    change = {"id": row, "value": value, "updated_at": datetime.now(UTC)}
                    server_stamp = {"$currentDate": {"touched_at": True}}
                    changes.append(UpdateOne({"_id": row}, {"$set": change} | server_stamp, upsert=True))

            yield run

    def rows(self, cursor: str, after: Any) -> list[tuple[int, int, Any]]:
        wanted = {} if after is None else {cursor: {"$gt": after}}
        with self._harness.database() as database:
            return [(document["id"], document["value"], document[cursor]) for document in database.written.find(wanted)]

    def query(self, cursor: str) -> str:
        return json.dumps({"filter": {cursor: {"$gt": ":last_pull"}}, "projection": {"id": 1, "value": 1}})
