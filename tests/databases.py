"""The databases that connectors are tested against and shown with, by name: how a server starts, and its harness."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.harness import Harness
from tests.harness.mongodb import MongoDBHarness
from tests.harness.mysql import MySQLHarness
from tests.harness.neo4j import Neo4jHarness
from tests.harness.postgresql import PostgreSQLHarness
from tests.servers import Server, mongodb, mysql, neo4j, postgresql


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
}
