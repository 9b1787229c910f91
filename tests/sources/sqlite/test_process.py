"""The child process in which SQLite computes: it ends with its reading, has its bounds, and has nothing of ours."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from qanatix_pipelines.errors import SourceError, SourceFailed
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.sqlite import process
from qanatix_pipelines.sources.sqlite.frames import HEAD
from qanatix_pipelines.watermarks import Window
from tests.conftest import server
from tests.sources.sqlite.harness import SQLiteHarness

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc"),
]

ENDLESS = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT "
# One call of a function, which SQLite cannot be interrupted in.
UNBROKEN = {
    "printf": "SELECT printf('%.*c', 2000000000, 'x') AS id",
    "like": "SELECT hex(zeroblob(1000000)) LIKE '%' || hex(zeroblob(20000)) || '1' AS id",
    "instr": "SELECT instr(hex(zeroblob(20000000)), hex(zeroblob(9000000)) || '1') AS id",
}


@pytest.fixture
def items() -> Iterator[SQLiteHarness]:
    harness = SQLiteHarness(server("sqlite"))
    harness.fill(3)
    yield harness
    until(lambda: harness.connections() == 0)


def children(parent: int | None = None) -> set[int]:
    """The processes that this one has started, the dead ones that nobody has waited for among them."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == (parent or os.getpid()):
            found.add(int(entry.parent.name))
    return found


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


async def drain(path: Path, query: str) -> None:
    source = open_source("sqlite", {"path": str(path)}, folders=(path.parent,))
    async with source.read(query, window=Window(), batch_size=100) as reading:
        async for _ in reading.batches:
            pass


