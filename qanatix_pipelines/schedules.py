"""When a connector is pulled automatically: a cron expression and its time zone."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

_FIELDS = 5
_LONGEST = 200  # characters of an expression
_ALLOWED = (
    "must be five fields, minute (0-59), hour (0-23), day of month (1-31), month (1-12 or JAN-DEC) and day of week "
    "(0-7 or SUN-SAT), each *, a number, a range, a list or a step, such as */15 6-18 * * MON-FRI"
)
# Whether an expression has any time at all is computed from a fixed date, so the answer is always the same.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@lru_cache(1024)  # every answer that contains a connector validates it again
def _cron(text: str) -> str:
    fields = text.upper().split()
    if len(fields) != _FIELDS:
        raise ValueError(_ALLOWED)
    cron = " ".join(fields)
    try:
        first = next(CronSim(cron, _EPOCH), None)
    except CronSimError as error:  # as "Bad hour": it names the field and repeats no input
        raise ValueError(f"{_ALLOWED}; wrong is the {str(error).removeprefix('Bad ').replace('-', ' ')}") from None
    if first is None:
        raise ValueError("names a day that never comes")
    return cron


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - {"localtime"}  # it means another zone on each machine


def _zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("must be a time zone of the IANA database, such as UTC or Europe/Berlin")
    return name


class Schedule(BaseModel):
    """When to pull. `cron` is stored in capitals and with single blanks.

    If day-of-month or day-of-week begins with `*`, both must match; otherwise either may (Debian cron's rule).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    cron: Annotated[str, StringConstraints(max_length=_LONGEST), AfterValidator(_cron)] = Field(
        description="Minute, hour, day of month, month, day of week.", examples=["*/15 6-18 * * MON-FRI"]
    )
    timezone: Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)] = Field(
        "UTC", description="Of the IANA database.", examples=["Europe/Berlin"]
    )

    def next_after(self, moment: datetime) -> datetime:
        """The first time after `moment` (aware), in UTC.

        When clocks are set forward, a scheduled time that is skipped is due at once. When they are set back, a
        scheduled time that occurs twice counts once. If the minute or the hour begins with `*`, neither applies: the
        interval stays regular.
        """
        # In the hour that occurs twice, the library starts with past times of the first occurrence.
        return next(time for time in self._times(moment) if time > moment)

    def _times(self, moment: datetime) -> Iterator[datetime]:
        for time in CronSim(self.cron, moment.astimezone(ZoneInfo(self.timezone))):
            yield time.astimezone(UTC)


def _spelled_out(given: object) -> object:
    """A text is the cron expression of a schedule in UTC."""
    if not isinstance(given, str):
        return given
    if len(given) > _LONGEST:
        raise ValueError(f"must have at most {_LONGEST} characters")
    return Schedule(cron=_cron(given))


# A schedule as callers give it: an object, or its cron expression alone.
GivenSchedule = Annotated[
    Schedule,
    BeforeValidator(
        _spelled_out,
        json_schema_input_type=Schedule
        | Annotated[str, Field(max_length=_LONGEST, description="The `cron` of a schedule in UTC.")],
    ),
]
