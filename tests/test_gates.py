"""What stands between a driver and its connection, without either, however the network cuts what is sent."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.errors import SourceFailed
from qanatix_pipelines.sources.mysql.row_gate import Rows
from qanatix_pipelines.sources.postgresql import row_gate as postgresql
from qanatix_pipelines.sources.postgresql.row_gate import FIRST_ROWS, Gate

READY, COMPLETE, SUSPENDED = b"Z\x00\x00\x00\x05T", b"C\x00\x00\x00\x0dSELECT 1\x00", b"s\x00\x00\x00\x04"
NOTICE = b"N\x00\x00\x00\x09hello"
ERROR = b"E\x00\x00\x00\x06!\x00"


def row(payload: bytes) -> bytes:
    return b"D" + (4 + len(payload)).to_bytes(4, "big") + payload


class Portal:
    """PostgreSQL's side of a cursor, its transport, its driver, and the driver's cursor, all in one.

    `rows` are the payloads of what it has to give; None is where it fails. What it sends arrives in `pieces`, sizes
    that are gone through in turn, and only while nobody has paused the transport.
    """

    def __init__(self, rows: Sequence[bytes | None], pieces: Sequence[int]) -> None:
        self.rows = list(rows)
        self.pieces = list(pieces)
        self.asked: list[int] = []
        self.sending = b""
        self.paused = False
        self.failed = False
        self.protocol: Any = self
        self.received = b""
        self.waiter: asyncio.Future[list[bytes]] | None = None
        self._exhausted = False

    # The transport.

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        asyncio.get_running_loop().call_soon(self._arrive)

    def _arrive(self) -> None:
        if self.sending and not self.paused:
            size = self.pieces.pop(0)
            self.pieces.append(size)
            piece, self.sending = self.sending[:size], self.sending[size:]
            self.protocol.data_received(piece)
            asyncio.get_running_loop().call_soon(self._arrive)

    # The server.

    def execute(self, limit: int) -> None:
        self.asked.append(limit)
        if self.failed:
            self.sending += ERROR + READY
            return
        for _ in range(limit):
            if not self.rows:
                self.sending += COMPLETE + READY
                return
            payload = self.rows.pop(0)
            if payload is None:
                self.failed = True
                self.sending += ERROR + READY
                return
            self.sending += row(payload) + NOTICE
        self.sending += SUSPENDED + READY

    # The driver.

    async def fetch(self, limit: int) -> list[bytes]:
        assert self.waiter is None
        if self._exhausted:
            return []
        self.waiter = asyncio.get_running_loop().create_future()
        self.execute(limit)
        asyncio.get_running_loop().call_soon(self._arrive)
        rows = await self.waiter
        self.waiter = None
        if len(rows) < limit:
            self._exhausted = True
        return rows

    def give_up(self, reason: Exception) -> None:
        assert self.waiter is not None
        self.waiter.set_exception(reason)

    def data_received(self, data: bytes) -> None:
        assert self.waiter is not None, "the driver waits for nothing"
        self.received += data
        rows, failed, at = [], False, 0
        while at + 5 <= len(self.received):
            end = at + 1 + int.from_bytes(self.received[at + 1 : at + 5], "big")
            kind, payload = self.received[at : at + 1], self.received[at + 5 : end]
            if end > len(self.received):
                return
            if kind == b"D":
                rows.append(payload)
            elif kind == b"E":
                failed = True
            elif kind == b"Z":
                assert end == len(self.received), "something came behind the end"
                self.received = b""
                if failed:
                    self.waiter.set_exception(ZeroDivisionError())
                else:
                    self.waiter.set_result(rows)
                return
            at = end


async def fetched(portal: Portal, batch_size: int) -> list[tuple[list[bytes], frozenset[int]]]:
    gate = Gate(cast(asyncio.Transport, portal))
    batches = []
    async with asyncio.timeout(30):
        while (batch := await gate.fetch(portal, batch_size))[0]:
            batches.append(batch)
    return batches


def closed(rows: Sequence[bytes], batch_size: int) -> list[tuple[list[bytes], frozenset[int]]]:
    """The batches by the rule: `batch_size` rows or what fits, at least one; nulls for oversized rows."""
    batches: list[tuple[list[bytes], set[int]]] = []
    room = 0
    for payload in rows:
        oversized = 4 + len(payload) > ROW_BYTES
        size = 0 if oversized else 4 + len(payload)
        if not batches or len(batches[-1][0]) == batch_size or size > room:
            batches.append(([], set()))
            room = BATCH_BYTES
        if oversized:
            batches[-1][1].add(len(batches[-1][0]))
        batches[-1][0].append(TWO_NULLS if oversized else payload)
        room -= size
    return [(payloads, frozenset(oversized)) for payloads, oversized in batches]


ROW_BYTES, BATCH_BYTES = 120, 400
TWO_NULLS = b"\x00\x02" + b"\xff" * 8

PIECES = st.lists(st.integers(1, 200), min_size=1, max_size=5)
WIDE = st.binary(min_size=50, max_size=250).map(lambda values: b"\x00\x02" + values)
PAYLOADS = st.lists(st.binary(max_size=8) | WIDE, max_size=150)


@contextmanager
def small_bounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(postgresql, "MAX_BATCH_BYTES", BATCH_BYTES)
        patched.setattr(postgresql, "MAX_ROW_BYTES", ROW_BYTES)
        yield


@given(PAYLOADS, st.integers(1, 60), PIECES)
def test_postgresqls_rows_come_in_their_order_and_in_the_batches_of_the_rule(
    rows: list[bytes], batch_size: int, pieces: list[int]
) -> None:
    with small_bounds():
        batches = asyncio.run(fetched(Portal(rows, pieces), batch_size))

    assert batches == closed(rows, batch_size)


@given(PAYLOADS, st.integers(1, 60), PIECES)
def test_postgresqls_error_is_told_and_nothing_comes_behind_it(
    rows: list[bytes], batch_size: int, pieces: list[int]
) -> None:
    async def failing() -> None:
        with pytest.raises(ZeroDivisionError):
            await fetched(Portal([*rows, None], pieces), batch_size)
        for _ in range(1000):  # what else it sends reaches nobody
            await asyncio.sleep(0)

    with small_bounds():
        asyncio.run(failing())


def test_postgresql_is_asked_for_no_more_than_two_batches_of_wide_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that the server sets to a statement's time counts while it waits for us."""
    monkeypatch.setattr(postgresql, "MAX_BATCH_BYTES", 1040)
    portal = Portal([b"x" * 100] * 500, [1000])

    asyncio.run(fetched(portal, 5000))

    assert portal.asked[0] == FIRST_ROWS
    assert set(portal.asked[1:]) == {1, 20}


