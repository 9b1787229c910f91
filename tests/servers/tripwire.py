"""A listener on loopback that nobody should connect to. It counts who does, and keeps what they say first."""

import socket
import threading
from contextlib import suppress

_WAIT_SECONDS = 0.05


class Tripwire:
    """`connections` counts; `received` is all that was sent, together."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.received = b""
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # of the listener, once it is closed
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                with connection, suppress(OSError):
                    connection.settimeout(_WAIT_SECONDS)
                    self.received += connection.recv(65_536)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
