"""PostgreSQL's clock, the start of its oldest open transaction, and what `:last_pull` and `:until` are bound to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from qanatix_pipelines.accounts import Sight
from qanatix_pipelines.errors import QueryRejected
from qanatix_pipelines.sources.postgresql import account
from qanatix_pipelines.sources.sql import NAME, UNTIL
from qanatix_pipelines.watermarks import Watermark

# In this order:
# - The source's clock. It is read first, so that a transaction that begins meanwhile is newer.
# - The newest time that this server has seen: a replica has seen nothing newer than what it last replayed.
# - The start of the oldest open transaction: a row that it stamped may still appear below the clock. Only members of
#   pg_read_all_stats see other roles' transactions, and a replica does not see its primary's. There the overlap stands
#   in.
# - Whether there is a prepared transaction: nobody knows when it began.
# - The account's rights.
# - Whether the server runs on Linux, which tells it that a client is gone.
REACH = f"""
SELECT clock_timestamp(),
CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() ELSE clock_timestamp() END,
(SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database()),
{account.RIGHTS},
strpos(version(), 'linux') > 0
"""
# Why open transactions of others are not seen, as REACH asks for them. Null if they are.
UNSEEN = """
SELECT CASE
WHEN pg_is_in_recovery() THEN 'replica'
WHEN NOT current_setting('track_activities')::bool THEN 'untracked'
WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_read_all_stats' AND pg_has_role(oid, 'USAGE')) THEN 'no role'
END
"""
# A column without a zone holds the database's local time. Where its clocks go back within three hours, the most that
# any has gone back (Antarctica/Casey, 2018), `:last_pull` is the earlier time that they will show then. Where they have
# gone back within three hours, `:until` is the later time that they showed before.
LOCAL = {
    NAME: """
SELECT least($1::timestamptz AT TIME ZONE zone, ($1 + interval '3 hours') AT TIME ZONE zone - interval '3 hours')
FROM current_setting('TimeZone') AS zone
""",
    UNTIL: """