def test_the_loop_goes_on_while_a_query_computes(items: SQLiteHarness) -> None:
    async def ticks() -> int:
        reader = asyncio.create_task(drain(items.path, items.slow()))
        count = 0
        for _ in range(20):
            await asyncio.sleep(0.01)
            count += 1
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        return count

    began = time.monotonic()
    assert asyncio.run(ticks()) == 20
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "query",
    [
        f"{ENDLESS} max(id) AS id FROM n",
        f"{ENDLESS} id FROM n WHERE id < 0",
        f"{ENDLESS} id FROM n ORDER BY -id",
        "WITH n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 3000) SELECT 1 AS id FROM n a, n b, n c",
        *UNBROKEN.values(),
    ],
)
def test_a_query_that_outlives_its_deadline_leaves_no_process_and_no_lock(items: SQLiteHarness, query: str) -> None:
    before = children()

    async def give_up() -> None:
        async with asyncio.timeout(0.3):
            await drain(items.path, query)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(give_up())

    assert time.monotonic() - began < 5
    assert children() <= before
    with closing(sqlite3.connect(items.path, timeout=0, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")


@pytest.mark.parametrize("query", [f"{ENDLESS} id FROM n", "SELECT id FROM items", "SELECT nope FROM items"])
def test_a_reading_that_is_left_early_or_fails_leaves_no_process(items: SQLiteHarness, query: str) -> None:
    before = children()

    async def leave() -> None:
        source = open_source("sqlite", items.config, **items.allowed)
        async with source.read(query, window=Window(), batch_size=1) as reading:
            assert len(children() - before) == 1
            await anext(reading.batches)

    try:
        asyncio.run(leave())
    except SourceError:
        assert "nope" in query

    assert children() <= before


@pytest.mark.slow
def test_it_ends_when_our_process_is_killed(items: SQLiteHarness) -> None:
    script = (
        "import asyncio; from pathlib import Path; from tests.sources.sqlite.test_process import drain; "
        f"asyncio.run(drain(Path({str(items.path)!r}), {UNBROKEN['printf']!r}))"
    )
    victim = subprocess.Popen([sys.executable, "-c", script])
    try:
        until(lambda: items.connections() > 0)
        (child,) = children(victim.pid)
    finally:
        victim.kill()
        victim.wait()

    until(lambda: not Path(f"/proc/{child}").exists())


def test_two_at_once_do_not_meet(items: SQLiteHarness) -> None:
    async def both() -> list[int]:
        source = open_source("sqlite", items.config, **items.allowed)
        async with (
            source.read("SELECT id FROM items", window=Window(), batch_size=1) as first,
            source.read("SELECT -id AS id FROM items", window=Window(), batch_size=1) as second,
        ):
            return [
                int(batch.frame["id"][0])
                for reading in (second, first)
                for batch in [batch async for batch in reading.batches]
            ]

    assert asyncio.run(both()) == [-1, -2, -3, 1, 2, 3]


def test_it_has_nothing_of_ours_but_one_socket(items: SQLiteHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANATIX_ENCRYPTION_KEY", "secret")
    monkeypatch.setenv("TZ", "UTC")
    before = children()

    def look() -> tuple[bytes, set[str]]:
        (child,) = children() - before
        process = Path(f"/proc/{child}")
        links = {str(link.readlink()).partition(":")[0] for link in (process / "fd").iterdir()}
        return (process / "environ").read_bytes(), links

    async def seen() -> tuple[bytes, set[str]]:
        source = open_source("sqlite", items.config, **items.allowed)
        async with source.read("SELECT id FROM items", window=Window(), batch_size=1):
            return look()

    environment, links = asyncio.run(seen())

    names = {entry.partition(b"=")[0] for entry in environment.split(b"\0") if entry}
    assert b"TZ" in names
    assert names <= {b"LD_LIBRARY_PATH", b"SQLITE_TMPDIR", b"TMPDIR", b"TZ"}
    assert links == {"socket", "/dev/null", str(items.path)}


@pytest.mark.slow
def test_a_query_that_takes_too_much_memory_fails_and_we_do_not(items: SQLiteHarness) -> None:
    columns = ", ".join(f"zeroblob({60 * 2**20}) AS c{n}" for n in range(30))

    with pytest.raises(SourceFailed, match="more memory than the 1 GiB") as caught:
        asyncio.run(drain(items.path, f"SELECT {columns}"))

    assert not caught.value.transient


def test_a_query_that_sorts_more_than_a_file_may_hold_fails_and_leaves_none(
    items: SQLiteHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child's bound is the lesser of its own, which takes long to reach, and of the one that it is started with."""
    program = tmp_path / "child.py"
    limit = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({2**20}, {2**20}))"
    program.write_text(
        f"import resource, runpy; {limit}; runpy.run_path({process._PROGRAM[-1]!r}, run_name='__main__')"
    )
    monkeypatch.setattr(process, "_PROGRAM", (*process._PROGRAM[:-1], str(program)))
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    rows = "SELECT 1, zeroblob(1000000) UNION ALL SELECT i + 1, z FROM n WHERE i < 200"

    with pytest.raises(SourceFailed, match="no room for what the query sorts") as caught:
        asyncio.run(drain(items.path, f"WITH RECURSIVE n(i, z) AS ({rows}) SELECT i AS id, z FROM n ORDER BY z, i"))

    assert not caught.value.transient
    assert list(tmp_path.iterdir()) == [program]


def test_the_files_that_it_writes_are_bounded(items: SQLiteHarness) -> None:
    before = children()

    async def bound() -> str:
        reader = asyncio.create_task(drain(items.path, items.slow()))
        await asyncio.to_thread(until, lambda: items.connections() > 0)
        (child,) = children() - before
        limits = await asyncio.to_thread(Path(f"/proc/{child}/limits").read_text)
        reader.cancel()
        return limits

    (line,) = (line for line in asyncio.run(bound()).splitlines() if line.startswith("Max file size"))
    assert line.split()[3:5] == [str(2**32), str(2**32)]


def test_one_that_dies_is_told_and_may_be_tried_again(items: SQLiteHarness) -> None:
    before = children()

    async def read() -> None:
        reader = asyncio.create_task(drain(items.path, items.slow()))
        await asyncio.to_thread(until, lambda: items.connections() > 0)
        (child,) = children() - before
        os.kill(child, signal.SIGSEGV)
        await reader

    with pytest.raises(SourceFailed, match=r"ended too early \(SIGSEGV\)") as caught:
        asyncio.run(read())

    assert caught.value.transient
    assert children() <= before


def test_a_machine_that_can_start_no_process_is_told(items: SQLiteHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    with pytest.raises(SourceFailed, match="could not start a process") as caught:
        asyncio.run(drain(items.path, "SELECT 1 AS id"))

    assert caught.value.transient


def test_a_frame_that_it_never_sends_is_refused(items: SQLiteHarness, tmp_path: Path) -> None:
    """A file that breaks SQLite's rules might make it send anything."""
    program = tmp_path / "child.py"
    texts = ['["id"]', "[[1, 2]]", "[[true]]", '[[{"x": "y"}]]', "{", "[" * 100_000, "7", '{"why": "nonsense"}']
    for kind, text in [(b"R", texts[0]), *((b"R", text) for text in texts[1:7]), (b"F", texts[7]), (b"X", "[]")]:
        first = b"" if text == texts[0] else frame(b"C", texts[0])
        program.write_text(f"import os; os.write(1, {first + frame(kind, text)!r}); os.read(0, 9**6); os.read(0, 1)")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(process, "_PROGRAM", ("-I", "-S", str(program)))

            with pytest.raises(SourceFailed, match="The file could not be read"):
                asyncio.run(drain(items.path, "SELECT id FROM items"))


def frame(kind: bytes, text: str) -> bytes:

    return HEAD.pack(len(text), kind) + text.encode()