def test_postgresql_is_asked_for_whole_batches_of_narrow_rows() -> None:
    portal = Portal([b"x"] * 250, [1000])

    asyncio.run(fetched(portal, 100))

    assert portal.asked == [FIRST_ROWS, 100 - FIRST_ROWS, 100, 100]


class Generous(Portal):
    """Sends a row more than it was asked for."""

    def execute(self, limit: int) -> None:
        self.rows = [b"x"] * (limit + 1)
        super().execute(limit + 1)


@given(st.integers(1, 60), PIECES)
def test_more_rows_than_postgresql_was_asked_for_end_the_pull(batch_size: int, pieces: list[int]) -> None:
    with pytest.raises(SourceFailed, match="more rows than it was asked for"):
        asyncio.run(fetched(Generous([], pieces), batch_size))


class Talkative(Portal):
    """Says this, too, before its first answer or instead of that answer's end."""

    def __init__(self, said: bytes, *, at_the_end: bool = False) -> None:
        super().__init__([b"x" * 100] * 60, [1000])
        self.said = said
        self.at_the_end = at_the_end

    def execute(self, limit: int) -> None:
        first = not self.asked
        if first and not self.at_the_end:
            self.sending += self.said
        super().execute(limit)
        if first and self.at_the_end:
            self.sending = self.sending.removesuffix(SUSPENDED + READY) + self.said


NOTHING = b"N" + (10_000).to_bytes(4, "big") + bytes(9_996)


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("kind", [b"N", b"E", b"Z", b"S"])
def test_what_is_no_row_of_postgresqls_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
    kind: bytes,
    at_the_end: bool,
) -> None:
    monkeypatch.setattr(postgresql, "MAX_BATCH_BYTES", 1040)
    portal = Talkative(kind + (2**20 + 1).to_bytes(4, "big"), at_the_end=at_the_end)

    with pytest.raises(SourceFailed, match="too much that is not a row"):
        asyncio.run(fetched(portal, 100))


def test_all_that_is_no_row_of_postgresqls_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "MAX_OTHER_BYTES", 100_000)

    assert [len(rows) for rows, _ in asyncio.run(fetched(Talkative(NOTHING * 9), 100))] == [60]
    with pytest.raises(SourceFailed, match="too much that is not a row"):
        asyncio.run(fetched(Talkative(NOTHING * 10), 100))


def test_a_driver_of_mysqls_that_reads_its_packets_in_another_way_is_refused_at_once() -> None:
    with pytest.raises(AttributeError, match="read_packet"):
        type("Connection", (Rows,), {})