SELECT greatest($1::timestamptz AT TIME ZONE zone, ($1 - interval '3 hours') AT TIME ZONE zone + interval '3 hours')
FROM current_setting('TimeZone') AS zone
""",
}

# The types of time. The server counts them from the year 2000, in microseconds or days. Python's datetime begins too
# late for the first pull's bound, so we bind counts. The greatest of each stands for infinity.
_COUNTED = {"timestamptz": 2**63 - 1, "timestamp": 2**63 - 1, "date": 2**31 - 1}
_Y2000 = datetime(2000, 1, 1)  # noqa: DTZ001  # in UTC, or in the database's zone
_MICROSECOND, _DAY = timedelta(microseconds=1), timedelta(days=1)
# A first pull starts from 1 BC: before the year 1, where other systems have their zero. As a text without its era it
# is 0001, which sorts before all later years. A query that computes a number of 32 bits from it, such as seconds since
# 1970, needs the nearer one. A window that has no end ends with infinity, from which many functions make null: they
# need a year of four digits, and numbers of 32 bits the year 2038.
_FARTHEST: dict[str, tuple[timedelta | None, ...]] = {
    NAME: (timedelta(days=-730_485), datetime(1902, 1, 1) - _Y2000),  # noqa: DTZ001  # from 0001-01-01 BC on; likewise
    UNTIL: (None, datetime(9999, 1, 1) - _Y2000, datetime(2038, 1, 1) - _Y2000),  # noqa: DTZ001
}
# A role that needs no quotes.
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
# How often something nearer can be tried than what is farthest.
NEARER = 2
# The least and the greatest that each integer type can hold. No cursor takes a numeric of more digits.
_INTEGERS: dict[str, tuple[int, int]] = {
    f"int{size}": (-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1) for size in (2, 4, 8)
} | {"numeric": (-(10**38), 10**38)}


@dataclass(frozen=True)
class End:
    """An end of the window: where it is, in UTC, and the same time in the database's zone; or an integer.

    `name` is that of its placeholder. None is the farthest end that there is.
    """

    name: str
    at: Watermark | None = None
    local: datetime | None = None

    def counted(self, kind: str, *, nearer: int = 0) -> int:
        """As a point in time, as the server counts the type `kind`, which it inferred for it.

        The farthest end may be so often `nearer`. Raises QueryRejected for a type that is none of time.
        """
        if kind not in _COUNTED:
            raise QueryRejected(
                f":{self.name} stands where the source expects the type {kind}. It is a point in time: compare it with "
                f"a timestamp, timestamptz or date column, write :{self.name}::timestamptz, or name the column of "
                "integers that it is compared with as cursor_column."
            )
        at = cast(datetime | None, self.at) if kind == "timestamptz" else self.local
        farthest = _FARTHEST[self.name]
        since = farthest[min(nearer, len(farthest) - 1)] if at is None else _naive(at) - _Y2000
        if since is None:
            return _COUNTED[kind]
        if kind == "date":
            # The day of the last pull was not over then, so it is read again.
            return since // _DAY - (at is not None and self.name == NAME)
        return since // _MICROSECOND

    def numbered(self, kind: str, *, nearer: int = 0) -> int:
        """As an integer of the type `kind`, which the server inferred for it: the nearest it can hold.

        Half of the farthest leaves room to compute with it. A numeric's is cut to what a bigint can hold. Raises
        QueryRejected for a type that is none of integers.
        """
        if kind not in _INTEGERS:
            raise QueryRejected(
                f":{self.name} stands where the source expects the type {kind}, but cursor_column says that it is an "
                f"integer: compare it with a column of integers, write :{self.name}::bigint, or leave cursor_column "
                "out."
            )
        least, greatest = _INTEGERS[kind]
        if self.at is not None:
            return min(max(cast(int, self.at), least), greatest)
        if self.name == UNTIL:
            return min(greatest // 2, 2**62) if nearer else greatest
        return max(least // 2, -(2**62)) if nearer else least


def _naive(at: datetime) -> datetime:
    """In UTC, if it has a zone."""
    return at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)


class Bound:
    """The values of a query's placeholders, as integers; `ends` and `kinds` are those of each placeholder."""

    def __init__(self, ends: Sequence[End], kinds: Sequence[str], *, integer: bool) -> None:
        self._ends, self.kinds, self._integer = ends, kinds, integer
        self.values = [0] * len(kinds)
        for place in range(len(kinds)):
            self.bring(place)

    @property
    def open(self) -> bool:
        """Whether an end of the window has no value."""
        return any(end.at is None for end in self._ends)

    def is_endless(self, place: int) -> bool:
        """Whether this is the end of a window that has none."""
        return self._ends[place] == End(UNTIL)

    def places_of(self, name: str) -> list[int]:
        return [place for place, end in enumerate(self._ends) if end.name == name]

    def bring(self, place: int, nearer: int = 0) -> None:
        """Give this placeholder its value, so often nearer. Raises QueryRejected."""
        end, kind = self._ends[place], self.kinds[place]
        self.values[place] = (end.numbered if self._integer else end.counted)(kind, nearer=nearer)


async def count_times(connection: Any) -> None:
    """From now on, a parameter of a type of time is given as the server counts it. This sends nothing."""
    for kind in _COUNTED:
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=lambda count: (count,), decoder=tuple, format="tuple"
        )


def sight_of(unseen: str | None, user: str) -> Sight:
    """What an answer to UNSEEN means for a role called `user`."""
    match unseen:
        case None:
            return Sight()
        case "replica":
            return Sight("It is a replica, which does not tell of them: connect to the primary.")
        case "untracked":
            return Sight("Have the server's administrator set track_activities to on.")
        case _:
            role = user if _PLAIN.fullmatch(user) else '"' + user.replace('"', '""') + '"'
            return Sight(f"Run GRANT pg_read_all_stats TO {role} at the source.")
