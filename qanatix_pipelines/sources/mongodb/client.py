"""pymongo's client as we use it: what it tells servers, takes from them, and lets others in our process hear."""

from typing import Any

from pymongo import AsyncMongoClient

from qanatix_pipelines.libraries import replaced
from qanatix_pipelines.sources.driver import known, overriding, quiet, seeing
from qanatix_pipelines.sources.hashing import check_iterations

with known("pymongo"):
    from pymongo.asynchronous.pool import AsyncConnection, Pool
    from pymongo.auth_shared import _parse_scram_response
    from pymongo.common import MAX_MESSAGE_SIZE
    from pymongo.monitoring import _EventListeners

quiet("pymongo")

Document = dict[str, Any]


@overriding(AsyncConnection, "command", "receive_message")
class _Connection(AsyncConnection):
    """Bounds what a server may make the driver hold and compute, and what the driver tells it."""

    async def command(self, dbname: str, spec: Any, *args: Any, **options: Any) -> Document:
        if "client" in spec:
            # It would name our container, our cloud and its region, and the driver has no option against it.
            spec["client"] = {name: value for name, value in spec["client"].items() if name != "env"}
        answer = await super().command(dbname, spec, *args, **options)
        login = answer if "saslStart" in spec else answer.get("speculativeAuthenticate")
        if login:
            check_iterations(int(_parse_scram_response(login["payload"])[b"i"]))
        return answer

    async def receive_message(self, request_id: int | None) -> Any:
        # The driver takes the maximum that the server announced, and makes room for a message before it comes.
        replaced(self, "max_message_size", MAX_MESSAGE_SIZE, kind=object)
        return await super().receive_message(request_id)


class ConnectionPool(Pool):
    """The driver's pool, of our connections: those that read, and those that watch the server."""

    connect = seeing(Pool, "connect", AsyncConnection=_Connection)


@overriding(AsyncMongoClient, "_close_cursor_now", "_close_cursor_soon", "_init_based_on_options")
class Client(AsyncMongoClient[Document]):
    """Takes the options of `session.options`, and `ConnectionPool`."""

    def _init_based_on_options(self, *args: Any, **options: Any) -> None:
        """Before the driver makes anything of its options.

        They hold the listeners that others registered for all clients of the process (`monitoring.register`). Ours
        would tell them its commands and the server's answers: filters, rows, and addresses.
        """
        replaced(self._options.pool_options, "_PoolOptions__event_listeners", None, kind=_EventListeners)
        super()._init_based_on_options(*args, **options)

    async def _close_cursor_now(self, cursor_id: int, address: Any, *_: Any, **__: Any) -> None:
        """Remember it until `close`, which has its own time for it.

        The driver's tells the server at once, also where it was cancelled, and takes as long as the server does.
        """
        self._close_cursor_soon(cursor_id, address)

    async def abandon(self) -> None:
        """Close our end. The server is gone or does not answer: drop what it should still be told."""
        self._topology.pop_all_sessions()
        self._kill_cursors_queue.clear()
        await self.close()
