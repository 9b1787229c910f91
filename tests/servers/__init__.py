"""Real database servers for tests and the demo: the one that a variable names, else one of our own on a free port.

A server of ours listens on loopback only, has a password made for it, keeps its data in a folder that is removed with
it, and is stopped by its process id.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Server:
    """A running server. `address` is what the source's driver takes; `version` is what the server says of itself."""

    name: str
    version: str
    address: str = field(repr=False)
    stop: Callable[[], None] = field(repr=False, default=lambda: None)


class ServerMissing(Exception):
    """No such server can be had on this machine. The message says what was tried and which variable would give one."""


def cache() -> Path:
    """Where downloaded programs are kept, outside the clone: QANATIX_TEST_CACHE, else a folder in ~/.cache."""
    return Path(os.environ.get("QANATIX_TEST_CACHE") or "~/.cache/qanatix-test-servers").expanduser()


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, and `make` makes it if it is not there. One that is broken off leaves no such folder."""
    done = cache() / name
    if not done.exists():
        making = done.with_name(f"{name}.{os.getpid()}")
        making.parent.mkdir(parents=True, exist_ok=True)
        try:
            make(making)
            making.rename(done)
        except OSError:
            if not done.exists():  # else another process was quicker
                raise
        finally:
            remove(making)
    return done


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def new_password() -> str:
    return secrets.token_urlsafe(18)


def account(*names: str) -> dict[str, Any]:
    """The subprocess arguments that run a server as the first of these users, where we are root; most refuse root."""
    if os.geteuid() != 0:
        return {}
    for name in (*names, "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise ServerMissing("No unprivileged user was found to run a server as.")


def new_folder(name: str, owner: dict[str, Any]) -> Path:
    """A private folder. Its path is short, for the path of a Unix socket may have about 100 characters."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
    if owner:
        os.chown(folder, owner["user"], owner["group"])
    return folder


def run(command: Sequence[str | Path], owner: dict[str, Any], *, given: str = "", **options: Any) -> str:
    """Run a command to its end, `given` on its input, and give its output.

    Raises RuntimeError that holds the output if it fails.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd="/",
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **owner,
        **options,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed:\n{done.stdout}")
    return done.stdout


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
