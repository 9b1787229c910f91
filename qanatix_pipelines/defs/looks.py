"""The job that looks at a connector before it pulls: it tests one, or does a dry run. It ingests nothing.

A run that the API asks for has the id of a draft as a tag. It answers there, and tells Dagster nothing of it. A run
that is started in Dagster names a connector in its configuration. Each check is a line of its log, and all are in its
metadata.
"""

import logging
import re
import string
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import dagster as dg
from pydantic import Field

from qanatix_pipelines.comparisons import Comparison
from qanatix_pipelines.connector_tests import run_test
from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.defs.opening import broken, open_store
from qanatix_pipelines.defs.progress import ProgressLog
from qanatix_pipelines.defs.resources import STORE, SourceResource, source_key
from qanatix_pipelines.dry_run import run_dry_run
from qanatix_pipelines.errors import NotFound, PullError, StoreUnavailable
from qanatix_pipelines.extents import Extent
from qanatix_pipelines.naming import DRAFT_TAG, KIND_TAG, LOOK_JOB
from qanatix_pipelines.reports import ROWS, Check, CheckStatus, ConnectorTest
from qanatix_pipelines.sources import connector_types
from qanatix_pipelines.store.drafts import Draft, Kind
from qanatix_pipelines.store.opening import Store

_LEVELS = {CheckStatus.FAILED: logging.ERROR, CheckStatus.WARNED: logging.WARNING}

NO_CONNECTOR = (
    "This run names no connector, so nothing was tested. Give its partition key or its id in the run's configuration, "
    "as ops: {qanatix_test: {config: {connector: shop-orders-1a2b3c4d}}}."
)
OVER = "Nobody waits for this test or dry run any more: its draft is gone. Nothing was read."


class Chosen(dg.Config):
    """What a run is given that somebody starts in Dagster."""

    # With a text as its default the field stands in the Launchpad, ready to be filled in.
    connector: str = Field("", description="The connector's partition key, or its id.")


@dg.op(
    name="qanatix_test",
    required_resource_keys={STORE, *map(source_key, connector_types())},
    out=dg.Out(dg.Nothing),
    description="Connects to the connector's database as a pull would, reads a few rows, and ingests none of them.",
)
def look(context: dg.OpExecutionContext, config: Chosen) -> dg.Output[None]:
    opened = open_store(getattr(context.resources, STORE))
    draft_id = context.run.tags.get(DRAFT_TAG)
    if draft_id is not None:
        _answer(context, opened, UUID(draft_id))
        return dg.Output(None)
    if not config.connector:
        raise dg.Failure(NO_CONNECTOR, metadata={"code": "no_connector"}, allow_retries=False)
    store, connector = _chosen(opened, config.connector)
    try:
        tested = _tested(context, store, connector)
    except (PullError, StoreUnavailable) as error:
        raise dg.Failure(str(error), metadata={"code": error.code}, allow_retries=False) from None
    except Exception as error:  # noqa: BLE001  # whatever it is, only its place is shown
        raise broken(error, "test") from None
    for check in tested.checks:
        context.log.log(_LEVELS.get(check.status, logging.INFO), _line(check))
    shown: dict[str, Any] = {"connector": connector.name, "ok": tested.ok, "checks": _list(tested.checks)}
    if not tested.ok:
        raise dg.Failure(_refusal(tested.checks), metadata=shown, allow_retries=False)
    return dg.Output(None, metadata=shown)


@dg.job(
    name=LOOK_JOB,
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "test"},  # by which runs are limited; the API says what it asks for
    description="Tests a connector: can it be reached, read, and pulled well? It reads a few rows and ingests none.",
)
def look_job() -> None:
    look()


