"""A way to PostgreSQL that breaks where a transaction commits: only there does a lost answer leave a doubt."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from select import select
from typing import Literal, Self

CHUNK = 64 * 1024

# When the connection is cut that a COMMIT comes by on: never, before the server has it, as soon as it was sent on, or
# when the server has answered, which nobody is told.
Cut = Literal["never", "before", "at once", "after"]


class Commits:
    """A listening port before a server's, until the context ends. `number` is how many COMMITs came by.

    `cut` decides by that number; `crash` is called where it has, just before.
    """

    def __init__(self, host: str, port: int) -> None:
        self.number = 0
        self.cut: Callable[[int], Cut] = lambda _number: "never"
        self.crash: Callable[[], object] = lambda: None
        self._target = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._ends: list[socket.socket] = []
        self._closing = False

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()  # the listener wakes
        self._threads[0].join()
        for end in self._ends:
            with suppress(OSError):  # closed by now
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._closing:
                client.close()
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:  # it is being started again
                client.close()
                continue
            self._ends += [client, server]
            thread = threading.Thread(target=self._serve, args=(client, server))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):  # either end may go at any time
            while True:
                for end in select([client, server], [], [])[0]:
                    data = end.recv(CHUNK)
                    if not data:
                        return
                    cut = self._cut(data) if end is client else "never"
                    if cut != "before":
                        (server if end is client else client).sendall(data)
                    if cut == "after":
                        server.recv(CHUNK)
                    if cut != "never":
                        self.crash()
                        return

    def _cut(self, sent: bytes) -> Cut:
        if b"COMMIT\x00" not in sent:
            return "never"
        self.number += 1
        return self.cut(self.number)
