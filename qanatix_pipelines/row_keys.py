"""The keys of a pull's rows: which column has them, and warnings if they do not tell rows apart and so lose rows."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import BaseModel, Field

# How many keys a warning names.
KEYS_NAMED = 10


class Roles(NamedTuple):
    """Which columns of a result are its rows' key and name. None if there is none, or it is not known yet."""

    key: str | None = None
    name: str | None = None


UNKNOWN = Roles()


class WarningCode(StrEnum):
    KEYS_REPEATED = "keys_repeated"
    NO_KEY = "no_key"
    KEYS_NULL = "keys_null"


class PullWarning(BaseModel):
    """Something about a completed pull that is probably not intended."""

    code: WarningCode
    detail: str = Field(
        examples=["12 rows have no key: 'id' is null there. Each change of such a row is a new entity."]
    )
    keys: list[str] = Field(
        [],
        description=(
            "Up to ten keys that it is of, those with the most rows first. A key is data: none is told to an API key "
            "without the scope entities:read."
        ),
        examples=[["4711"]],
    )

    @property
    def sentences(self) -> str:
        """The warning in words, with its keys."""
        return (
            f"{self.detail} Keys with the most such rows: {', '.join(map(repr, self.keys))}."
            if self.keys
            else self.detail
        )

    def without_keys(self) -> Self:
        return self.model_copy(update={"keys": []})


class Repeated(NamedTuple):
    """How many rows differ from the last row with their key, and the keys with the most such rows."""

    rows: int = 0
    keys: Sequence[str] = ()


def warnings(roles: Roles, accepted: int, keyless: int, repeated: Repeated) -> Iterator[PullWarning]:
    """The warnings of a pull with `accepted` rows that were not rejected, `keyless` of them without a key."""
    if repeated.rows:
        yield PullWarning(
            code=WarningCode.KEYS_REPEATED,
            detail=(
                f"{_rows_have(repeated.rows)} the key of a later row, but other content. Only the last row with a key "
                f"counts. Does the column {roles.key!r} tell rows apart? Else name one that does as id_column."
            ),
            keys=list(repeated.keys),
        )
    if accepted and roles.key is None:
        yield PullWarning(
            code=WarningCode.NO_KEY,
            detail=(
                "The result has no key, so each change of a row is a new entity, and the old one stays. Name the "
                "column that tells rows apart as id_column."
            ),
        )
    elif keyless:
        yield PullWarning(
            code=WarningCode.KEYS_NULL,
            detail=(
                f"{_rows_have(keyless)} no key: {roles.key!r} is null there. Each change of such a row is a new "
                "entity, and the old one stays."
            ),
        )


def _rows_have(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"
