"""Servers that speak just enough of a protocol to hurt whoever asks them, by scripts; in a thread of their own."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Self

ENDLESS_BYTES = 600 * 2**20  # as much as an endless answer may send: far more than a pull may hold
PIECE = 64 * 1024


@dataclass
class Line:
    """One client's connection. What a script may do with it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self) -> bytes:
        """What comes next. Raises EOFError once the client is gone."""
        heard = await self.reader.read(PIECE)
        if not heard:
            raise EOFError
        return heard

    async def drip(self, data: bytes) -> None:
        """A byte at a time, and the last one over and over."""
        for byte in data:
            await self.say(bytes([byte]))
            await asyncio.sleep(0.05)
        while True:
            await self.say(data[-1:])
            await asyncio.sleep(0.05)

    async def repeat(self, data: bytes) -> None:
        """Without an end, as fast as it is taken."""
        piece = data * max(1, PIECE // len(data))
        for _ in range(ENDLESS_BYTES // len(piece)):
            await self.say(piece)
        await self.silence()

    async def silence(self) -> None:
        while True:
            await self.hear()


Script = Callable[[Line], Coroutine[Any, Any, None]]
# Given what the client has just sent, it answers.
Answer = Callable[[Line, bytes], Coroutine[Any, Any, None]]


class HostileServers:
    """A context manager; all of its servers end with it."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def serve(self, script: Script) -> int:
        """The port of a server on 127.0.0.1 that does so with each client."""
        return self._run(self._serve(script))

    def _run(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()

    async def _serve(self, script: Script) -> int:
        async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                with contextlib.suppress(EOFError, ConnectionError, asyncio.CancelledError):
                    await script(Line(reader, writer))
            finally:
                self._tasks.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(met, "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def relayed(host: str, port: int, trigger: bytes, answer: Answer) -> Script:
    """In front of a real server, until the client sends `trigger`: from then on `answer` answers instead."""

    async def script(line: Line) -> None:
        reader, writer = await asyncio.open_connection(host, port)

        async def back() -> None:
            with contextlib.suppress(ConnectionError):
                while heard := await reader.read(PIECE):
                    await line.say(heard)

        backwards = asyncio.create_task(back())
        try:
            while True:
                asked = await line.hear()
                if trigger in asked:
                    backwards.cancel()
                    await answer(line, asked)
                    return
                writer.write(asked)
                await writer.drain()
        finally:
            backwards.cancel()
            writer.transport.abort()

    return script
