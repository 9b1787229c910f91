"""Neo4j's `items`: nodes with the label Item."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from tests.sources.harness import Harness
from tests.sources.neo4j.server import driver


class Neo4jHarness(Harness):
    connector_type = "neo4j"
    everything = "MATCH (n:Item) RETURN n.id AS id, n.name AS name, n.updated_at AS updated_at ORDER BY id"
    since = (
        "MATCH (n:Item) WHERE n.updated_at > :last_pull RETURN n.id AS id, n.name AS name, n.updated_at AS updated_at"
    )
    above = "MATCH (n:Item) WHERE n.id > $last_pull RETURN n.id AS id, n.name AS name"
    during = since.replace(" RETURN", " AND n.updated_at <= $until RETURN")
    among = above.replace(" RETURN", " AND n.id <= $until RETURN")
    nothing = "MATCH (n:Item) WHERE false RETURN n.id AS id, n.name AS name"
    nameless = "MATCH (n:Item) RETURN n.id AS id, n.updated_at AS updated_at"
    rejected = "MATCH (n:Item) RETURN no_such_variable"
    missing = None
    repeated = "MATCH (n:Item) RETURN n.id AS id, n.name AS name, n.name AS name"
    writing = "CREATE (n:Item {id: 0, name: 'written'}) RETURN n.id AS id"

    @property
    def config(self) -> dict[str, Any]:
        return self.changed()

    def changed(
        self, *, host: str | None = None, port: int | None = None, password: str | None = None
    ) -> dict[str, Any]:
        parts = urlsplit(self.server.address)
        return {
            "uri": f"bolt://{host or parts.hostname}:{port or parts.port}",
            "user": parts.username,
            "password": password or parts.password,
            "database": parts.path.strip("/"),
            "tls": "disabled",
        }

    def fill(self, rows: int) -> None:
        self.run("MATCH (n:Item) DETACH DELETE n")
        self.run(
            "UNWIND range(1, $rows) AS n "
            "CREATE (:Item {id: n, name: 'Item ' + n, updated_at: datetime() - duration('P1D')})",
            rows=rows,
        )

    def touch(self, ids: Sequence[int]) -> None:
        self.run("MATCH (n:Item) WHERE n.id IN $ids SET n.updated_at = datetime()", ids=list(ids))

    def forget_name(self, item: int) -> None:
        self.run("MATCH (n:Item {id: $item}) REMOVE n.name", item=item)

    def with_body(self, size: int, item: int | None = None) -> str:
        """The body is stored once, for a transaction of the server may not hold many of them."""
        self.run("MERGE (b:Body) SET b.long = $long", long="x" * size)
        long = "COLLECT { MATCH (b:Body) RETURN b.long }[0]"
        body = long if item is None else f"CASE n.id WHEN {item} THEN {long} ELSE 'x' END"
        return f"MATCH (n:Item) WITH n ORDER BY n.id RETURN n.id AS id, n.name AS name, {body} AS body"

    def connections(self) -> int:
        (row,) = self.run("CALL dbms.listConnections() YIELD userAgent WHERE userAgent = 'qanatix' RETURN count(*)")
        return int(row[0])

    def slow(self) -> str:
        return "UNWIND range(1, 10000000000) AS x WITH x WHERE x < 0 RETURN x AS id, 'never' AS name"

    def at_work(self) -> int:
        (row,) = self.run(
            "SHOW TRANSACTIONS YIELD currentQuery WHERE currentQuery STARTS WITH 'UNWIND' RETURN count(*)"
        )
        return int(row[0])

    def run(self, statement: str, **parameters: object) -> list[Any]:
        """The records of a statement that the test itself runs."""
        with driver(self.server.address) as connection:
            return connection.execute_query(
                statement, parameters, database_=urlsplit(self.server.address).path.strip("/")
            ).records
