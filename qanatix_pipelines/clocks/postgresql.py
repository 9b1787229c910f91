"""PostgreSQL's clock, how far back its oldest transaction holds it, and what `:last_pull` is bound to by it."""

from datetime import datetime, timedelta
from typing import Any, cast

from qanatix_pipelines.accounts import postgresql as account
from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.watermarks import Watermark

# The source's own clock, held back to the start of the oldest transaction that is still open: a row stamped in one of
# them may yet appear below the clock. What other roles do is visible to members of pg_read_all_stats only; for the
# rest the overlap stands in, as it does on a replica, which does not know what is open on its primary. A replica has
# seen nothing newer than what it last replayed. Of a prepared transaction nobody knows when it began. The clock is read
# first: a transaction that begins between the two is newer. And whether its system is one that tells the server of a
# connection that is gone.
REACH = f"""
SELECT clock_timestamp(),
CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() ELSE clock_timestamp() END,
(SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database()),
{account.RIGHTS},
strpos(version(), 'linux') > 0
"""
# A column without a zone holds what the database calls local time. If its clocks are set back soon after, by at most
# three hours (Antarctica/Casey's in 2018), it is the earlier time that they will show then.
LOCAL = """
SELECT least($1::timestamptz AT TIME ZONE zone, ($1 + interval '3 hours') AT TIME ZONE zone - interval '3 hours')
FROM current_setting('TimeZone') AS zone
"""

# Types of time, which the server counts from the year 2000 in microseconds or days. Python's begin too late for what is
# bound first.
_COUNTED = ("timestamptz", "timestamp", "date")
_Y2000 = datetime(2000, 1, 1)  # noqa: DTZ001  # in UTC, or in the database's zone
_MICROSECOND, _DAY = timedelta(microseconds=1), timedelta(days=1)
# What a first pull starts from. Below the zero of other systems, which is in the year 1; but as a text to compare with,
# which tells no era, no later than the years that there are. A query that computes a number of 32 bits from it, such as
# seconds since 1970, needs the nearer one.
_LEAST = timedelta(days=-730_485)  # 0001-01-01 BC
_NEARER = datetime(1902, 1, 1) - _Y2000  # noqa: DTZ001  # likewise
# What an integer's type can hold: (its least, its greatest). Numeric ones of more digits no cursor takes.
_INTEGERS: dict[str, tuple[int, int]] = {
    f"int{size}": (-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1) for size in (2, 4, 8)
} | {"numeric": (-(10**38), 10**38)}
# Half of the least leaves room to subtract from it; and the half of numeric's that a bigint can hold.
_HALVES = {kind: max(least // 2, -(2**62)) for kind, (least, _) in _INTEGERS.items()}


def counted(kind: str, start: Watermark | None, local: datetime | None, *, nearer: bool = False) -> int:
    """`:last_pull` as a point in time of the type that the server inferred for it, as the server counts it.

    `start` is in UTC, `local` the same in the database's zone; None stands for the least of a first pull, or for the
    `nearer` one.
    """
    if kind not in _COUNTED:
        raise QueryRejected(
            f":last_pull stands where the source expects the type {kind}. It is a point in time: compare it with a "
            "timestamp, timestamptz or date column, write :last_pull::timestamptz, or name the column of integers that "
            "it is compared with as cursor_column."
        )
    at = cast(datetime | None, start) if kind == "timestamptz" else local
    since = (_NEARER if nearer else _LEAST) if at is None else at.replace(tzinfo=None) - _Y2000
    if kind == "date":
        # The day of the last pull was not over: a day counts as seen only when it was.
        return since // _DAY - (at is not None)
    return since // _MICROSECOND


def numbered(kind: str, start: Watermark | None, *, nearer: bool = False) -> int:
    """`:last_pull` as an integer of the type that the server inferred for it, the nearest that it can hold."""
    if kind not in _INTEGERS:
        raise QueryRejected(
            f":last_pull stands where the source expects the type {kind}, but cursor_column says that it is an "
            "integer: compare it with a column of integers, write :last_pull::bigint, or leave cursor_column out."
        )
    least, greatest = _INTEGERS[kind]
    if start is None:
        return _HALVES[kind] if nearer else least
    return min(max(cast(int, start), least), greatest)


async def count_times(connection: Any) -> None:
    """From now on a parameter that is a time is given as the server counts it. It is not asked."""
    for kind in _COUNTED:
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=lambda count: (count,), decoder=tuple, format="tuple"
        )
