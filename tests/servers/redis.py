"""Redis: QANATIX_TEST_REDIS_URL, else the system's server. It is a broker here: what it holds need not outlive it."""

import os
import shutil
import socket
import subprocess
import time

from tests.servers import Server, ServerMissing, account, free_port, keeper, new_folder, new_password, remove, run

VARIABLE = "QANATIX_TEST_REDIS_URL"
READY_SECONDS = 30


def start() -> Server:
    """An empty server. Raises ServerMissing."""
    given = os.environ.get(VARIABLE)
    if given:
        return Server("redis", "as given", given)
    program = shutil.which("redis-server")
    if program is None:
        raise ServerMissing(f"No Redis: the system has no redis-server. {VARIABLE} may name a server.")
    owner = account("redis")
    folder = new_folder("redis", owner)
    port, password = free_port(), new_password()
    settings = folder / "redis.conf"
    settings.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\ndir {folder}\n')
    settings.chmod(0o644)  # the folder is private
    process = subprocess.Popen(
        [program, settings], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **owner
    )
    keeper.keep(str(folder), process.pid, folder)

    def stop() -> None:
        process.terminate()
        process.wait()
        remove(folder)
        keeper.forget(str(folder))

    try:
        _wait(port, process)
    except BaseException:
        stop()
        raise
    version = run([program, "--version"], owner).split()[2].removeprefix("v=")
    return Server("redis", version, f"redis://:{password}@127.0.0.1:{port}/0", stop)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("redis-server does not answer.")
