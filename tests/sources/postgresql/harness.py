"""PostgreSQL's `items`."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.sources.harness import SqlHarness


class PostgreSQLHarness(SqlHarness):
    connector_type = "postgresql"
    writing = "INSERT INTO items VALUES (0, 'written', now()) RETURNING id"

    @property
    def config(self) -> dict[str, Any]:
        return {"dsn": self.server.address}

    def changed(
        self, *, host: str | None = None, port: int | None = None, password: str | None = None
    ) -> dict[str, Any]:
        parts = urlsplit(self.server.address)
        address = f"{host or parts.hostname}:{port or parts.port}"
        return {
            "dsn": f"postgresql://{parts.username}:{password or parts.password}@{address}{parts.path}?sslmode=disable"
        }

    def fill(self, rows: int) -> None:
        self._run(
            "DROP TABLE IF EXISTS items; CREATE TABLE items (id int, name text, updated_at timestamptz); "
            f"INSERT INTO items SELECT n, 'Item ' || n, now() - interval '1 day' FROM generate_series(1, {rows}) n"
        )

    def touch(self, ids: Sequence[int]) -> None:
        self._run("UPDATE items SET updated_at = now() WHERE id = ANY(%s)", list(ids))

    def forget_name(self, item: int) -> None:
        self._run("UPDATE items SET name = NULL WHERE id = %s", item)

    def connections(self) -> int:
        return self._count("application_name = 'qanatix'")

    def slow(self) -> str:
        self.fill(1)
        return "SELECT id, pg_sleep(600)::text AS name FROM items"

    def at_work(self) -> int:
        return self._count("application_name = 'qanatix' AND state = 'active' AND query LIKE '%pg_sleep%'")

    def _count(self, condition: str) -> int:
        with psycopg.connect(self.server.address) as connection:
            row = connection.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {condition}".encode()).fetchone()
        assert row is not None
        return int(row[0])

    def _run(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.server.address) as connection:
            connection.execute(statement.encode(), values or None)
