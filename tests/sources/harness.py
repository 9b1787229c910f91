"""What the behaviour suite needs to know of a database: one module for each connector type, called by its name.

`test_every_source.py` runs over all of them. A harness holds a table (a collection, nodes with a label) called `items`:
`id` counts from 1, `name` is "Item <id>", `updated_at` is a time of the database's own kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from tests.servers import Server, free_port


class Harness(ABC):
    """One connector type's real server, filled as a test wants it."""

    connector_type: ClassVar[str]
    # Queries over `items`, in the type's own language.
    everything: ClassVar[str]
    since: ClassVar[str]  # those with updated_at > :last_pull
    above: ClassVar[str]  # those with an id > :last_pull
    during: ClassVar[str]  # those with updated_at > :last_pull and <= :until
    among: ClassVar[str]  # those with an id > :last_pull and <= :until
    id_column: ClassVar[str] = "id"  # what the key is called in a result
    nothing: ClassVar[str]
    nameless: ClassVar[str | None]  # everything, without a column called `name`; None where that cannot be said
    rejected: ClassVar[str]  # well-formed enough to be registered, refused by the server
    missing: ClassVar[str | None]  # of a table that is not there; None where that is no error
    repeated: ClassVar[str | None]  # two columns of one name; None where the language forbids it
    greatest_body: ClassVar[int] = 64 * 2**20  # bytes that one value may have
    writing: ClassVar[str | None]  # inserts a row; None where a query cannot say it
    networked: ClassVar[bool] = True  # whether it has a host, a port and a password

    def __init__(self, server: Server) -> None:
        self.server = server
        # What the operator allows, as `open_source` takes it.
        self.allowed: dict[str, Any] = {}

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """A connection_config that works."""

    @abstractmethod
    def changed(
        self, *, host: str | None = None, port: int | None = None, password: str | None = None
    ) -> dict[str, Any]:
        """The config with another host, port or password."""

    @abstractmethod
    def fill(self, rows: int) -> None:
        """Make `items` hold just these rows, changed a day ago."""

    @abstractmethod
    def touch(self, ids: Sequence[int]) -> None:
        """Set `updated_at` of these to the source's present time."""

    @abstractmethod
    def forget_name(self, item: int) -> None:
        """Set the name of one item to null."""

    @abstractmethod
    def with_body(self, size: int, item: int | None = None) -> str:
        """Give one item, or else all, a `body` of so many bytes as JSON text, and the others a short one.

        Returns a query for everything.
        """

    @abstractmethod
    def connections(self) -> int:
        """How many connections of pulls are open at the server."""

    @abstractmethod
    def slow(self) -> str:
        """Prepare and return a query that the server works on for minutes before its first row."""

    @abstractmethod
    def at_work(self) -> int:
        """How many slow queries the server works on."""

    def unknown_host(self) -> dict[str, Any]:
        return self.changed(host="no-such-host.invalid")

    def closed_port(self) -> dict[str, Any]:
        return self.changed(port=free_port())

    def wrong_password(self) -> dict[str, Any]:
        return self.changed(password="not-the-password")


class SqlHarness(Harness):
    """What is the same in every SQL."""

    everything = "SELECT id, name, updated_at FROM items ORDER BY id"
    since = "SELECT id, name, updated_at FROM items WHERE updated_at > :last_pull"
    above = "SELECT id, name, updated_at FROM items WHERE id > :last_pull"
    during = f"{since} AND updated_at <= :until"
    among = f"{above} AND id <= :until"
    nothing = "SELECT id, name FROM items WHERE false"
    nameless = "SELECT id, updated_at FROM items"
    rejected = "SELECT no_such_column FROM items"
    missing = "SELECT * FROM no_such_table"
    repeated = "SELECT id, name, name FROM items"

    def with_body(self, size: int, item: int | None = None) -> str:
        return self.with_bodies(f"CASE WHEN id = coalesce({item or 'NULL'}, id) THEN {size} ELSE 1 END")

    def with_bodies(self, size: str) -> str:
        """Like `with_body`, for all items. `size` is an SQL expression."""
        return f"SELECT id, name, repeat('x', {size}) AS body FROM items ORDER BY id"
