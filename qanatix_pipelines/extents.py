"""The extent of a pull: how much of its source it is asked to read, if not what is new since the last one."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from qanatix_pipelines.naming import FULL_REFRESH_TAG, LIMIT_TAG, SINCE_TAG, UNTIL_TAG
from qanatix_pipelines.watermarks import Watermark, watermark_of

MAX_LIMIT = 1_000_000_000
_INTEGER = re.compile(r"-?[0-9]{1,38}")
_TAGS = {"full_refresh": FULL_REFRESH_TAG, "since": SINCE_TAG, "until": UNTIL_TAG, "limit": LIMIT_TAG}

GivenWatermark = Annotated[Watermark, BeforeValidator(watermark_of)]


class Extent(BaseModel):
    """How much of its source a pull is asked to read. Without any of this, what is new since the watermark."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    full_refresh: Annotated[bool, Field(strict=True)] = Field(
        False, description="Read everything, as on a first pull. It also finds changes that did not set a later time."
    )
    since: GivenWatermark | None = Field(
        None,
        description=(
            "Read again from here: `:last_pull` is this, and no overlap is taken off. A time, or an integer where the "
            "connector has a `cursor_column`. The watermark stays as it is."
        ),
        examples=[None],
    )
    until: GivenWatermark | None = Field(
        None,
        description="The end of the window that begins at `since`, for a query that says `:until`.",
        examples=[None],
    )
    limit: Annotated[int, Field(strict=True, ge=1, le=MAX_LIMIT)] | None = Field(
        None,
        description="Read at most so many rows, for a first try. The watermark stays as it is.",
        examples=[None],
    )

    @field_validator("since", mode="after")
    @classmethod
    def _one_beginning(cls, since: Watermark | None, others: ValidationInfo) -> Watermark | None:
        if since is not None and others.data.get("full_refresh"):
            raise ValueError("must not be given together with full_refresh, which reads from the beginning")
        return since

    @field_validator("until", mode="after")
    @classmethod
    def _after_since(cls, until: Watermark | None, others: ValidationInfo) -> Watermark | None:
        if until is None or "since" not in others.data:
            return until
        match others.data["since"], until:
            case None, _:
                raise ValueError("needs since, where the window begins")
            case int() as since, int():
                ordered = since < until
            case datetime() as since, datetime():
                ordered = since < until
            case _:
                raise ValueError("must be of the same kind as since: both times, or both integers")
        if not ordered:
            raise ValueError("must be greater than since")
        return until

    @property
    def partial(self) -> bool:
        """Whether it reads a part that a caller chose. Such a pull says nothing of what is new, nor of the whole."""
        return self.since is not None or self.until is not None or self.limit is not None

    def answers(self, asked: "Extent") -> bool:
        """Whether who asks for `asked` is given the outcome of a pull of this extent that is running."""
        return self == asked or (asked == NEW_ROWS and not self.partial)

    def columns(self) -> dict[str, Watermark | bool | None]:
        """A receipt's columns for it."""
        return {
            "full_refresh": self.full_refresh,
            "since": self.since,
            "until": self.until,
            "row_limit": self.limit,
        }

    def tags(self) -> dict[str, str]:
        """A run's tags for it."""
        told = self.model_dump(mode="json", exclude_defaults=True)
        return {_TAGS[field]: "true" if value is True else str(value) for field, value in told.items()}

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> Self:
        """What a run's tags ask for. Raises ValidationError, by the field's name."""
        given = {field: tags[tag] for field, tag in _TAGS.items() if tag in tags}
        return cls.model_validate({**given, **{field: typed(text) for field, text in given.items()}})


NEW_ROWS = Extent()


def typed(text: str) -> str | int | bool:
    """What a text means where there are only texts, as in a tag or on a command line: an integer, or what it is."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if _INTEGER.fullmatch(text) else text
