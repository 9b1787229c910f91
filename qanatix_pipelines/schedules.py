"""When a connector is pulled by itself: a cron expression, and the time zone by whose clocks it goes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

_FIELDS = 5
_ALLOWED = (
    "must be five fields, minute (0-59), hour (0-23), day of month (1-31), month (1-12 or JAN-DEC) and day of week "
    "(0-7 or SUN-SAT), each *, a number, a range, a list or a step, such as */15 6-18 * * MON-FRI"
)
# Whether an expression ever comes true is asked from here, so that the answer does not depend on when it is asked.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@lru_cache(1024)  # each answer about a connector checks it again
def _cron(text: str) -> str:
    fields = text.upper().split()
    if len(fields) != _FIELDS:
        raise ValueError(_ALLOWED)
    cron = " ".join(fields)
    try:
        first = next(CronSim(cron, _EPOCH), None)
    except CronSimError as error:  # "Bad hour": it names a field, and nothing that was given
        raise ValueError(f"{_ALLOWED}; wrong is the {str(error).removeprefix('Bad ').replace('-', ' ')}") from None
    if first is None:
        raise ValueError("names a day that never comes")
    return cron


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - {"localtime"}  # which each machine takes for another


def _zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("must be a time zone of the IANA database, such as UTC or Europe/Berlin")
    return name


class Schedule(BaseModel):
    """When to pull. `cron` is kept with single blanks and in capitals; of day of month and day of week, both must hold
    where one begins with a star, else either, as in Debian's cron.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    cron: Annotated[str, StringConstraints(max_length=200), AfterValidator(_cron)] = Field(
        description="Minute, hour, day of month, month, day of week.", examples=["*/15 6-18 * * MON-FRI"]
    )
    timezone: Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)] = Field(
        "UTC", description="Of the IANA database.", examples=["Europe/Berlin"]
    )

    def next_after(self, moment: datetime) -> datetime:
        """The first time after `moment` (aware), in UTC.

        Where clocks are set forward, a time of day that is left out is made up for at once; where they are set back,
        one that comes twice counts once. An expression whose minute or hour begins with a star goes on as time does.
        """
        # Within the hour that comes twice, the library begins with times of the first that are over.
        return next(time for time in self._times(moment) if time > moment)

    def _times(self, moment: datetime) -> Iterator[datetime]:
        for time in CronSim(self.cron, moment.astimezone(ZoneInfo(self.timezone))):
            yield time.astimezone(UTC)
