"""The databases that connectors are tested against and shown with, by name: how a server starts, and its harness."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.servers import Server
from tests.sources.harness import Harness
from tests.sources.mongodb import server as mongodb
from tests.sources.mongodb.harness import MongoDBHarness
from tests.sources.mysql import server as mysql
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.neo4j import server as neo4j
from tests.sources.neo4j.harness import Neo4jHarness
from tests.sources.postgresql import server as postgresql
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.sources.sqlite import server as sqlite
from tests.sources.sqlite.harness import SQLiteHarness


@dataclass(frozen=True)
class Database:
    """`start` raises ServerMissing where no such server can be had: an error in tests, never a skip."""

    start: Callable[[], Server]
    harness: type[Harness]


DATABASES = {
    "postgresql": Database(postgresql.start, PostgreSQLHarness),
    "mysql": Database(mysql.start_mariadb, MySQLHarness),
    "mysql97": Database(mysql.start_mysql97, MySQLHarness),
    "mongodb": Database(mongodb.start, MongoDBHarness),
    "neo4j": Database(neo4j.start, Neo4jHarness),
    "sqlite": Database(sqlite.start, SQLiteHarness),
}
