"""A child process for each reading: SQLite cannot be interrupted within one call of a function, and a process can.

SQLite has no server, so a query's time and memory would be our own. The child has a bound of memory, and it is killed
when the reading is over, however that ends. It has the socket to us, and nothing else of ours: no descriptor, no secret
of the environment. It ends with us, because the socket does.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from qanatix_pipelines.batches import MAX_ROW_BYTES
from qanatix_pipelines.errors import SourceFailed
from qanatix_pipelines.sources.driver import CLOSE_SECONDS
from qanatix_pipelines.sources.sqlite.frames import HEAD, REQUEST

# -I and -S: neither variables nor packages that are installed decide what it loads.
_PROGRAM = ("-I", "-S", "-X", "utf8", str(Path(__file__).with_name("child.py")))
# Where Python's libraries are, where SQLite puts what it sorts, and what is local time.
_VARIABLES = ("LD_LIBRARY_PATH", "SQLITE_TMPDIR", "TMPDIR", "TZ")
# A character takes at most six bytes of JSON.
_MAX_FRAME_BYTES = 8 * MAX_ROW_BYTES


class Child:
    def __init__(self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader) -> None:
        self._process, self._reader = process, reader

    async def frame(self) -> tuple[bytes, bytes]:
        """The kind of the next frame, and its JSON. Raises SourceFailed if the child has ended."""
        try:
            size, kind = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            if size > _MAX_FRAME_BYTES:
                raise SourceFailed("The file could not be read: a row of it is larger than a row can be.")
            return kind, await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            await _reaped(self._process)
            raise SourceFailed(
                f"The process in which SQLite read the file ended too early ({_end(self._process.returncode)}). It may "
                "have taken too much memory, or the file may break SQLite's rules.",
                transient=True,
            ) from None


@asynccontextmanager
async def child(request: dict[str, Any]) -> AsyncIterator[Child]:
    """A child that answers this request. Raises SourceFailed if there can be none."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = _started(theirs)
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            try:
                text = json.dumps(request).encode()
                writer.write(HEAD.pack(len(text), REQUEST) + text)
                yield Child(process, reader)
            finally:
                writer.transport.abort()
        finally:
            process.kill()
            await _reaped(process)


def _started(theirs: socket.socket) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603  # our own program
            (sys.executable, *_PROGRAM),
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={name: os.environ[name] for name in _VARIABLES if name in os.environ},
            start_new_session=True,  # what interrupts us at a terminal reaches it through us
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise SourceFailed(
            f"The machine where pulls run could not start a process to read the file ({reason}).", transient=True
        ) from None


async def _reaped(process: subprocess.Popen[bytes]) -> None:
    """Wait in a thread, which goes on waiting if we are cancelled: no dead child is left in the system's table."""
    waiting = asyncio.get_running_loop().run_in_executor(None, process.wait)
    await asyncio.wait([waiting], timeout=CLOSE_SECONDS)


def _end(code: int | None) -> str:
    if code is None or code >= 0:
        return f"status {code}"
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