def _answer(context: dg.OpExecutionContext, opened: Store, draft_id: UUID) -> None:
    """Answer a draft, whatever becomes of the look. An interrupted run answers nothing."""
    fault: dg.Failure | None = None
    try:
        store = opened.of(opened.tenants.of_draft(draft_id))
    except NotFound:
        raise dg.Failure(OVER, allow_retries=False) from None
    kind: Kind = "test"
    try:
        draft = store.drafts.take(draft_id)
        kind = draft.kind
        answer = {"result": _looked(context, store, draft)}
    except (NotFound, PullError, StoreUnavailable) as error:
        answer = {"error": {"code": error.code, "detail": str(error)}}
    except Exception as error:  # noqa: BLE001  # whatever it is, only its place is shown
        fault = broken(error, kind)
        answer = {"error": {"code": f"{kind}_broken", "detail": fault.description or ""}}
    try:
        store.drafts.answer(draft_id, answer)
    except NotFound:
        raise dg.Failure(OVER, allow_retries=False) from None
    except StoreUnavailable as error:
        raise dg.Failure(str(error), metadata={"code": error.code}, allow_retries=False) from None
    if fault is not None:
        raise fault


def _looked(context: dg.OpExecutionContext, store: Store, draft: Draft) -> dict[str, Any]:
    """What is answered to a draft, for JSON."""
    match draft.kind:
        case "test":
            tested = _tested_draft(context, store, draft)
            return tested.model_dump(mode="json")
        case "dry_run":
            return _compared(context, store, draft).model_dump(mode="json")


def _compared(context: dg.OpExecutionContext, store: Store, draft: Draft) -> Comparison:
    """The dry run of a draft. Dagster is told how many rows are read, and nothing of them."""
    if draft.connector_id is None:
        raise NotFound("connector")
    connector = store.connectors.get(draft.connector_id)
    source = _source(context, connector.connector_type)
    progress = ProgressLog(context.log)
    try:
        return run_dry_run(
            store,
            connector,
            source.open,
            extent=Extent.model_validate(draft.asked),
            limits=source.limits(),
            egress=source.egress(),
            on_batch=progress.hear,
        )
    finally:
        progress.tell()


def _tested_draft(context: dg.OpExecutionContext, store: Store, draft: Draft) -> ConnectorTest:
    rows = int(draft.asked["rows"])
    if draft.connector_id is not None:
        kept = store.connectors.get(draft.connector_id)
        changed = Connector.model_validate(kept.model_dump() | draft.asked.get("settings", {}))
        return _tested(context, store, changed, rows)
    new = NewConnector.model_validate(draft.asked["connector"])
    source = _source(context, new.connector_type)
    return run_test(new, new.connection_config, source.open, source.egress(), rows=rows)


def _tested(context: dg.OpExecutionContext, store: Store, connector: Connector, rows: int = ROWS) -> ConnectorTest:
    source = _source(context, connector.connector_type)
    config = store.connectors.connection_config(connector)
    return run_test(connector, config, source.open, source.egress(), rows=rows)


def _source(context: dg.OpExecutionContext, connector_type: str) -> SourceResource:
    source: SourceResource = getattr(context.resources, source_key(connector_type))
    return source


def _chosen(opened: Store, given: str) -> tuple[Store, Connector]:
    """The connector with this partition key or id, of whichever tenant, and its tenant's store."""
    for tenant in opened.tenants.all():
        ours = opened.of(tenant)
        with suppress(NotFound):
            return ours, ours.connectors.by_partition(given)
        with suppress(NotFound, ValueError):
            return ours, ours.connectors.get(UUID(given))
    raise dg.Failure(f"There is no connector with this partition key or id. {NO_CONNECTOR}", allow_retries=False)


def _refusal(checks: Sequence[Check]) -> str:
    failed = next(check for check in checks if check.status is CheckStatus.FAILED)
    return f"The connector did not pass its test. {failed.name}: {failed.detail}"


def _line(check: Check) -> str:
    """A check in a line. What Dagster is shown has names of columns, and no values of rows."""
    return f"{check.status} {check.name}: {check.detail}{_timed(check)}"


def _list(checks: Sequence[Check]) -> dg.MarkdownMetadataValue:
    """The checks, one a line. A table in Dagster's pages would break its words."""
    return dg.MetadataValue.md(
        "\n".join(f"- **{check.status}** {check.name}: {_plain(check.detail)}{_timed(check)}" for check in checks)
    )


def _timed(check: Check) -> str:
    return "" if check.seconds is None else f" ({check.seconds:.2f} s)"


def _plain(text: str) -> str:
    """A text in which nothing is taken for Markdown: it may hold names from the source."""
    return re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", " ".join(text.split()))
