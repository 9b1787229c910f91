"""The contract of a connector type: a `Config` for its `connection_config`, and a `Source` that reads its database.

A driver must open its sockets in the asyncio loop of `read`. The egress rules check the sockets of that loop, and see
no others. Calls of a driver stand within `driver.ours()`, and what we change of a driver acts only there.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from qanatix_pipelines.accounts import ORDINARY, Account
from qanatix_pipelines.batches import Named, Reading
from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.tls import Tls
from qanatix_pipelines.watermarks import Window


class SourceConfig(BaseModel):
    """A connection_config. Unknown keys are refused, and errors show no values."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)

    def identity(self) -> tuple[object, ...]:
        """Which database this is, and which account reads it. If that changes, `:last_pull` starts again."""
        return (self.model_dump(),)

    def connection(self) -> dict[str, str | int]:
        """What may be shown, by name: the server, the database and the user, and no secret."""
        return {}

    def protection(self) -> Tls:
        """The least protection of the connection by TLS. No server can lower it."""
        return "none"


@dataclass(frozen=True)
class SourceIdentity:
    """What may be known of a connection_config without its credentials.

    `digest` says which database it is, `connection` is what may be shown, and `tls` is the protection that it demands.
    """

    digest: bytes
    connection: dict[str, str | int]
    tls: Tls


@dataclass(frozen=True)
class Asked:
    """Which placeholders a query says: `:last_pull`, and `:until`."""

    last_pull: bool = False
    until: bool = False


class Stage(StrEnum):
    """What of the opening of a reading is over. An error before it belongs to it, or says by its class to what."""

    LOGIN = "login"
    ACCOUNT = "account"  # it was judged
    QUERY = "query"  # the server took it


class Heard(Protocol):
    """Is called as each stage of the opening is over. `account` is told with `Stage.ACCOUNT`."""

    def __call__(self, stage: Stage, account: Account = ORDINARY, /) -> None: ...


def unheard(_stage: Stage, _account: Account = ORDINARY, /) -> None:
    """Nobody wants to know how far the opening is."""


@runtime_checkable
class OfFiles(Protocol):
    """A source that is a file, and is read only in one of these folders. A type declares them to be given them."""

    folders: Sequence[Path]


class Source(ABC):
    """Reads one database. Made from a checked `Config`; holds no connection between readings."""

    config_type: ClassVar[type[SourceConfig]]
    # The type's name for people, and Dagster's name for it, which has an icon there.
    title: ClassVar[str]
    kind: ClassVar[str]
    # Whether the account may have rights by which a query could do more than read.
    strong_accounts = False
    # The columns that the connector names. A source whose rows are objects returns these beside the rows.
    named = Named()
    passed: Heard = staticmethod(unheard)

    @abstractmethod
    def __init__(self, config: Any) -> None: ...

    @classmethod
    @abstractmethod
    def check_query(cls, query: str) -> Asked:
        """What the query asks for. Connects to nothing.

        Raises QueryRejected if it cannot be a query of this type.
        """

    @classmethod
    def newest(cls, query: str, column: str) -> str:  # noqa: ARG003  # they are for those that can
        """A query for the greatest value of `column` in the result of `query`, which `check_query` has passed.

        Raises QueryRejected if there is no such query.
        """
        raise QueryRejected(
            f"is not possible with {cls.title}: give a query instead, that returns one row which differs when the "
            "source has changed"
        )

    @abstractmethod
    def read(self, query: str, *, window: Window, batch_size: int) -> AbstractAsyncContextManager[Reading]:
        """Connect, run `query` read-only in one snapshot, and disconnect when the context ends, however it ends.

        `window` gives the value of `:last_pull` by the source's clock. If it gives None, `:last_pull` is the least
        value of its type. If it limits the rows, the source does no more work than they need, and the reading tells
        what is `expected` of the whole query.

        Raises SourceError, here and while batches are read, and AccountTooStrong before the query runs. No driver's
        exception passes.
        """
