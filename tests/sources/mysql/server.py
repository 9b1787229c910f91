"""MySQL's two kinds: MariaDB, the system's, and Oracle's MySQL 9.7, unpacked from another Debian suite.

QANATIX_TEST_MYSQL_URL and QANATIX_TEST_MYSQL97_URL name servers to use instead: mysql://user:password@host:port/database,
of a user that may create users and grant.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncmy
import asyncmy.errors

from tests.servers import (
    Server,
    ServerMissing,
    account,
    free_port,
    keeper,
    kept,
    new_folder,
    new_password,
    remove,
    run,
)
from tests.servers.debian import unpacked

VARIABLE = "QANATIX_TEST_MYSQL_URL"
VARIABLE_97 = "QANATIX_TEST_MYSQL97_URL"
START_SECONDS = 60
STOP_SECONDS = 10

# Options for data that need not outlive the server.
_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--innodb-buffer-pool-size=64M",
    "--innodb-flush-log-at-trx-commit=0",
    "--sync-binlog=0",
    "--max-allowed-packet=128M",  # of which no value may have more
)


def start_mariadb(
    *,
    tls: tuple[Path, Path] | None = None,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Server:
    """A MariaDB with an empty database, `options` and `environment` besides. `tls` is a certificate and its key."""
    given = os.environ.get(VARIABLE)
    if given and not (tls or environment or options):
        return Server("mysql", version(given), given)
    program, installer = _found("mariadbd"), _found("mariadb-install-db")
    owner = account("mysql")
    folder = new_folder("my", owner)
    install = [installer, "--no-defaults", f"--datadir={folder}/data", "--skip-test-db", "--skip-name-resolve"]
    try:
        _fill(folder, run([program, "--version"], owner), install, owner)
        return _started("mysql", [program], folder, owner=owner, options=options, tls=tls, environment=environment)
    except BaseException:
        remove(folder)
        raise


def fetched97() -> Path:
    """The root of MySQL 9.7's tree. Raises ServerMissing, DownloadFailed."""
    return unpacked("sid", "mysql-server-core")


def start_mysql97(
    *,
    tls: tuple[Path, Path] | None = None,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Server:
    """Like `start_mariadb`, a MySQL 9.7. Raises DownloadFailed if its package cannot be fetched."""
    given = os.environ.get(VARIABLE_97)
    if given and not (tls or environment or options):
        return Server("mysql97", version(given), given)
    root = fetched97()
    libraries = next(root.glob("usr/lib/*-linux-gnu"))
    # Its libraries are newer than the system's, so it needs its own loader, too.
    program = [next(libraries.glob("ld-linux*.so.*")), "--library-path", libraries, root / "usr/sbin/mysqld"]
    # It reads its files before it changes its user, who may have no access to the cache.
    owner = account("mysql")
    folder = new_folder("my", owner)
    paths = [
        f"--basedir={root}/usr",
        f"--plugin-dir={root}/usr/lib/mysql/plugin",
        f"--lc-messages-dir={root}/usr/share/mysql",
        f"--character-sets-dir={root}/usr/share/mysql/charsets",
        *([f"--user={owner['user']}"] if owner else []),
    ]
    more = [*paths, "--mysqlx=OFF", "--secure-file-priv=NULL", "--skip-log-bin", "--innodb-redo-log-capacity=8M"]
    initialise = [*program, "--no-defaults", *paths, f"--datadir={folder}/data", "--initialize-insecure"]
    try:
        _fill(folder, str(root), initialise, {})
        return _started(
            "mysql97", program, folder, owner={}, options=[*more, *options], tls=tls, environment=environment
        )
    except BaseException:
        remove(folder)
        raise


def _fill(folder: Path, version: str, command: Sequence[str | Path], owner: dict[str, Any]) -> None:
    """Put an empty server's data there, by the command or as it once made them: that takes it seconds."""
    data = folder / "data"

    def make(target: Path) -> None:
        run(command, owner)
        shutil.copytree(data, target)

    copied = kept(f"mysql-{hashlib.sha256(version.encode()).hexdigest()[:12]}", make)
    if not data.exists():
        shutil.copytree(copied, data)
        for path in (data, *data.rglob("*")):
            shutil.chown(path, folder.stat().st_uid, folder.stat().st_gid)


def _started(
    name: str,
    program: Sequence[Path],
    folder: Path,
    *,
    owner: dict[str, Any],
    options: Sequence[str],
    tls: tuple[Path, Path] | None,
    environment: Mapping[str, str] | None,
) -> Server:
    password, port, log = new_password(), free_port(), folder / "error.log"
    accounts = folder / "accounts.sql"
    accounts.write_text(
        f"CREATE DATABASE qanatix;\nCREATE USER qanatix@'%' IDENTIFIED BY '{password}';\n"
        f"GRANT ALL ON *.* TO qanatix@'%' WITH GRANT OPTION;\nALTER USER root@localhost IDENTIFIED BY '{password}';\n"
    )
    _own(accounts, folder)
    command = [
        *(*program, "--no-defaults", f"--datadir={folder}/data", f"--socket={folder}/s.sock"),
        *(f"--pid-file={folder}/pid", f"--port={port}", f"--init-file={accounts}", *_OPTIONS, *options),
    ]
    for option, source in zip(("cert", "key"), tls or (), strict=False):
        shutil.copy(source, folder / f"{option}.pem")
        _own(folder / f"{option}.pem", folder)
        command.append(f"--ssl-{option}={folder}/{option}.pem")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # the terminal's Ctrl-C is for the tests
            **owner,
        )
    keeper.keep(str(folder), process.pid, folder)

    def stop() -> None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        remove(folder)
        keeper.forget(str(folder))

    address = f"mysql://qanatix:{password}@127.0.0.1:{port}/qanatix"
    try:
        return Server(name, _awaited(process, address, log), address, stop)
    except BaseException:
        stop()
        raise


def _awaited(process: subprocess.Popen[bytes], address: str, log: Path) -> str:
    """The server's version, once it takes our password: another server might have taken the port."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return version(address)
        except asyncmy.errors.OperationalError:
            time.sleep(0.05)
    raise RuntimeError(f"{process.args[0]} did not start:\n{log.read_text()[-3000:]}")  # type: ignore[index]


def _own(file: Path, folder: Path) -> None:
    file.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(file, folder.stat().st_uid, folder.stat().st_gid)


def _found(program: str) -> Path:
    found = shutil.which(program)
    if found is None:
        raise ServerMissing(f"No MariaDB: {program} is not installed. {VARIABLE} may name a server.")
    return Path(found)


def version(address: str) -> str:
    ((text,),) = execute(address, "SELECT version()")
    return str(text)


def parts(address: str) -> dict[str, Any]:
    """What the driver and a connection_config call the parts of an address."""
    url = urlsplit(address)
    return {
        "host": url.hostname,
        "port": url.port or 3306,
        "user": unquote(url.username or ""),
        "password": unquote(url.password or ""),
        "database": url.path.removeprefix("/"),
    }


def execute(address: str, *statements: str | tuple[str, Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Run statements over one connection, each committed, and give the last one's rows. A statement may have values."""

    async def run_all() -> list[tuple[Any, ...]]:
        connection = await asyncmy.connect(**parts(address), autocommit=True)
        try:
            async with connection.cursor() as cursor:
                for statement in statements:
                    await cursor.execute(*([statement] if isinstance(statement, str) else statement))
                return list(await cursor.fetchall())
        finally:
            await connection.ensure_closed()

    # In a thread of its own, because the caller may run in an event loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(run_all())).result()
