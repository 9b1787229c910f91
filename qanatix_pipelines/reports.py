"""What the test of a connector reports: its checks, the columns of its result, and what a few rows would become."""

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

from qanatix_pipelines.rejections import Reason

# How many rows of the result are shown, unless more are asked for, and at the most.
ROWS, MOST_ROWS = 10, 100


class CheckName(StrEnum):
    """The checks, in the order in which they are made."""

    ADDRESS = "address"
    REACHABLE = "reachable"
    TLS = "tls"
    LOGIN = "login"
    ACCOUNT = "account"
    QUERY = "query"
    COLUMNS = "columns"
    KEY = "key"
    NAME = "name"
    LAST_PULL = "last_pull"
    COST = "cost"


class CheckStatus(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    WARNED = "warned"
    SKIPPED = "skipped"


class Check(BaseModel):
    """How one check went. `detail` says in a sentence or two what was found, and what to do next."""

    name: CheckName = Field(examples=[CheckName.LOGIN])
    status: CheckStatus = Field(
        description=(
            "`warned`: a pull works, and probably not as it should. `skipped`: nothing is known, because an earlier "
            "check failed or there is nothing to check."
        ),
        examples=[CheckStatus.PASSED],
    )
    detail: str = Field(examples=["The login was accepted."])
    seconds: float | None = Field(None, description="How long it took. Null if it was not timed.", examples=[0.012])


class ShownColumn(BaseModel):
    """A column of the query's result."""

    name: str = Field(examples=["price"])
    type: str = Field(description="Its type in the source.", examples=["numeric"])
    becomes: str = Field(
        description="What its values are in an entity, in JSON's words. Null is possible in each.", examples=["number"]
    )
    role: Literal["key", "name", "cursor"] | None = Field(
        description="`key`: tells rows apart. `name`: becomes the entity's name. `cursor`: `cursor_column`."
    )


class ShownEntity(BaseModel):
    """A row as it would be stored. `data` is JSON text; None if it was too large to be shown."""

    id: UUID | None
    source_id: str | None
    name: str | None
    data: str | None


class ShownRejection(BaseModel):
    """A row that could not become an entity."""

    row: int = Field(description="Its position in the query's result, from 1.", examples=[3])
    key: str | None
    reason: Reason
    detail: str = Field(description="The reason in words.", examples=[Reason.NAME_MISSING.sentence])
    column: str | None


class AdviceCode(StrEnum):
    NO_LAST_PULL = "no_last_pull"
    NO_KEY = "no_key"
    NO_NAME = "no_name"
    WATCH_IS_CHEAPER = "watch_is_cheaper"
    SAME_SET = "same_set"


class Advice(BaseModel):
    """Something about a connector that is probably not intended, or could be cheaper."""

    code: AdviceCode = Field(examples=[AdviceCode.NO_LAST_PULL])
    detail: str = Field(examples=["The query does not say :last_pull, so each pull reads everything again."])


class ConnectorTest(BaseModel):
    """The report. `ok` says that no check failed."""

    ok: bool
    checks: list[Check]
    columns: list[ShownColumn]
    sample: list[ShownEntity]
    rejected: list[ShownRejection]
    warnings: list[Advice]
