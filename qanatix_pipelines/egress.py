"""Where a pull may connect to. It is checked at the socket: for every driver alike, and whatever a name resolves to.

A pull runs in an event loop of its own. The loop resolves a name once, checks every address that it has, and keeps to
those. Every socket that is opened from this loop is checked again against the address it really connects to, also after
a server redirects the driver.

Python has one hook for that, and it is the process's: an audit hook, which stays as long as the process. The first pull
or look of a process installs it; no import does. It acts on `socket.connect` alone, and only where the thread that
connects is running a loop of ours: other users of the process connect as before.
"""

import asyncio
import ipaddress
import socket
import sys
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

_Result = TypeVar("_Result")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The metadata services of clouds, which hand out a machine's credentials. Some of these addresses count as global.
_METADATA = {
    ipaddress.ip_address(address)
    for address in (
        "169.254.169.254",  # AWS, Google, Azure, and most others
        "169.254.170.2",  # AWS's containers
        "169.254.170.23",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle
        "100.100.100.200",  # Alibaba
        "fd20:ce::254",  # Google
    )
}
_WAIT_SECONDS = 1
# IPv6 addresses that stand for an IPv4 address in their last 32 bits (RFC 6052, RFC 8215, RFC 4291 section 2.5.5.1).
_ENDS_IN_IPV4 = [ipaddress.ip_network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")]


@dataclass(frozen=True)
class Egress:
    """The networks that are open: global addresses, the `allowed` ones, and loopback if `loopback` is set.

    A network does not open loopback or a cloud's metadata address in it. Only the exact address does: `127.0.0.1/32`.
    """

    allowed: tuple[Network, ...] = ()
    loopback: bool = True

    def permits(self, address: str) -> bool:
        """Whether a connection may be opened to `address`, an IP address as text."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id is not None:
            return False
        # A translated form of a loopback address leads to another machine.
        return self._permits(parsed, self.loopback) and all(self._permits(form, False) for form in _inside(parsed))

    def _permits(self, address: _Address, loopback: bool) -> bool:
        if address.is_multicast or address.is_unspecified:
            return False
        opened = [network for network in self.allowed if address in network]
        if any(network.num_addresses == 1 for network in opened):
            return True
        if address in _METADATA:
            return False
        if address.is_loopback:
            return loopback
        return bool(opened) or address.is_global


DEVELOPMENT = Egress()


def _inside(address: _Address) -> list[_Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback or address.is_unspecified:
        return []
    inside: list[_Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _ENDS_IN_IPV4):
        inside.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [form for form in inside if form is not None]


class GuardedLoop(asyncio.SelectorEventLoop):
    """An event loop that opens only connections that `egress` permits. `refused` is set when it refused one.

    All connections that were opened in it are closed with it. A driver that is cancelled while it connects may forget
    one, and an error that is kept would keep the socket open.
    """

    def __init__(self, egress: Egress) -> None:
        super().__init__()
        self._egress = egress
        self._resolved: dict[str, Sequence[str]] = {}
        self.refused = False
        self._connected: list[socket.socket] = []
        _install()

    def close(self) -> None:
        super().close()
        for connection in self._connected:
            connection.close()

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        """As the loop's own, except that each name is resolved once in the life of the loop."""
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name not in self._resolved:
            found = await super().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
            if not all(map(self._egress.permits, addresses)):
                self.refused = True
                raise socket.gaierror(socket.EAI_AGAIN, "refused")  # for drivers: the name does not resolve
            self._resolved[name] = addresses
        answers = [await super(GuardedLoop, self).getaddrinfo(a, port, **hints) for a in self._resolved[name]]
        return [info for answer in answers for info in answer]

    def judge(self, connecting: socket.socket, address: object) -> None:
        """Raise ConnectionRefusedError, as a closed port would, unless a socket may connect to `address`."""
        # The address of a Unix socket is a path, and no tuple.
        if not (isinstance(address, tuple) and self._egress.permits(str(address[0]))):
            self.refused = True
            raise ConnectionRefusedError
        self._connected.append(connecting)


def run_guarded(work: Coroutine[Any, Any, _Result], egress: Egress, kind: type[GuardedLoop] = GuardedLoop) -> _Result:
    """Run `work` in a guarded loop of its own, of this kind, to its end.

    A thread runs one loop. If the caller's runs one already, as in a notebook, the work gets a thread of its own, and
    the caller waits for it. An interrupt of the caller cancels the work, and is raised when that has ended.
    """
    loop = kind(egress)
    if asyncio._get_running_loop() is None:  # noqa: SLF001  # the public one raises where there is none
        return _run(work, loop)
    with ThreadPoolExecutor(1, "qanatix-loop") as threads:
        try:
            working = threads.submit(copy_context().run, _run, work, loop)
            # In steps: a signal that comes just before a wait is not heard until that is over.
            while not wait([working], _WAIT_SECONDS).done:
                pass
            return working.result()
        except BaseException:
            with suppress(RuntimeError):  # the loop is closed: the work has ended by itself
                loop.call_soon_threadsafe(_interrupt)
            raise


def _run(work: Coroutine[Any, Any, _Result], loop: GuardedLoop) -> _Result:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work)


def _interrupt() -> None:
    """Called in a loop, this ends it as the keyboard would: its runner cancels what is left, and waits for that."""
    raise KeyboardInterrupt


def refused() -> bool:
    """Whether the running loop has refused a connection."""
    loop = asyncio.get_running_loop()
    return isinstance(loop, GuardedLoop) and loop.refused


_PROOF = "qanatix.egress"
_installing = threading.Lock()
_installed = False


def _install() -> None:
    """Check connections that are opened from guarded loops, from here on. Does nothing the second time.

    Python adds no hook, and raises nothing, where another hook of the process refuses further ones
    (`sys.addaudithook`). So the hook is asked for a proof. Raises RuntimeError if it does not answer.
    """
    global _installed  # noqa: PLW0603  # a hook lives as long as the process
    with _installing:
        if not _installed:
            sys.addaudithook(_judge)
            proof: list[bool] = []
            sys.audit(_PROOF, proof)
            if not proof:
                raise RuntimeError("Another audit hook of this process keeps ours out, so no address can be checked.")
            _installed = True


def _judge(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        loop = asyncio._get_running_loop()  # noqa: SLF001  # the public one raises where there is none
        if isinstance(loop, GuardedLoop):
            loop.judge(*arguments)
    elif event == _PROOF:
        arguments[0].append(True)
