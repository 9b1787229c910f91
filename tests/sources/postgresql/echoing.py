"""A server that speaks just enough of PostgreSQL's protocol to be told a password, and to repeat it in its refusal."""

import socket
import struct
import threading
from contextlib import suppress

_CLEAR_PASSWORD = b"R" + struct.pack(">II", 8, 3)


class EchoingPostgreSQL:
    """Listens on `port` of loopback. `passwords` are those that it was told."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.passwords: list[str] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        with suppress(OSError):  # of the listener, once it is closed
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(OSError):
                    connection.settimeout(10)
                    self._refuse(connection)

    def _refuse(self, connection: socket.socket) -> None:
        connection.recv(65_536)  # who wants in, and where to
        connection.sendall(_CLEAR_PASSWORD)
        password = connection.recv(65_536)[5:-1].decode()
        self.passwords.append(password)
        fields = {
            "S": "FATAL",
            "V": "FATAL",
            "C": "28P01",
            "M": f"no {password}",
            "D": password,
            "H": f"not {password}",
        }
        told = b"".join(name.encode() + text.encode() + b"\0" for name, text in fields.items()) + b"\0"
        connection.sendall(b"E" + struct.pack(">I", len(told) + 4) + told)
