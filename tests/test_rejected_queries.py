"""A query that its server rejects is told by place and name, in its own words, with what to do: on the real servers."""

import asyncio
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from qanatix_pipelines.errors import QueryRejected, SourceError
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.sources.mongodb.harness import MongoDBHarness
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.mysql.server import execute, parts
from tests.sources.neo4j.harness import Neo4jHarness


def told(connector_type: str, config: dict[str, Any], query: str) -> str:
    """What the pull of a query says that its server rejects."""

    async def read() -> None:
        source = open_source(connector_type, config, strong_accounts=True)
        async with source.read(query, window=Window(), batch_size=10) as reading:
            async for _ in reading.batches:
                pass

    with pytest.raises(SourceError) as caught:
        asyncio.run(read())
    assert isinstance(caught.value, QueryRejected)
    return str(caught.value)


class TestPostgreSQL:
    @pytest.mark.parametrize(
        ("expected", "query"),
        [
            (
                "The source rejected the query at line 1, column 8, 'nme' in \"SELECT nme FROM items\": there is no",
                "SELECT nme FROM items",
            ),
            (
                "at line 3, column 31, 'nme' in \"… items WHERE at > :last_pull AND 1 = nme\": there is no",
                "SELECT id\nFROM items -- the goods\nWHERE at > :last_pull AND 1 = nme",
            ),
            ("'itms' in \"SELECT * FROM itms\": there is no such table or view", "SELECT * FROM itms"),
            ('"Itms" in "SELECT \'...\' FROM "Itms""', "SELECT 'hidden' FROM \"Itms\""),
            ("'shap' in \"SELECT * FROM shap.items\"", "SELECT * FROM shap.items"),
            (
                "'upcase' in \"SELECT upcase(name) FROM items\": there is no such function",
                "SELECT upcase(name) FROM items",
            ),
            ("'=' in \"SELECT 1 WHERE now() = 1\"", "SELECT 1 WHERE now() = 1"),
            ("'SELEC' in \"SELEC 1\": what comes there is not SQL", "SELEC 1"),
            ('at its end, after "SELECT 1 WHERE": what comes there', "SELECT 1 WHERE"),
            ("column 8, 'id' in \"SELECT id FROM items, items two\": more than one", "SELECT id FROM items, items two"),
            ("'name' in \"SELECT max(id), name FROM items\": it is neither grouped", "SELECT max(id), name FROM items"),
            ("'instant' in \"SELECT :last_pull::instant\": there is no such type", "SELECT :last_pull::instant"),
            ("the type of :last_pull cannot be told: cast it", "SELECT 1 AS id WHERE :last_pull IS NOT NULL"),
            (
                "The query must only read, and it would do more (read only sql transaction",
                "SELECT nextval('numbers')",
            ),
            ("there is no such function or operator for these types: check how it is spelt", "SELECT lenght('a')"),
            ("a value in some row cannot be converted", "SELECT name::int FROM items"),
            ("a value in some row cannot be converted", "SELECT name::date FROM items"),
            ("a value in some row cannot be converted", "SELECT (name || '-13-13')::date FROM items"),
        ],
    )
    def test_it_is_told_by_its_place_and_what_is_wrong_there(self, database: str, expected: str, query: str) -> None:
        with psycopg.connect(database) as owner:
            owner.execute("CREATE TABLE items (id int, name text, at timestamptz)")
            owner.execute("CREATE SEQUENCE numbers; INSERT INTO items (name) VALUES ('2026')")
            owner.execute("INSERT INTO items (name) VALUES ('a')")

        assert expected in told("postgresql", {"dsn": database}, query)

    @pytest.mark.parametrize(
        ("expected", "query"),
        [
            ("at line 1, column 16, 'items' in \"SELECT id FROM items WHERE", "SELECT id FROM items WHERE true"),
            ('column 15, "Shop" in', 'SELECT 1 FROM "Shop".orders'),
            (
                "The source rejected the query: the connector's user has no right to read something that",
                "SELECT * FROM seen",
            ),
        ],
    )
    def test_a_right_that_is_missing_is_told_with_what_to_grant(self, database: str, expected: str, query: str) -> None:
        reader = f"reader_{uuid4().hex}"
        with psycopg.connect(database) as owner:
            owner.execute("CREATE TABLE items (id int)")
            owner.execute('CREATE SCHEMA "Shop"')
            owner.execute('CREATE TABLE "Shop".orders (id int)')
            owner.execute(f"CREATE ROLE {reader} LOGIN PASSWORD 'reader'".encode())
            owner.execute(f"CREATE ROLE {reader}_owner; GRANT {reader}_owner TO CURRENT_USER".encode())
            owner.execute(
                f"CREATE VIEW seen AS SELECT * FROM items; GRANT CREATE ON SCHEMA public TO {reader}_owner".encode()
            )
            owner.execute(f"ALTER VIEW seen OWNER TO {reader}_owner; GRANT SELECT ON seen TO {reader}".encode())
        parts = urlsplit(database)
        dsn = parts._replace(netloc=f"{reader}:reader@{parts.hostname}:{parts.port}").geturl()

        sentence = told("postgresql", {"dsn": dsn}, query)

        assert expected in sentence
        assert "grant SELECT on each table and view, and USAGE on its schema, as docs/security.md shows" in sentence


