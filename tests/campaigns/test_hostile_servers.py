"""No server hurts who pulls from it: each pull ends in time, in bounded memory, and repeats nothing that it said."""

import json
import queue
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from qanatix_pipelines import errors
from tests.campaigns.hostile_answers import ANSWERS, CANARY, GREETINGS
from tests.campaigns.sufferer import DEADLINE, Suffered
from tests.conftest import server
from tests.servers import Server
from tests.servers.hostile import HostileServers, relayed
from tests.sources.databases import DATABASES
from tests.stack import ROOT

pytestmark = pytest.mark.server

AT_ONCE = 4
GRACE = 5
BUSY = 30  # a busy machine is no hang; longer is
MAX_GROWN = 200  # MiB
TRIGGER = "hostile_marker"
QUERIES = {
    "postgresql": f"SELECT '{TRIGGER}' AS id",
    "mysql": f"SELECT '{TRIGGER}' AS id",
    "mongodb": f'{{"{TRIGGER}": 1}}',
    "neo4j": f"RETURN '{TRIGGER}' AS id",
}
CODES = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SourceError)}
# How TLS is asked for, where a case is about its handshake.
TLS = {
    "postgresql": ("dsn", "sslmode=disable", "sslmode=require"),
    "mysql": ("tls", "disabled", "required"),
    "mongodb": ("uri", "tls=false", "tls=true"),
    "neo4j": ("tls", "disabled", "verify"),
}


class Sufferer:
    """The process that pulls: another one if it was ended because it hung."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.log = folder / "log"
        self._starts = 0
        self._start()

    def _start(self) -> None:
        self._starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.campaigns.sufferer", self._folder / str(self._starts)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def pull(self, *case: Any) -> Suffered:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        began = time.monotonic()
        answer = _line(self._process.stdout)
        if answer is None:
            self.stop()
            code = self._process.returncode
            self._start()
            return Suffered(f"no answer ({code})", "", time.monotonic() - began, 0)
        return Suffered(*json.loads(answer))

    def stop(self) -> None:
        with self._process:
            self._process.kill()


def _line(stream: Any) -> str | None:
    """The next line, or None if none comes."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(stream, selectors.EVENT_READ)
        if not waiting.select(DEADLINE + BUSY):
            return None
    line: str = stream.readline()
    return line or None


@pytest.fixture(scope="module")
def sufferers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Sufferer]]:
    suffering = [Sufferer(tmp_path_factory.mktemp("folder") / "sufferer") for _ in range(AT_ONCE)]
    yield suffering
    for one in suffering:
        one.stop()


def _config(connector_type: str, running: Server, port: int, name: str) -> dict[str, Any]:
    config: dict[str, Any] = DATABASES[connector_type].harness(running).changed(port=port)
    if "TLS" in name:
        option, off, on = TLS[connector_type]
        config[option] = config[option].replace(off, on)
    return config


@pytest.mark.parametrize("connector_type", list(QUERIES))
def test_no_server_hurts_who_pulls_from_it(
    connector_type: str, sufferers: list[Sufferer], figures: Callable[[str], None]
) -> None:
    running = server(connector_type)
    real = int(running.address.rpartition(":")[2].partition("/")[0])
    with HostileServers() as hostile:
        scripts = {f"greets with {name}": script for name, script in GREETINGS[connector_type].items()}
        scripts |= {
            f"answers with {name}": relayed("127.0.0.1", real, TRIGGER.encode(), answer)
            for name, answer in ANSWERS[connector_type].items()
        }
        free = queue.SimpleQueue[Sufferer]()
        for sufferer in sufferers:
            free.put(sufferer)

        def suffer(name: str) -> Suffered:
            config = _config(connector_type, running, hostile.serve(scripts[name]), name)
            sufferer = free.get()
            try:
                return sufferer.pull(connector_type, config, QUERIES[connector_type])
            finally:
                free.put(sufferer)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            suffered = dict(zip(scripts, threads.map(suffer, scripts), strict=True))

    late = {name: found for name, found in suffered.items() if found.seconds > DEADLINE + GRACE}
    slowest = sorted(late.items(), key=lambda item: -item[1].seconds)
    hung = {name: found for name, found in suffered.items() if found.seconds > DEADLINE + BUSY}
    foreign = {name: found for name, found in suffered.items() if found.code not in CODES | {None}}
    large = {name: found for name, found in suffered.items() if found.grown > MAX_GROWN}
    repeated = {name: found for name, found in suffered.items() if CANARY in found.said or "\x1b" in found.said}
    log = "".join(sufferer.log.read_text(errors="replace") for sufferer in sufferers)
    codes = Counter(found.code for found in suffered.values())
    figures(
        f"hostile servers {connector_type}: {len(suffered)} cases, {len(hung)} hung, {len(late)} over {DEADLINE} + "
        f"{GRACE} s, {len(foreign)} of no code, {len(large)} over {MAX_GROWN} MiB, {len(repeated)} repeated; at most "
        f"{max(found.grown for found in suffered.values()):.0f} MiB; {dict(codes)}"
        + "".join(f"; {name} {found.seconds:.0f} s" for name, found in slowest[:5])
    )
    assert hung == {}
    assert foreign == {}
    assert large == {}
    assert repeated == {}
    assert CANARY not in log
