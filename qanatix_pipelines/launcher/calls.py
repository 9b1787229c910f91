"""The worker's socket. Each connection carries one request and one answer, each a line of JSON."""

import json
import socket
from pathlib import Path
from typing import Any

SOCKET = "worker.sock"  # in Dagster's home, which worker, webserver and daemon share
# A fork takes milliseconds. A worker that takes longer than this is stopped, or its machine is overloaded.
ANSWER_SECONDS = 5.0
_LONGEST_LINE = 4096


def ask(home: str, **request: str) -> dict[str, Any]:
    """The worker's answer. Raises OSError if there is no worker, or if it does not answer in time."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(Path(home) / SOCKET))
        connection.sendall(json.dumps(request).encode() + b"\n")
        return read_line(connection)


def read_line(connection: socket.socket) -> dict[str, Any]:
    """One line, parsed. Raises OSError if the line breaks off or holds no JSON object."""
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(_LONGEST_LINE)
        if not part or len(line) > _LONGEST_LINE:
            raise ConnectionResetError("the line broke off")
        line += part
    said = json.loads(line)
    if not isinstance(said, dict):
        raise ConnectionResetError("what was said is no object")
    return said


def gave_up(connection: socket.socket) -> bool:
    """Whether the caller has closed the connection. Reads nothing from it."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.setblocking(True)
