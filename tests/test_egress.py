"""Which addresses a pull may connect to, and that no socket of its loop gets past that."""

import asyncio
import ipaddress
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.egress import Egress, GuardedLoop, refused, run_guarded
from tests.servers.tripwire import Tripwire

PRODUCTION = Egress(loopback=False)


@pytest.fixture
def tripwire() -> Iterator[Tripwire]:
    listening = Tripwire()
    yield listening
    listening.stop()


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_a_global_address_is_open(address: str) -> None:
    assert PRODUCTION.permits(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"),
        *("169.254.1.1", "fe80::1", "fe80::1%eth0", "169.254.169.254", "fd00:ec2::254", "168.63.129.16"),
        *("192.0.0.192", "100.100.100.200", "::ffff:169.254.169.254", "2002:a9fe:a9fe::1", "64:ff9b:1::a9fe:a9fe"),
        *("0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "239.255.255.250", "ff02::1", "255.255.255.255", "240.0.0.1"),
        *("2001:0:7f00:1::", "198.18.0.1", "192.0.2.1", "203.0.113.1", "2001:db8::1"),
        *("", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "/tmp/.s.PGSQL.5432", "1.1.1.1\x00"),
    ],
)
def test_in_production_nothing_else_is(address: str) -> None:
    assert not PRODUCTION.permits(address)


def test_in_development_this_machine_is_open_too() -> None:
    assert Egress().permits("127.0.0.1")
    assert Egress().permits("::1")
    assert not Egress().permits("10.0.0.1")


@pytest.mark.parametrize("address", ["64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"])
def test_a_translated_address_of_this_machine_is_not_this_machine(address: str) -> None:
    assert not Egress().permits(address)


def test_a_network_that_is_allowed_is_open() -> None:
    egress = Egress((ipaddress.ip_network("10.20.0.0/16"), ipaddress.ip_network("fd12::/16")), loopback=False)

    assert egress.permits("10.20.3.4")
    assert egress.permits("::ffff:10.20.3.4") is False  # its own form is in no network that is open
    assert egress.permits("fd12::1")
    assert not egress.permits("10.21.0.1")


@pytest.mark.parametrize("address", ["169.254.169.254", "127.0.0.1", "168.63.129.16"])
def test_metadata_and_this_machine_are_opened_by_their_own_address_only(address: str) -> None:
    everything = Egress((ipaddress.ip_network("0.0.0.0/0"),), loopback=False)
    by_name = Egress((ipaddress.ip_network(address),), loopback=False)

    assert (everything.permits(address), by_name.permits(address)) == (False, True)


