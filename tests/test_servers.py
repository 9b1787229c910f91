"""The servers that the tests and the demo start."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.sources.postgresql import server as postgresql
from tests.stack import ROOT
from tests.system import until


@pytest.mark.server
def test_the_postgresql_in_the_wheel_starts_and_stops() -> None:
    server = postgresql.start(wheel_only=True)
    try:
        assert server.version.startswith("18.")
        with psycopg.connect(server.address) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()


# Each tells a process of the server and its folder, and waits to be killed.
POSTGRESQL = """
import json, os
from pathlib import Path
import psycopg
from tests.sources.postgresql import server as postgresql

os.environ.pop(postgresql.VARIABLE, None)
with psycopg.connect(postgresql.superuser(postgresql.start().address)) as connection:
    data = Path(connection.execute("SHOW data_directory").fetchone()[0])
    checkpointer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    told = [connection.execute(checkpointer).fetchone()[0], str(data.parent)]
print(json.dumps(told), flush=True)
input()
"""
GROUP = """
import json, subprocess, tempfile
from pathlib import Path
from tests.servers import keeper

folder = Path(tempfile.mkdtemp())
leader = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True)
keeper.keep("a group", leader.pid, folder)
print(json.dumps([int(leader.stdout.readline()), str(folder)]), flush=True)
input()
"""


@pytest.mark.parametrize(
    "started", [pytest.param(POSTGRESQL, marks=pytest.mark.server), GROUP], ids=["server", "group"]
)
def test_a_server_ends_with_the_tests_that_are_killed(started: str) -> None:
    tests = subprocess.Popen(
        [sys.executable, "-c", started], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with tests:
        assert tests.stdout is not None
        pid, folder = json.loads(tests.stdout.readline())
        running = os.pidfd_open(pid)
        assert (select.select([running], [], [], 0)[0], Path(folder).exists()) == ([], True)

        tests.kill()

        assert select.select([running], [], [], 30)[0] == [running]
        os.close(running)
    until(lambda: not Path(folder).exists())
