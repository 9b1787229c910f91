"""Endpoints that test a connector: one that is registered, or one that need not be."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Body, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from qanatix_api import audit
from qanatix_api.auth import needs
from qanatix_api.checking import apart, checked
from qanatix_api.codes import TEST_FAILED
from qanatix_api.connector_requests import NO_SET, ConnectorDraft
from qanatix_api.examples import EXAMPLES
from qanatix_api.failures import PROBLEM_JSON, Problem, members, problem
from qanatix_api.repeats import NOT_KEPT, REPEATABLE
from qanatix_api.services import Given, Services
from qanatix_pipelines.advice import advice, same_set
from qanatix_pipelines.connectors import Connector, ConnectorSettings, NewConnector
from qanatix_pipelines.keys import KeyRecord, Scope
from qanatix_pipelines.reports import (
    MOST_ROWS,
    ROWS,
    Advice,
    AdviceCode,
    Check,
    CheckName,
    CheckStatus,
    ConnectorTest,
    ShownColumn,
    ShownEntity,
    ShownRejection,
)
from qanatix_pipelines.sources import check_query, check_watch, source_of
from qanatix_pipelines.store.schedules import source_name

router = APIRouter(prefix="/connectors", tags=["connectors"])

Writer = Annotated[KeyRecord, needs(Scope.CONNECTORS_WRITE)]
Rows = Annotated[int, Query(ge=1, le=MOST_ROWS, description="How many rows of the result are read and shown.")]
# The check of a test that tells the same as a warning.
_CHECK_OF = {
    AdviceCode.NO_LAST_PULL: CheckName.LAST_PULL,
    AdviceCode.NO_KEY: CheckName.KEY,
    AdviceCode.NO_NAME: CheckName.NAME,
}
# The test itself takes ten seconds at most. A run that no worker has ready takes some seconds to start.
ANSWER_SECONDS = 40


class SampleEntity(BaseModel):
    """A row of the result as it would be stored. Parse its numbers as decimals to keep every digit of the source."""

    id: UUID | None = Field(description="Null if no entity set was named.")
    name: str | None
    source_id: str | None = Field(description="The row's key in its source.")
    vertical_data: dict[str, Any] | None = Field(
        description="The row, without the column that becomes its name. Null if there was no room left for it: the "
        "sample has at most a mebibyte."
    )


class ConnectorTestAnswer(BaseModel):
    """How a test went. Nothing of it is kept."""

    ok: bool = Field(description="Whether no check failed.")
    checks: list[Check] = Field(description="In the order in which they are made. The first that fails skips the rest.")
    columns: list[ShownColumn]
    sample: list[SampleEntity] = Field(description="The first rows of the result.")
    rejected: list[ShownRejection] = Field(description="Rows of the sample that could not become an entity.")
    warnings: list[Advice] = Field(description="What no check tells and is probably not intended, or could be cheaper.")


class ConnectorTestProblem(Problem):
    """A connector was not created or replaced. `test` is the report if it did not pass its test."""

    test: ConnectorTestAnswer | None = None


RESPONSES: dict[int | str, dict[str, Any]] = {
    424: problem("The connector's credentials cannot be decrypted."),
    500: problem("The test broke on a fault of ours. Its run in Dagster says where."),
    503: problem("Dagster or the store cannot be reached, or the test's run was lost. Nothing was changed."),
}


@router.post(
    "/test",
    name="test_unsaved_connector",  # a function of that name would be taken for a test of ours
    summary="Test a connector before it is registered",
    response_model=ConnectorTestAnswer,
    dependencies=REPEATABLE,
    responses=RESPONSES,
)
async def try_unsaved_connector(
    draft: Annotated[ConnectorDraft, Body(openapi_examples=EXAMPLES)],
    given: Given,
    caller: Writer,
    request: Request,
    rows: Rows = ROWS,
) -> Response:
    """Connect as a pull would, read a few rows, and say of each step how it went. Nothing is ingested or kept.

    Like a pull, it is a run in Dagster. The answer is 200 also if a check fails: `ok` says whether all passed.
    """
    tested = await report_of_unsaved(given, caller, request, draft, rows=rows)
    if not {"vertical", "entity_type"} <= draft.model_fields_set:
        tested.sample = [entity.model_copy(update={"id": None}) for entity in tested.sample]
    return Response(_written(tested), headers=NOT_KEPT, media_type="application/json")


@router.post(
    "/{connector_id}/test",
    name="test_connector",
    summary="Test a connector",
    dependencies=REPEATABLE,
    response_model=ConnectorTestAnswer,
    responses=RESPONSES | {404: problem("There is no such connector.")},
)
async def try_connector(
    given: Given, caller: Writer, connector_id: UUID, request: Request, rows: Rows = ROWS
) -> Response:
    """The same for a registered connector. The rows are those that a first pull would read: `:last_pull` is not moved,
    nor looked at.
    """
    connector = await run_in_threadpool(given.store.connectors.get, connector_id)
    tested = await _report_of(given, caller, request, connector, {"rows": rows})
    return Response(_written(tested), headers=NOT_KEPT, media_type="application/json")


async def report_of_unsaved(
    given: Services,
    caller: KeyRecord,
    request: Request,
    new: NewConnector,
    *,
    connector_id: UUID | None = None,
    rows: int = ROWS,
) -> ConnectorTest:
    """The test of a connector, or of what will replace the one with this id.

    Raises as `checked` and `Looks.ask`.
    """
    identity = await checked(new)
    audit.record(caller, "connector.tested", connector_id or "unsaved")
    asked = {"connector": new.model_dump(mode="json"), "rows": rows}
    source = source_name(identity.digest, uuid4())
    result = await given.looks.ask(request, "test", asked, source=source, seconds=ANSWER_SECONDS)
    tested = ConnectorTest.model_validate(result)
    tested.warnings += await run_in_threadpool(_rivalry, given, new, connector_id, identity.digest)
    return tested


async def report_of_changed(
    given: Services, caller: KeyRecord, request: Request, kept: Connector, settings: dict[str, Any]
) -> ConnectorTest:
    """The test of a registered connector with other settings, by its own credentials.

    Raises as `check_query`, `check_watch` and `Looks.ask`.
    """
    changed = Connector.model_validate(kept.model_dump() | settings)
    await apart(check_query, changed.connector_type, changed.query, changed.cursor_column)
    await apart(check_watch, changed.connector_type, changed.query, changed.watch)
    told = ConnectorSettings.model_validate(settings).model_dump(mode="json", exclude={"key"})
    return await _report_of(given, caller, request, changed, {"rows": ROWS, "settings": told})


async def _report_of(
    given: Services, caller: KeyRecord, request: Request, connector: Connector, asked: dict[str, Any]
) -> ConnectorTest:
    source = await run_in_threadpool(given.store.connectors.source_of, connector.id)
    audit.record(caller, "connector.tested", connector.id)
    result = await given.looks.ask(
        request, "test", asked, connector_id=connector.id, source=source, seconds=ANSWER_SECONDS
    )
    tested = ConnectorTest.model_validate(result)
    tested.warnings += await run_in_threadpool(_rivalry, given, connector, connector.id)
    return tested


def refused(tested: ConnectorTest, done: Literal["registered", "replaced"] = "registered") -> Response | None:
    """The 422 of a connector that did not pass its test, and so was not `done`; None if it passed."""
    failed = next((check for check in tested.checks if check.status is CheckStatus.FAILED), None)
    if failed is None:
        return None
    detail = f"The connector was not {done}: its test failed at {failed.name}. {failed.detail}"
    told = members(status.HTTP_422_UNPROCESSABLE_CONTENT, detail, code=TEST_FAILED)
    body = f'{json.dumps(told)[:-1]},"test":{_written(tested)}}}'
    return Response(body, status.HTTP_422_UNPROCESSABLE_CONTENT, NOT_KEPT, PROBLEM_JSON)


def warnings_of(
    given: Services, connector: ConnectorSettings, connector_id: UUID, tested: ConnectorTest | None = None
) -> list[Advice]:
    """The warnings about a registered connector: those that need no connection, and those that its test has found."""
    last_pull = source_of(connector.connector_type).check_query(connector.query).last_pull
    settled = [*advice(connector, datetime.now(UTC), last_pull=last_pull), *_rivalry(given, connector, connector_id)]
    known = {*AdviceCode} - {AdviceCode.NO_KEY, AdviceCode.NO_NAME}
    return settled + [one for one in (tested.warnings if tested else ()) if one.code not in known]


def _rivalry(
    given: Services, connector: ConnectorSettings, connector_id: UUID | None = None, place: bytes | None = None
) -> list[Advice]:
    if (connector.vertical, connector.entity_type) == (NO_SET, NO_SET):
        return []
    return list(same_set(given.store.connectors.rivals(connector, connector_id, place)))


def _written(tested: ConnectorTest) -> str:
    """The report as JSON. The data of entities is sent as it would be stored: parsing it would lose digits."""
    warned = {check.name for check in tested.checks if check.status is CheckStatus.WARNED}
    told = tested.model_copy(
        update={"warnings": [one for one in tested.warnings if _CHECK_OF.get(one.code) not in warned]}
    )
    sample = ",".join(map(_entity, tested.sample))
    return f'{told.model_dump_json(exclude={"sample"})[:-1]},"sample":[{sample}]}}'


def _entity(entity: ShownEntity) -> str:
    return f'{entity.model_dump_json(exclude={"data"})[:-1]},"vertical_data":{entity.data or "null"}}}'
