"""Packages of another Debian suite, unpacked into the cache: nothing is installed, apt's own state stays as it is."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.servers import ServerMissing, cache

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SOURCES = Path("/etc/apt/sources.list.d/debian.sources")


class DownloadFailed(ServerMissing):
    """The packages could not be fetched just now: of all that may go wrong with a server, only this may skip tests."""


def unpacked(suite: str, *packages: str, finish: Callable[[Path], None] = lambda _root: None) -> Path:
    """The root of a tree that holds the packages and all that they depend on. Raises ServerMissing, DownloadFailed.

    `finish` is given the root of a tree that has just been unpacked, for what installing would have done.
    """
    done = cache() / f"{suite}-{'-'.join(packages)}-{platform.machine()}"
    if not done.exists():
        if not (_KEYRING.exists() and _SOURCES.exists() and shutil.which("apt-get")):
            raise ServerMissing(f"{', '.join(packages)} of Debian {suite} can be unpacked on Debian only.")
        # Two test runs may want it at once: each builds its own, and the first one done stays.
        building = done.with_name(f"{done.name}.{os.getpid()}")
        try:
            _build(building, suite, packages)
            finish(building / "root")
            building.rename(done)
        except OSError:
            if not done.exists():
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return done / "root"


def _build(folder: Path, suite: str, packages: tuple[str, ...]) -> None:
    for part in ("empty", "lists/partial", "archives/partial", "root"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    mirror = next(line.split()[1] for line in _SOURCES.read_text().splitlines() if line.startswith("URIs:"))
    (folder / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {mirror} {suite} main\n")
    # An image's hooks may delete what another apt is just about to unpack.
    (folder / "apt.conf").write_text("#clear APT::Update::Post-Invoke;\n#clear DPkg::Post-Invoke;\n")
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": folder / "empty",
        "Dir::Etc::preferencesparts": folder / "empty",
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
    }
    apt = ["apt-get", "-qq", "-c", folder / "apt.conf"]
    apt += [argument for name, value in options.items() for argument in ("-o", f"{name}={value}")]
    try:
        for command in (["update"], ["-y", "--download-only", "install", *packages]):
            subprocess.run([*apt, *command], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise DownloadFailed(f"Debian {suite} does not give {', '.join(packages)}: {error.stderr[-500:]}") from None
    for package in (folder / "archives").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
    shutil.rmtree(folder / "archives")
    shutil.rmtree(folder / "lists")
