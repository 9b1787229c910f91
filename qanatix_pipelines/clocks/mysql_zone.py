"""The zone of a MySQL session: how its local times become UTC, by the server's own rules.

A TIMESTAMP is an instant, which the server writes as the session's local time (manual, "The DATE, DATETIME, and
TIMESTAMP Types"). The session's zone is left as it is, since the server computes with it, so the zone is learnt and the
values are converted here. When summer time ends, local time says an hour twice: which of the two is meant, the text of
the server does not tell.
"""

import re
from bisect import bisect_right
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

Ask = Callable[[str], Awaitable[tuple[tuple[Any, ...], ...]]]

_NOW = "SELECT @@SESSION.time_zone, @@GLOBAL.system_time_zone, TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW())"
_FIXED = re.compile(r"[+-]\d\d:\d\d|(?:Etc/)?UTC", re.IGNORECASE)

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # local time, or UTC, as is said where it is used
_WEEK = 7 * 24 * 3600
# A week in which the offset changes is looked at again, in so many parts, and so on, down to a second.
_PARTS = (24, 28, 30, 30)

_SQL, _ISO = "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"
_SECONDS_END = len("2026-01-02 03:04:05")


@dataclass(frozen=True)
class Change:
    """From `since` on, in seconds since 1970 (UTC), local time is UTC and `offset` seconds."""

    since: int
    offset: int


@dataclass(frozen=True)
class Zone:
    """`offset` holds until the first of `changes`, which are in their order."""

    offset: int
    changes: tuple[Change, ...] = ()

    def least(self, instant: datetime) -> datetime:
        """The least local time that this instant (UTC, without a zone) or a later one has, or a second less.

        Local time falls back when summer time ends. So what is later than this in local time is not missed.
        """
        second = (instant - _EPOCH) // timedelta(seconds=1)
        at = bisect_right(self.changes, second, key=lambda change: change.since)
        local = instant + timedelta(seconds=self.changes[at - 1].offset if at else self.offset)
        again = [change.since + change.offset for change in self.changes[at:]]
        return min([local, *(_EPOCH + timedelta(seconds=one - 1) for one in again if one <= second + 24 * 3600)])

    def instants(self, texts: pl.Series) -> pl.Series:
        """TIMESTAMPs as the server writes them, as ISO 8601 in UTC.

        What no day names, of zeros, stays as it is. In the hour that is said twice it stays local time, and has no Z.
        """
        starts, offsets = self._by_local_time()
        local = texts.str.head(_SECONDS_END).str.to_datetime(_SQL, time_unit="ms", strict=False)
        period = pl.Series(starts, dtype=pl.Int64).search_sorted(local.dt.epoch("s").fill_null(0), side="right")
        offset = pl.Series(offsets, dtype=pl.Int64).gather(period)
        frame = pl.DataFrame({"text": texts, "local": local, "utc": local - offset * timedelta(seconds=1)})
        fraction = pl.col("text").str.slice(_SECONDS_END)
        return frame.select(
            pl.when(pl.col("local").is_null())
            .then("text")
            .when(pl.col("utc").is_null())
            .then(pl.col("local").dt.strftime(_ISO) + fraction)
            .otherwise(pl.col("utc").dt.strftime(_ISO) + fraction + "Z")
        ).to_series()

    def _by_local_time(self) -> tuple[list[int], list[int | None]]:
        """From which local times on (seconds since 1970) which offset holds: one more; None where two do."""
        starts: list[int] = []
        offsets: list[int | None] = [self.offset]
        before = self.offset
        for change in self.changes:
            if change.offset < before:
                starts.append(change.since + change.offset)
                offsets.append(None)
            starts.append(change.since + max(before, change.offset))
            offsets.append(change.offset)
            before = change.offset
        return starts, offsets


async def session_zone(ask: Ask, *, mariadb: bool) -> Zone:
    """The zone of the session, and if its offset may change, when the server has it change. `ask` gives rows."""
    ((named, systems, offset),) = await ask(_NOW)
    name = named.decode()
    if _FIXED.fullmatch(systems.decode() if name == "SYSTEM" else name):
        return Zone(int(offset))
    hexadecimal = _digits(16)
    # TIMESTAMPs end in 2038, MariaDB's since 11.5 in 2106.
    digits = f"({_digits(28 if mariadb else 14)}) AS a, ({hexadecimal}) AS b, ({hexadecimal}) AS c"
    weeks = f"SELECT a.d * 256 + b.d * 16 + c.d AS n FROM {digits}"
    first, *changes = await _offsets(ask, f"SELECT 0 AS since, n * {_WEEK} AS n FROM ({weeks}) AS weeks")
    step = _WEEK
    for parts in _PARTS:
        if not changes:
            break
        before = " UNION ALL ".join(f"SELECT {change.since - step} AS since" for change in changes)
        step //= parts
        points = f"SELECT since, since + {step} * d AS n FROM ({before}) AS weeks, ({_digits(parts + 1)}) AS parts"
        changes = await _offsets(ask, points, changes_only=True)
    return Zone(first.offset, tuple(changes))


def _digits(count: int) -> str:
    return " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(count))


async def _offsets(ask: Ask, points: str, *, changes_only: bool = False) -> list[Change]:
    """Where, of the `points` of each `since`, the offset is another than at the point before; and at the first."""
    local = "TIMESTAMPDIFF(SECOND, TIMESTAMP'1970-01-01 00:00:00', FROM_UNIXTIME(n))"
    offsets = f"SELECT since, n, {local} - n AS o FROM ({points}) AS points"
    before = "LAG(o) OVER (PARTITION BY since ORDER BY n)"
    compared = f"SELECT n, o, {before} AS b FROM ({offsets}) AS offsets WHERE o IS NOT NULL"
    at_first = "" if changes_only else " OR b IS NULL"
    rows = await ask(f"SELECT n, o FROM ({compared}) AS compared WHERE o <> b{at_first} ORDER BY n")
    return [Change(int(since), int(offset)) for since, offset in rows]
