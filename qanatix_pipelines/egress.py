"""Where a pull may connect to: judged at the socket, so for every driver alike and whatever a name resolves to.

A pull runs in a loop of its own, which resolves a name once, judges every address that it has, and keeps to those. What
then opens a connection from that loop, a driver that was told of another host by a server among them, is judged again
by the address that it really connects to.
"""

import asyncio
import ipaddress
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where clouds answer questions about the machine that asks, credentials among them. Some of these count as global.
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
# IPv6 addresses that stand for an IPv4 address in their last 32 bits (RFC 6052, RFC 8215, RFC 4291 section 2.5.5.1).
_ENDS_IN_IPV4 = [ipaddress.ip_network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")]


@dataclass(frozen=True)
class Egress:
    """The networks that are open: all that is global, what is `allowed`, and this machine itself if `loopback`.

    An address of this machine or of a cloud's metadata is not opened by a network, only by its own name: `10.0.0.1/32`.
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
        # What leads to this machine's number by a translator is not this machine.
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
    """An event loop from which only what `egress` permits is connected to. `refused` tells that something was not.

    With it end all connections that were made in it: a driver that is cancelled while it connects may forget one, and
    who holds the error then holds the socket.
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
        """As the loop's own, but a name is resolved once in the loop's life."""
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name not in self._resolved:
            found = await super().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
            if not all(map(self._egress.permits, addresses)):
                self.refused = True
                raise socket.gaierror(socket.EAI_AGAIN, "refused")  # what every driver takes for an error of names
            self._resolved[name] = addresses
        answers = [await super(GuardedLoop, self).getaddrinfo(a, port, **hints) for a in self._resolved[name]]
        return [info for answer in answers for info in answer]

    def judge(self, connecting: socket.socket, address: object) -> None:
        """Raise ConnectionRefusedError, as a closed port would, unless a socket may connect to `address`."""
        if not (isinstance(address, tuple) and self._egress.permits(str(address[0]))):  # a path is a Unix socket's
            self.refused = True
            raise ConnectionRefusedError
        self._connected.append(connecting)


def refused() -> bool:
    """Whether the running loop has refused a connection."""
    loop = asyncio.get_running_loop()
    return isinstance(loop, GuardedLoop) and loop.refused


_installed = False


def _install() -> None:
    """Have every socket of the process ask, before it connects, whether its loop is a guarded one."""
    global _installed  # noqa: PLW0603  # a hook stays as long as the process
    if not _installed:
        _installed = True
        sys.addaudithook(_judge)


def _judge(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        loop = asyncio._get_running_loop()  # noqa: SLF001  # the public one raises where there is none
        if isinstance(loop, GuardedLoop):
            loop.judge(*arguments)