@given(st.ip_addresses())
def test_every_address_is_judged_without_an_error(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    for form in (str(address), f"::ffff:{address}" if address.version == 4 else str(address)):
        if PRODUCTION.permits(form):
            assert address.is_global


def run(egress: Egress, host: str, port: int) -> tuple[str, bool]:
    """What connecting comes to in a guarded loop, and whether it says that it refused."""

    async def connect() -> tuple[str, bool]:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            return type(error).__name__, refused()
        writer.close()
        return "connected", refused()

    return run_guarded(connect(), egress)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0"])
def test_no_spelling_of_this_machine_is_connected_to(tripwire: Tripwire, host: str) -> None:
    assert run(PRODUCTION, host, tripwire.port) in (("gaierror", True), ("ConnectionRefusedError", True))
    assert tripwire.connections == 0


def test_within_a_loop_that_runs_already_the_same_is_refused(tripwire: Tripwire) -> None:
    async def notebook(egress: Egress) -> tuple[str, bool]:
        return run(egress, "127.0.0.1", tripwire.port)

    assert asyncio.run(notebook(PRODUCTION)) == ("ConnectionRefusedError", True)
    assert tripwire.connections == 0
    assert asyncio.run(notebook(Egress())) == ("connected", False)


def test_what_is_permitted_is_connected_to(tripwire: Tripwire) -> None:
    assert run(Egress(), "localhost", tripwire.port) == ("connected", False)


def test_a_name_that_comes_to_lead_elsewhere_is_followed_no_further(
    tripwire: Tripwire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that answers one address at first and another later, as a hostile one does."""
    answers = iter(["127.0.0.1", "127.0.0.2"])
    real = socket.getaddrinfo

    def rebinding(host: str, *arguments: object, **named: object) -> object:
        return real(next(answers) if host == "db.example" else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)

    async def twice() -> list[str]:
        loop = asyncio.get_running_loop()
        found = [await loop.getaddrinfo("db.example", tripwire.port, type=socket.SOCK_STREAM) for _ in range(2)]
        return [info[0][4][0] for info in found]

    with asyncio.Runner(loop_factory=lambda: GuardedLoop(Egress())) as runner:
        assert runner.run(twice()) == ["127.0.0.1", "127.0.0.1"]


def test_one_address_of_many_that_is_not_permitted_closes_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def both(host: str, *arguments: object, **named: object) -> object:
        if host != "db.example":
            return real(host, *arguments, **named)
        return real("8.8.8.8", *arguments, **named) + real("127.0.0.1", *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", both)

    assert run(PRODUCTION, "db.example", 1) == ("gaierror", True)


def test_a_unix_socket_is_not_connected_to(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("s") / "socket")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(path)
        listener.listen()

        async def connect() -> None:
            await asyncio.open_unix_connection(path)

        with (
            asyncio.Runner(loop_factory=lambda: GuardedLoop(Egress())) as runner,
            pytest.raises(ConnectionRefusedError),
        ):
            runner.run(connect())


def test_other_loops_and_threads_connect_as_before(tripwire: Tripwire) -> None:
    """The hook stays with the process, and the store's connections are no business of it."""
    run(PRODUCTION, "127.0.0.1", tripwire.port)

    socket.create_connection(("127.0.0.1", tripwire.port)).close()

    async def connect() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", tripwire.port)
        writer.close()

    asyncio.run(connect())


def test_a_connection_that_a_driver_forgets_ends_with_its_loop() -> None:
    forgotten = []

    async def connect(port: int) -> None:
        forgotten.append(socket.socket())
        forgotten[0].setblocking(False)
        await asyncio.get_running_loop().sock_connect(forgotten[0], ("127.0.0.1", port))

    with socket.create_server(("127.0.0.1", 0)) as server:
        with asyncio.Runner(loop_factory=lambda: GuardedLoop(Egress())) as runner:
            runner.run(connect(server.getsockname()[1]))
        with server.accept()[0] as seen:
            assert seen.recv(1) == b""

    assert forgotten[0].fileno() == -1


KEPT_OUT = """
import asyncio, sys
from qanatix_pipelines.egress import Egress, GuardedLoop

def hook(event, _arguments):
    if event == "sys.addaudithook":
        raise RuntimeError

sys.addaudithook(hook)
for _ in range(2):
    try:
        GuardedLoop(Egress())
    except RuntimeError as error:
        print(error)
"""


def test_where_another_audit_hook_keeps_ours_out_no_loop_is_made() -> None:
    told = subprocess.run([sys.executable, "-c", KEPT_OUT], capture_output=True, text=True, check=True).stdout

    assert told.splitlines() == ["Another audit hook of this process keeps ours out, so no address can be checked."] * 2


RACED = """
import asyncio, sys, threading, time
from qanatix_pipelines.egress import Egress, GuardedLoop

def hook(event, _arguments):
    if event == "sys.addaudithook":
        time.sleep(0.5)

sys.addaudithook(hook)

async def connect():
    try:
        await asyncio.open_connection("127.0.0.1", 9)
    except ConnectionRefusedError:
        refused.append(asyncio.get_running_loop().refused)

def run():
    with asyncio.Runner(loop_factory=lambda: GuardedLoop(Egress(loopback=False))) as runner:
        runner.run(connect())

refused = []
threads = [threading.Thread(target=run) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(refused)
"""


def test_of_several_first_pulls_none_connects_before_the_hook_is_there() -> None:
    told = subprocess.run([sys.executable, "-c", RACED], capture_output=True, text=True, check=True).stdout

    assert told == "[True, True, True, True]\n"
