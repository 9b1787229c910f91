"""MongoDB: QANATIX_TEST_MONGODB_URI, else DocumentDB behind a wire server of our own.

MongoDB itself is in no package registry. DocumentDB is Microsoft's open engine for MongoDB's commands, of which Debian
has a package; `mongodb_gateway` speaks the wire protocol. The variable names a user of the roles readWrite on
qanatix_test and clusterMonitor.
"""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from tests.servers import Server, ServerMissing, keeper, new_folder, new_password, remove, run
from tests.servers.debian import DownloadFailed, unpacked
from tests.sources.postgresql import server as postgresql

VARIABLE = "QANATIX_TEST_MONGODB_URI"
# Debian 12 has no such package, and its libc is too old for this one. The engine's SQL creates types that need PostGIS.
_SUITE = "forky"
_PACKAGES = ("postgresql-18-documentdb", "postgresql-18-postgis-3-scripts", "dash")
_OWNER = {"user": 101, "group": 104}  # postgres, inside the root
_PROGRAMS = Path("/usr/lib/postgresql/18/bin")
# The privileges that MongoDB tells of the role `read` (manual, "connectionStatus").
READER = ({"resource": {"db": "qanatix_test", "collection": ""}, "actions": ["find", "listCollections"]},)
_ENGINE_PORT = 5432  # a part of its socket's name, no more: it listens on no network

_OPTIONS = """
listen_addresses = ''
unix_socket_directories = '{folder}'
shared_preload_libraries = 'pg_cron,pg_documentdb_core,pg_documentdb'
cron.database_name = 'postgres'
cron.use_background_workers = on
documentdb.localhost_connection_string = 'host={folder}'
dynamic_shared_memory_type = mmap
fsync = off
"""


@dataclass(frozen=True)
class Engine:
    """A running DocumentDB. `socket` is the folder that its socket is in."""

    socket: Path
    stop: Callable[[], None]


def start() -> Server:
    """A server with a user that may do everything. Raises ServerMissing."""
    given = os.environ.get(VARIABLE)
    if given:
        return Server("mongodb", _version(given), given)
    with ExitStack() as stack:
        engine = start_engine()
        stack.callback(engine.stop)
        gateway = start_gateway(engine)
        stack.callback(gateway.stop)
        return Server("mongodb", gateway.version, gateway.address, stack.pop_all().close)


def fetched() -> Path:
    """A folder to chroot into that has DocumentDB; 134 MB come over the network at first. Raises ServerMissing."""
    if os.geteuid() != 0:
        raise ServerMissing(
            f"No MongoDB: {VARIABLE} may name a server. DocumentDB would be run in a root of its own, by root."
        )
    try:
        return unpacked(_SUITE, *_PACKAGES, finish=_make_root)
    except DownloadFailed as reason:  # an error, for this source has no other test server
        raise ServerMissing(f"No MongoDB: {VARIABLE} may name a server. {reason}") from None


def start_engine() -> Engine:
    root = fetched()
    with ExitStack() as stack:
        folder = new_folder("mongodb", {})  # its name is used inside the root, too
        stack.callback(remove, folder)
        inside = Path("/data") / folder.name
        outside = root / inside.relative_to("/")
        outside.mkdir(mode=0o700)
        stack.callback(remove, outside)
        os.chown(outside, _OWNER["user"], _OWNER["group"])
        (folder / "socket").symlink_to(outside)  # the whole path may be too long for a socket
        data = inside / "pg"
        _inside(root, "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        with (outside / "pg" / "postgresql.conf").open("a") as options:
            options.write(_OPTIONS.format(folder=inside))
        control = ["pg_ctl", "-D", data, "-w", "-s"]
        _inside(root, *control, "-l", inside / "log", "start")
        stack.callback(keeper.forget, str(outside / "pg"))
        postgresql.keep(outside / "pg", folder, outside)
        stack.callback(_inside, root, *control, "-m", "immediate", "stop")
        create = ["-q", "-c", "SET client_min_messages = error", "-c", "CREATE EXTENSION documentdb CASCADE"]
        _inside(root, "psql", "-h", inside, "-U", "postgres", *create)
        return Engine(folder / "socket", stack.pop_all().close)


def start_gateway(
    engine: Engine,
    *,
    tls: tuple[Path, Path] | None = None,
    set_name: str | None = None,
    privileges: Sequence[Mapping[str, Any]] = READER,
    brief: bool = False,
) -> Server:
    """A wire server in front of `engine`. `tls` is a certificate and its key; `set_name` that of a replica set.

    Its snapshots may be `brief`; else it has none. `privileges` are what it says that its user has.
    """
    password = new_password()
    settings = {
        "socket": str(engine.socket),
        "engine_port": _ENGINE_PORT,
        "user": "qanatix",
        "password": password,
        "privileges": list(privileges),
        "tls": tls and [str(path) for path in tls],
        "set_name": set_name,
        "brief": brief,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sources.mongodb.gateway"],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    name = f"gateway {process.pid}"
    keeper.keep(name, process.pid)

    def stop() -> None:
        with process:
            process.kill()
        keeper.forget(name)

    try:
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        port = process.stdout.readline().strip()
        address = f"mongodb://qanatix:{password}@127.0.0.1:{int(port)}/"  # it tells a failure on stderr
        version = "DocumentDB" if tls else _version(address)
    except BaseException:
        stop()
        raise
    return Server("mongodb", version, address, stop)


def _make_root(root: Path) -> None:
    for folder in ("bin", "sbin", "lib", "lib64"):
        if not (root / folder).exists():
            (root / folder).symlink_to(f"usr/{folder}")
    if not (root / "usr/bin/sh").exists():
        (root / "usr/bin/sh").symlink_to("dash")
    control = root / "usr/share/postgresql/18/extension/postgis.control"
    control.unlink(missing_ok=True)
    control.symlink_to("postgis-3.control")
    for folder in ("data", "dev", "etc"):
        (root / folder).mkdir(exist_ok=True)
    for device, minor in (("null", 3), ("zero", 5), ("urandom", 9)):
        os.mknod(root / "dev" / device, stat.S_IFCHR, os.makedev(1, minor))
        (root / "dev" / device).chmod(0o666)
    (root / "etc/passwd").write_text("postgres:x:{user}:{group}::/data:/bin/sh\n".format(**_OWNER))
    (root / "etc/group").write_text("postgres:x:{group}:\n".format(**_OWNER))


def _inside(root: Path, program: str, *arguments: str | Path) -> str:
    owner = f"--userspec={_OWNER['user']}:{_OWNER['group']}"
    return run(
        ["chroot", owner, root, _PROGRAMS / program, *arguments], {}, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    )


def _version(uri: str) -> str:
    with MongoClient[dict[str, object]](uri, directConnection=True) as client:
        return str(client.server_info()["version"])
