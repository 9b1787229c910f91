"""The keys of a pull's rows: which column has them, and what is amiss with them, for keys that are none lose rows."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import BaseModel, Field

# Of keys that are amiss.
KEYS_NAMED = 10


class Roles(NamedTuple):
    """Which columns of a result are its rows' key and name. None where none is, or where none is known."""

    key: str | None = None
    name: str | None = None


UNKNOWN = Roles()


class WarningCode(StrEnum):
    KEYS_REPEATED = "keys_repeated"
    NO_KEY = "no_key"
    KEYS_NULL = "keys_null"


class PullWarning(BaseModel):
    """What of a pull that completed may not be what was meant."""

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
        """All of it in words."""
        return (
            f"{self.detail} Keys with the most of them: {', '.join(map(repr, self.keys))}."
            if self.keys
            else self.detail
        )

    def without_keys(self) -> Self:
        return self.model_copy(update={"keys": []})


class Repeated(NamedTuple):
    """How many rows have another content than the last row with their key, and the keys with the most of them."""

    rows: int = 0
    keys: Sequence[str] = ()


def warnings(roles: Roles, accepted: int, keyless: int, repeated: Repeated) -> Iterator[PullWarning]:
    """What is amiss where so many rows were not rejected, and so many of them have no key."""
    if repeated.rows:
        yield PullWarning(
            code=WarningCode.KEYS_REPEATED,
            detail=(
                f"{repeated.rows:,} rows are not what the last row with their key is, which alone counts: the "
                f"column {roles.key!r} does not tell rows apart. Name one that does as id_column."
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
                f"{keyless:,} rows have no key: {roles.key!r} is null there. Each change of such a row is a new "
                "entity, and the old one stays."
            ),
        )
