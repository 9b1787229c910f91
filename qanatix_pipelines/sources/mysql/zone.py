"""The time zone of a MySQL session: how its local times become UTC, by the server's own rules.

A TIMESTAMP is an instant, which the server writes as the session's local time (manual, "The DATE, DATETIME, and
TIMESTAMP Types"). We do not change the session's zone, because the server computes with it. We learn its offsets
instead, and convert the values here. When summer time ends, an hour of local time comes twice, and the server's text
does not tell which one it means.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from qanatix_pipelines.sources.mysql.session import Ask

_NOW = "SELECT @@SESSION.time_zone, @@GLOBAL.system_time_zone, TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW())"
_FIXED = re.compile(r"[+-]\d\d:\d\d|(?:Etc/)?UTC", re.IGNORECASE)

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # local time or UTC: each use says which
_WEEK = 7 * 24 * 3600
# A week in which the offset changes is cut into so many parts, the part with the change again, and so on to a second.
_PARTS = (24, 28, 30, 30)

_SQL, _ISO = "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"
_SECONDS_END = len("2026-01-02 03:04:05")


@dataclass(frozen=True)
class Change:
    """From `since` on (seconds since 1970, UTC), local time is UTC plus `offset` seconds."""

    since: int
    offset: int


@dataclass(frozen=True)
class Zone:
    """`offset` holds until the first of `changes`, which are in order of time."""

    offset: int
    changes: tuple[Change, ...] = ()

    def least(self, instant: datetime) -> datetime:
        """The least local time of this instant (UTC, without a zone) or of any later one, less a second at most.

        Local time goes back when summer time ends. A later row never has a local time below this one.
        """
        second = (instant - _EPOCH) // timedelta(seconds=1)
        at = bisect_right(self.changes, second, key=lambda change: change.since)
        local = instant + timedelta(seconds=self.changes[at - 1].offset if at else self.offset)
        again = [change.since + change.offset for change in self.changes[at:]]
        return min([local, *(_EPOCH + timedelta(seconds=one - 1) for one in again if one <= second + 24 * 3600)])

    def greatest(self, instant: datetime) -> datetime:
        """The greatest local time of this instant (UTC, without a zone) or of any earlier one.

        An earlier row never has a local time above this one.
        """
        second = (instant - _EPOCH) // timedelta(seconds=1)
        at = bisect_right(self.changes, second, key=lambda change: change.since)
        offsets = [self.offset, *(change.offset for change in self.changes)]
        local = instant + timedelta(seconds=offsets[at])
        before = [change.since + offset for change, offset in zip(self.changes[:at], offsets, strict=False)]
        return max([local, *(_EPOCH + timedelta(seconds=one) for one in before if one >= second - 24 * 3600)])

    def instants(self, texts: pl.Series) -> pl.Series:
        """The server's TIMESTAMPs as ISO 8601 in UTC.

        A date of zeros stays as it is. In the hour that comes twice, the time stays local, and has no Z.
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
        """Local times (seconds since 1970) at which the offset changes, and the offsets before, between and after them.

        An offset is None where two hold, in the hour that comes twice.
        """
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
    """The zone of the session: its offset now, or the times of all changes if it is no fixed zone."""
    ((named, systems, offset),) = await ask(_NOW)
    name = named.decode()
    if _FIXED.fullmatch(systems.decode() if name == "SYSTEM" else name):
        return Zone(int(offset))
    hexadecimal = _digits(16)
    # TIMESTAMPs end in 2038; since MariaDB 11.5, its end in 2106.
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
    """The `points` of each `since` at which the offset differs from that at the point before; and the first point."""
    local = "TIMESTAMPDIFF(SECOND, TIMESTAMP'1970-01-01 00:00:00', FROM_UNIXTIME(n))"
    offsets = f"SELECT since, n, {local} - n AS o FROM ({points}) AS points"
    before = "LAG(o) OVER (PARTITION BY since ORDER BY n)"
    compared = f"SELECT n, o, {before} AS b FROM ({offsets}) AS offsets WHERE o IS NOT NULL"
    at_first = "" if changes_only else " OR b IS NULL"
    rows = await ask(f"SELECT n, o FROM ({compared}) AS compared WHERE o <> b{at_first} ORDER BY n")
    return [Change(int(since), int(offset)) for since, offset in rows]
