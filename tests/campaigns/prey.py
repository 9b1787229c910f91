"""Databases that hostile queries are let loose on, and witnesses of all that could have changed there."""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar
from urllib.parse import urlsplit

import psycopg
from pymongo import MongoClient

from tests.servers import Server, new_password
from tests.sources.mysql import server as mysql
from tests.sources.neo4j.server import driver
from tests.sources.postgresql import server as postgresql
from tests.sources.sqlite import server as sqlite

ROWS = 5
GONE_SECONDS = 15  # a session whose query was cancelled may take a moment


class Prey(ABC):
    """One source, filled. `least` is the config of an account that may only read, `strong` that of the greatest."""

    connector_type: ClassVar[str]
    least: dict[str, Any]
    strong: dict[str, Any]
    # What the operator allows besides, as `open_source` takes it.
    allowed: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def witness(self) -> dict[str, Any]:
        """All that a query could have changed: rows, definitions, accounts, settings, files, locks; by its name."""

    def words(self) -> dict[str, str]:
        """What stands in braces in a hostile query."""
        return {}


class PostgreSQLPrey(Prey):
    connector_type = "postgresql"

    # Each gives one text, or null.
    _ASKED: ClassVar[dict[str, str]] = {
        "prey": "SELECT string_agg(prey::text, '|' ORDER BY id) FROM prey",
        "counter": "SELECT last_value::text || is_called FROM counter",
        "relations": "SELECT string_agg(oid || relname || relacl::text, '|' ORDER BY oid) FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace OR relpersistence = 't'",
        "columns": "SELECT count(*)::text FROM pg_attribute",
        "functions": "SELECT string_agg(oid || proname, '|' ORDER BY oid) FROM pg_proc WHERE oid >= 16384",
        "large objects": "SELECT string_agg(oid::text, '|') FROM pg_largeobject_metadata",
        "roles": "SELECT string_agg(a::text, '|' ORDER BY oid) FROM pg_authid AS a",
        "memberships": "SELECT string_agg(m::text, '|' ORDER BY m::text) FROM pg_auth_members AS m",
        "settings of roles": "SELECT string_agg(s::text, '|') FROM pg_db_role_setting AS s",
        "extensions": "SELECT string_agg(extname, '|' ORDER BY extname) FROM pg_extension",
        "databases": "SELECT string_agg(datname, '|' ORDER BY datname) FROM pg_database",
        "slots": "SELECT string_agg(slot_name, '|') FROM pg_replication_slots",
        "locks": "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'",
        "sessions": "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'qanatix'",
        "prepared": "SELECT count(*)::text FROM pg_prepared_xacts",
    }

    def __init__(self, server: Server) -> None:
        owner = urlsplit(postgresql.superuser(server.address))
        self._owner = owner._replace(path="/prey").geturl()
        self._password, self._port = owner.password, owner.port
        with psycopg.connect(owner.geturl(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE prey")
        password = new_password()
        with psycopg.connect(self._owner, autocommit=True) as connection:
            connection.execute(
                f"""
                CREATE TABLE prey (id int, name text);
                INSERT INTO prey SELECT n, 'prey' FROM generate_series(1, {ROWS}) AS n;
                CREATE SEQUENCE counter;
                SELECT lo_from_bytea(4711, 'x');
                CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'DELETE FROM prey RETURNING id';
                CREATE FUNCTION writes_as_owner() RETURNS int LANGUAGE sql SECURITY DEFINER
                  AS 'DELETE FROM prey RETURNING id';
                CREATE PROCEDURE erases() LANGUAGE sql AS 'DELETE FROM prey';
                CREATE ROLE least LOGIN PASSWORD '{password}';
                GRANT SELECT ON prey TO least;
            """.encode()
            )
            (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        self._data = Path(data)
        self.least = {"dsn": f"postgresql://least:{password}@127.0.0.1:{self._port}/prey"}
        self.strong = {"dsn": self._owner}

    def words(self) -> dict[str, str]:
        return {"host": "127.0.0.1", "port": str(self._port), "password": str(self._password)}

    def extend(self, extensions: Collection[str]) -> set[str]:
        """Install which of these there are. With dblink any account is refused."""
        with psycopg.connect(self._owner, autocommit=True) as connection:
            found = connection.execute("SELECT name FROM pg_available_extensions").fetchall()
            installed = {name for (name,) in found}.intersection(extensions)
            for name in installed:
                connection.execute(f"CREATE EXTENSION {name}".encode())
        return installed

    def witness(self) -> dict[str, Any]:
        with psycopg.connect(self._owner, autocommit=True) as connection:
            deadline = time.monotonic() + GONE_SECONDS
            while connection.execute(self._ASKED["sessions"].encode()).fetchone() != ("0",):
                if time.monotonic() > deadline:
                    break  # it is told as a change
                time.sleep(0.05)
            told = {name: connection.execute(query.encode()).fetchone() for name, query in self._ASKED.items()}
        auto = self._data / "postgresql.auto.conf"
        kept = {
            name: sorted(p.name for p in (self._data / name).iterdir()) for name in (".", "pg_replslot", "pg_tblspc")
        }
        return told | {"files": kept, "ALTER SYSTEM": auto.read_text()}


class MySQLPrey(Prey):
    connector_type = "mysql"

    def __init__(self, server: Server, data: Path) -> None:
        self._address, self._data = server.address, data
        self.strong = mysql.parts(server.address)
        self._database = self.strong["database"]
        self._maria = "MariaDB" in server.version
        password = new_password()
        mysql.execute(
            server.address,
            "CREATE TABLE prey (id int, name text)",
            *(f"INSERT INTO prey VALUES ({n}, 'prey')" for n in range(1, ROWS + 1)),
            *(["CREATE SEQUENCE counter"] if self._maria else []),
            *([] if self._maria else ["SET GLOBAL log_bin_trust_function_creators = 1"]),
            "CREATE FUNCTION writes() RETURNS int BEGIN DELETE FROM prey; RETURN 1; END",
            "CREATE PROCEDURE erases() DELETE FROM prey",
            f"CREATE USER least@'%' IDENTIFIED BY '{password}'",
            # It may write in its own database: what stops it is the transaction.
            f"GRANT ALL ON {self._database}.* TO least@'%'",
        )
        self.least = self.strong | {"user": "least", "password": password}

    def witness(self) -> dict[str, Any]:
        asked = {
            "prey": "SELECT * FROM prey ORDER BY id",
            "tables": "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_schema NOT IN ('information_schema', 'performance_schema', 'sys') ORDER BY 1, 2",
            "columns": f"SELECT * FROM information_schema.columns WHERE table_schema = '{self._database}'",
            "routines": "SELECT routine_schema, routine_name FROM information_schema.routines ORDER BY 1, 2",
            "accounts": "SELECT * FROM mysql.global_priv" if self._maria else "SELECT * FROM mysql.user",
            "grants": "SELECT * FROM mysql.db",
            "programs": "SELECT * FROM mysql.func",
            "plugins": "SELECT * FROM information_schema.plugins",
            "log": "SELECT @@general_log, @@read_only, @@event_scheduler",
            "lock": "SELECT IS_FREE_LOCK('held')",
            "prepared": "XA RECOVER",
        }
        if self._maria:
            asked["counter"] = "SELECT next_not_cached_value FROM counter"
        told = {name: mysql.execute(self._address, query) for name, query in asked.items()}
        folder = self._data / self._database
        return told | {
            "files": [sorted(p.name for p in folder.iterdir()), sorted(p.name for p in self._data.iterdir())]
        }


class MongoDBPrey(Prey):
    connector_type = "mongodb"
    DATABASES = ("qanatix_prey", "others")

    def __init__(self, server: Server) -> None:
        self._address = server.address
        with self._client() as client:
            for name in self.DATABASES:
                client[name]["prey"].drop()
                client[name]["prey"].insert_many([{"_id": n, "name": "a" * 28 + "!"} for n in range(1, ROWS + 1)])
        self.least = {"uri": server.address, "database": self.DATABASES[0], "collection": "prey"}
        self.strong = self.least

    @contextmanager
    def _client(self) -> Iterator[MongoClient[dict[str, Any]]]:
        with MongoClient[dict[str, Any]](self._address, directConnection=True) as client:
            yield client

    def witness(self) -> dict[str, Any]:
        with self._client() as client:
            names = {name: sorted(client[name].list_collection_names()) for name in (*self.DATABASES, "admin")}
            return names | {
                f"{name}.{collection}": list(client[name][collection].find().sort("_id", 1))
                for name in self.DATABASES
                for collection in names[name]
            }


class Neo4jPrey(Prey):
    """The Community Edition: its one account may do everything."""

    connector_type = "neo4j"

    def __init__(self, server: Server) -> None:
        self._address = server.address
        parts = urlsplit(server.address)
        self.least = {
            "uri": f"bolt://{parts.hostname}:{parts.port}",
            "user": parts.username,
            "password": parts.password,
            "database": parts.path.strip("/"),
        }
        self.strong = self.least
        self._run("MATCH (n:Prey) DETACH DELETE n")
        self._run("UNWIND range(1, $rows) AS n CREATE (:Prey {id: n, name: 'prey'})-[:OF]->(:Prey {id: -n})", rows=ROWS)

    def witness(self) -> dict[str, Any]:
        asked = {
            "nodes": "MATCH (n) RETURN elementId(n) AS id, labels(n), properties(n) ORDER BY id",
            "relationships": "MATCH (a)-[r]->(b) RETURN elementId(r), type(r), properties(r) ORDER BY elementId(r)",
            "labels": "CALL db.labels() YIELD label RETURN label ORDER BY label",
            "types": "CALL db.relationshipTypes() YIELD relationshipType AS name RETURN name ORDER BY name",
            "keys": "CALL db.propertyKeys() YIELD propertyKey RETURN propertyKey ORDER BY propertyKey",
            "indexes": "SHOW INDEXES YIELD name RETURN name ORDER BY name",
            "constraints": "SHOW CONSTRAINTS YIELD name RETURN name ORDER BY name",
            "users": "SHOW USERS YIELD user, passwordChangeRequired RETURN user, passwordChangeRequired ORDER BY user",
            "databases": "SHOW DATABASES YIELD name, currentStatus RETURN name, currentStatus ORDER BY name",
            "settings": "SHOW SETTINGS YIELD name, value RETURN name, value ORDER BY name",
        }
        return {name: hashlib.sha256(repr(self._run(query)).encode()).hexdigest() for name, query in asked.items()}

    def _run(self, query: str, **parameters: object) -> list[Any]:
        with driver(self._address) as connection:
            found = connection.execute_query(query, parameters, database_=self.least["database"])
        return [record.values() for record in found.records]


class SQLitePrey(Prey):
    connector_type = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "prey.db"
        sqlite.execute(
            self.path,
            "CREATE TABLE prey (id, name)",
            "INSERT INTO prey VALUES " + ", ".join(f"({n}, 'prey')" for n in range(1, ROWS + 1)),
            "CREATE VIRTUAL TABLE searched USING fts5(text)",
            "INSERT INTO searched VALUES ('one two')",
            "CREATE VIEW loads AS SELECT load_extension('/tmp/x') AS id",
            "CREATE VIEW endless AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) "
            "SELECT max(id) AS id FROM n",
        )
        self.least = self.strong = {"path": str(self.path)}
        self.allowed = {"folders": (folder,)}

    def witness(self) -> dict[str, Any]:
        """All of the file, and what is beside it: to look, its locks must be free."""
        sqlite.execute(self.path, "BEGIN EXCLUSIVE", "ROLLBACK")
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(self.folder.iterdir())}
