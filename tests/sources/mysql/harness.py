"""MySQL's `items`, on either kind of server."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from tests.servers import Server
from tests.sources.harness import SqlHarness
from tests.sources.mysql.server import execute, parts

# A user of the pulls' own, so that their connections can be counted. It may write: what stops it is not its privileges.
USER = "qanatix_pull"


@cache
def _make_user(address: str) -> None:
    config = parts(address)
    execute(
        address,
        f"CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{config['password']}'",
        f"GRANT ALL ON {config['database']}.* TO {USER}@'%'",
    )


class MySQLHarness(SqlHarness):
    connector_type = "mysql"
    writing = "WITH new AS (SELECT 1 AS id) DELETE FROM items"

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        _make_user(server.address)

    @property
    def config(self) -> dict[str, Any]:
        return parts(self.server.address) | {"user": USER}

    def changed(
        self, *, host: str | None = None, port: int | None = None, password: str | None = None
    ) -> dict[str, Any]:
        changes = {"host": host, "port": port, "password": password}
        return self.config | {key: value for key, value in changes.items() if value is not None} | {"tls": "disabled"}

    def fill(self, rows: int) -> None:
        values = ",".join(f"({n}, 'Item {n}', now(6) - INTERVAL 1 DAY)" for n in range(1, rows + 1))
        self._run(
            "SET sql_notes = 0",  # else the driver prints that there was no such table
            "DROP TABLE IF EXISTS items",
            "CREATE TABLE items (id int, name text, updated_at timestamp(6) NULL)",
            *([f"INSERT INTO items VALUES {values}"] if rows else []),
        )

    def touch(self, ids: Sequence[int]) -> None:
        self._run(f"UPDATE items SET updated_at = now(6) WHERE id IN ({','.join(map(str, ids))})")

    def forget_name(self, item: int) -> None:
        self._run(f"UPDATE items SET name = NULL WHERE id = {item}")

    def connections(self) -> int:
        return self._count("true")

    def slow(self) -> str:
        return "SELECT SLEEP(600) AS id"

    def at_work(self) -> int:
        return self._count("info LIKE 'SELECT SLEEP(600)%'")

    def _count(self, condition: str) -> int:
        listed = f"SELECT count(*) FROM information_schema.processlist WHERE user = '{USER}' AND {condition}"
        ((count,),) = self._run(listed)
        return int(count)

    def _run(self, *statements: str) -> list[tuple[Any, ...]]:
        return execute(self.server.address, *statements)
