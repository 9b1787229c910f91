"""A network that breaks as a test says: proxies on loopback between driver and source, in a thread of their own."""

import asyncio
import random
import socket
import struct
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Self

CHUNK = 64 * 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # linger for no time


@dataclass(frozen=True)
class Fault:
    """What happens once `at` bytes of one direction went through a proxy, on all of its connections together.

    `reset` is a TCP reset; `truncation` a clean close; `silence` keeps the connection open, and forwards nothing more
    in either direction; `drip` goes on with a byte of the answer a second; `refusal` resets, and nothing listens any
    more. `latency` delays every piece, from the first on, by up to `at` milliseconds.
    """

    kind: Literal["reset", "truncation", "silence", "drip", "refusal", "latency"]
    at: int
    sent: bool = False  # counted in what the driver sends, else in what the source answers
    lasting: bool = False  # strikes every connection, and those made later, else the one where it happens


class Network:
    """The thread in which proxies run. Leaving the context closes all of them, and what goes through them."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network")
        self._thread.start()
        self._proxies: list[Proxy] = []
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in self._proxies:
            self.run(proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def proxy(self, host: str, port: int, fault: Fault | None = None) -> "Proxy":
        """A listening proxy before this address."""
        proxy = Proxy(self, host, port, fault)
        self.run(proxy.listen())
        self._proxies.append(proxy)
        return proxy

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


class Proxy:
    """One listening port. `answered` and `sent` are how many bytes went through; `struck`, whether the fault did."""

    def __init__(self, network: Network, host: str, port: int, fault: Fault | None) -> None:
        self._network, self._fault = network, fault
        self._random = random.Random(port)
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], _Connection] = {}
        self.target, self.port = (host, port), 0
        self.answered = self.sent = 0
        self.struck = False

    def settled(self, seconds: float) -> bool:
        """Whether the driver has closed all its connections, or does so within `seconds`."""
        until = time.monotonic() + seconds
        while self._open and time.monotonic() < until:
            time.sleep(0.01)
        return not self._open

    def cut(self, kind: Literal["reset", "truncation"]) -> None:
        """All connections that are open, now."""
        self._network.run(self._strike_all(Fault(kind, 0)))

    def fall_silent(self) -> None:
        """From now on, on those that are open and on new ones."""
        self._fault, self.struck = Fault("silence", 0, lasting=True), True
        self._network.run(self._strike_all(self._fault))

    def mend(self) -> None:
        """From now on all goes through."""

        async def mend() -> None:
            self._fault, self.struck = None, False
            if self._server is None:
                await self.listen()

        self._network.run(mend())

    async def listen(self) -> None:
        for seconds in (0.0, 0.5, 1, 2, 4, 8):
            await asyncio.sleep(seconds)
            with suppress(OSError):  # somebody was given the port for a connection, meanwhile
                self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
                break
        assert self._server is not None, f"port {self.port} is taken"
        self.port = self._server.sockets[0].getsockname()[1]

    def listen_no_more(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def stop(self) -> None:
        self.listen_no_more()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open)

    async def _strike_all(self, fault: Fault) -> None:
        for connection in self._open.values():
            connection.suffer(fault)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = self._open[task] = _Connection(self, reader, writer)
        try:
            if self.struck and self._fault is not None and self._fault.lasting:
                connection.suffer(self._fault)
            with suppress(OSError, asyncio.CancelledError):  # either side may go at any time, and `stop` cancels
                await connection.serve()
        finally:
            connection.close()
            del self._open[task]

    def delay(self) -> float:
        """Seconds."""
        if self._fault is None or self._fault.kind != "latency":
            return 0
        self.struck = True
        return self._random.uniform(0, self._fault.at / 1000)

    def admit(self, size: int, *, sent: bool) -> int:
        """How many of `size` bytes go through before the fault strikes; all of them, and it has not struck."""
        if sent:
            self.sent += size
        else:
            self.answered += size
        fault = self._fault
        if fault is None or fault.kind == "latency" or self.struck or sent is not fault.sent:
            return size
        return size - max(0, (self.sent if sent else self.answered) - fault.at)

    def strike(self, connection: "_Connection") -> None:
        if self._fault is None:
            return
        self.struck = True
        if self._fault.kind == "refusal":
            self.listen_no_more()
        for struck in list(self._open.values()) if self._fault.lasting else [connection]:
            struck.suffer(self._fault)


class _Connection:
    """A driver's connection, and the one to the source that belongs to it. It ends when the driver closes its own."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._source: asyncio.StreamWriter | None = None
        self._suffers: str | None = None

    def suffer(self, fault: Fault) -> None:
        self._suffers = fault.kind
        if fault.kind in ("reset", "refusal"):
            self._reset()
        elif fault.kind == "truncation":
            self._writer.write_eof()

    async def serve(self) -> None:
        answers, self._source = await asyncio.open_connection(*self._proxy.target)
        answering = asyncio.create_task(self._answer(answers))
        try:
            await self._pump(self._reader, self._source, sent=True)
        finally:
            answering.cancel()
            with suppress(asyncio.CancelledError):
                await answering

    def close(self) -> None:
        self._writer.transport.abort()
        if self._source is not None:
            self._source.transport.abort()

    async def _answer(self, answers: asyncio.StreamReader) -> None:
        try:
            await self._pump(answers, self._writer, sent=False)
        except OSError:  # the source reset its connection, or the driver did: then this does nothing
            self._reset()
            return
        if self._suffers is None:
            self._writer.write_eof()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, sent: bool) -> None:
        """Forward until `reader` ends, as far as the fault lets it. What it does not let through is read all the same:
        only so is it seen that the other side closes.
        """
        while data := await reader.read(CHUNK):
            await asyncio.sleep(self._proxy.delay())
            if self._suffers is None:
                through = self._proxy.admit(len(data), sent=sent)
                writer.write(data[:through])
                if through < len(data):
                    self._proxy.strike(self)
                    data = data[through:]
                else:
                    await writer.drain()
                    continue
            if self._suffers == "drip":
                await self._drip(data, writer, 0 if sent else 1)

    async def _drip(self, data: bytes, writer: asyncio.StreamWriter, seconds: float) -> None:
        for place in range(len(data)):
            writer.write(data[place : place + 1])
            await asyncio.sleep(seconds)

    def _reset(self) -> None:
        if not self._writer.transport.is_closing():
            connection = self._writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._writer.transport.abort()