class TestMySQL:
    @pytest.mark.parametrize(
        ("expected", "query"),
        [
            (
                "The source rejected the query at line 1, column 8, 'nme' in \"SELECT nme FROM items\": there is no",
                "SELECT nme FROM items",
            ),
            ("column 10, 'nme' in \"SELECT i.nme FROM items i\": there is no such column", "SELECT i.nme FROM items i"),
            ("'itms' in \"SELECT '...' FROM itms\": there is no such table or view", 'SELECT "hidden" FROM itms'),
            ('in "SELECT * FROM shap.items": there is no such', "SELECT * FROM shap.items"),
            ("'FORM' in \"SELECT * FORM items\": what comes there is not SQL", "SELECT * FORM items"),
            ('at its end, after "SELECT id FROM items WHERE": what comes there', "SELECT id FROM items WHERE"),
            (
                "at line 3, column 34, 'AND' in \"… items WHERE updated_at >:last_pull AND AND x = '...'\": what",
                "SELECT id\nFROM items\nWHERE updated_at >:last_pull AND AND x = 'hidden'",
            ),
            (
                "at line 2, column 22, 'AND' in \"… id FROM items WHERE name = '...' AND AND x = '...' AND y = 1\"",
                f"SELECT id FROM items\nWHERE name = 'a' AND AND x = '{'a' * 90}' AND y = 1",
            ),
            (
                "'upcase' in \"SELECT upcase(name) FROM items\": there is no such function: check how",
                "SELECT upcase(name) FROM items",
            ),
            ("'id' in \"SELECT id FROM items, items two\": more than one table", "SELECT id FROM items, items two"),
            ("query at 'a': two tables are called so", "SELECT 1 FROM items a, items a"),
        ],
    )
    def test_it_is_told_by_its_place_and_what_is_wrong_there(
        self, mysql_server: Server, expected: str, query: str
    ) -> None:
        harness = MySQLHarness(mysql_server)
        harness.fill(1)

        assert expected in told("mysql", parts(mysql_server.address), query)

    @pytest.mark.parametrize(
        ("expected", "query"),
        [
            ("at line 1, column 15, 'closed' in \"SELECT * FROM closed\"", "SELECT * FROM closed"),
            ("at line 1, column 12, 'name' in \"SELECT id, name FROM items\"", "SELECT id, name FROM items"),
        ],
    )
    def test_a_right_that_is_missing_is_told_with_what_to_grant(
        self, mysql_server: Server, expected: str, query: str
    ) -> None:
        MySQLHarness(mysql_server).fill(1)
        reader, config = f"r{uuid4().hex[:12]}", parts(mysql_server.address)
        execute(
            mysql_server.address,
            "CREATE TABLE IF NOT EXISTS closed (id int)",
            f"CREATE USER {reader}@'%' IDENTIFIED BY 'reader'",
            f"GRANT SELECT (id) ON {config['database']}.items TO {reader}@'%'",
        )

        sentence = told("mysql", config | {"user": reader, "password": "reader"}, query)

        assert expected in sentence
        assert "no right to read it: grant SELECT on it, as docs/security.md shows" in sentence


class TestNeo4j:
    @pytest.mark.parametrize(
        ("expected", "query"),
        [
            (
                "query at line 2, column 8, 'm' in \"MATCH (n:Item {a: '...'}) RETURN m.id\": it is not Cypher there",
                "MATCH (n:Item {a: 'hidden'})\nRETURN m.id",
            ),
            ("at line 1, column 10, 'RETURN' in \"MATCH (n RETURN n\"", "MATCH (n RETURN n"),
            ("at line 1, column 8, 'upcase' in \"RETURN upcase('...')\"", "RETURN upcase('hidden')"),
            ("'m' in \"… (n) WHERE n.at > :last_pull RETURN m\"", "MATCH (n) WHERE n.at > :last_pull RETURN m"),
            ("at its end, after \"RETURN '...' +\"", "RETURN 'hidden' + "),
        ],
    )
    def test_it_is_told_by_its_place(self, neo4j_server: Server, expected: str, query: str) -> None:
        assert expected in told("neo4j", Neo4jHarness(neo4j_server).config, query)


class TestMongoDB:
    @pytest.mark.parametrize(
        ("expected", "query"),
        [
            ("The source rejected the query at name.$in (BadValue, code 2).", '{"name": {"$in": 5}}'),
            ("at $and.name.$elemMatch (BadValue", '{"$and": [{"name": {"$elemMatch": 3}}]}'),
            ("The source rejected the query at $in (BadValue", '{"name": {"$in": 5}, "title": {"$in": 5}}'),
            ("The source rejected the query at $expr.$gt (", '{"$expr": {"$gt": ["$name"]}}'),
            ("a regular expression in it is not valid", '{"name": {"$regex": "("}}'),
            ("a projection either names fields", '{"filter": {}, "projection": {"a": 1, "b": 0}}'),
        ],
    )
    def test_it_is_told_by_the_filters_own_operator(
        self, mongodb_harness: MongoDBHarness, expected: str, query: str
    ) -> None:
        mongodb_harness.fill(1)

        assert expected in told("mongodb", mongodb_harness.config, query)
