"""One partitioned asset for each connector type. Each partition is a connector, and each run of it a pull."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import dagster as dg
from dagster import DagsterExecutionInterruptedError
from pydantic import ValidationError

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.defs.checks import COUNTS_CHECK, asset_key, counts_check
from qanatix_pipelines.defs.entity_sets import counts, materialization, schema
from qanatix_pipelines.defs.opening import broken, open_store
from qanatix_pipelines.defs.progress import ProgressLog
from qanatix_pipelines.defs.resources import STORE, SourceResource, StoreResource, source_key
from qanatix_pipelines.errors import (
    InvalidConnector,
    NotFound,
    PullCancelled,
    PullError,
    PullSuperseded,
    StoreUnavailable,
)
from qanatix_pipelines.extents import Extent
from qanatix_pipelines.naming import (
    DAGSTER,
    PULL_TAG,
    RE_EXECUTION,
    TRIGGER_TAG,
    partitions_name,
)
from qanatix_pipelines.pull import PullOutcome, run_pull
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.rejections import Rejection
from qanatix_pipelines.sources import check_extent, source_of
from qanatix_pipelines.store.opening import Store

# How many rejected rows a run shows. The API shows more.
REJECTIONS_SHOWN = 20
_REJECTION = {"row": "int", "key": "string", "reason": "string", "column": "string"}

NO_PARTITION = (
    "This run names no partition, and so no connector: nothing was pulled. Choose one partition and launch the run "
    "again; each is a connector. Over REST it is POST /api/v1/connectors/{id}/pull."
)
GIVEN_UP = "The connector was deleted: the pull is given up."
DELETED = "The connector of the partition %s has been deleted: the run is skipped, and nothing is pulled."


class TagWrong(PullError):
    """A run's tag asks for what a pull, or this connector, does not take. The sentence names the tag."""

    code = "tag_wrong"


def partitions_of(connector_type: str) -> dg.DynamicPartitionsDefinition:
    return dg.DynamicPartitionsDefinition(name=partitions_name(connector_type))


def pull_asset(connector_type: str, owner: str) -> dg.AssetsDefinition:
    source_type = source_of(connector_type)

    @dg.asset(
        key=asset_key(connector_type),
        partitions_def=partitions_of(connector_type),
        required_resource_keys={STORE, source_key(connector_type)},
        check_specs=[counts_check(connector_type)],
        output_required=False,  # a run whose connector was deleted before it began has none
        group_name="connectors",
        kinds={source_type.kind, "polars"},
        owners=[owner],
        tags={"qanatix/connector_type": connector_type},
        description=(
            f"The {source_type.title} connectors. Each partition is one connector; materializing it is one pull: "
            "its query runs in its database, and the rows that are new or changed become entities. The entities "
            "are an asset of their own, `vertical/entity_type`."
        ),
    )
    # Dagster recognises the context by this name.
    def connectors(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        if not context.has_partition_key:
            raise dg.Failure(NO_PARTITION, metadata={"code": "no_partition"}, allow_retries=False)
        resource: StoreResource = getattr(context.resources, STORE)
        source: SourceResource = getattr(context.resources, source_key(connector_type))
        opened = open_store(resource)
        try:
            store = opened.of(opened.tenants.of_partition(context.partition_key))
            connector, receipt = _begun(store, context.partition_key, context.run)
            progress = ProgressLog(context.log)
            try:
                outcome = run_pull(
                    store,
                    connector,
                    receipt,
                    source.open,
                    limits=source.limits(),
                    egress=source.egress(),
                    on_batch=progress.hear,
                    on_merge=progress.hear_merge,
                )
            finally:
                progress.tell()
        except PullCancelled as error:  # the receipt says so; whoever cancelled the pull may not have reached Dagster
            context.instance.report_run_canceling(context.run, str(error))
            raise DagsterExecutionInterruptedError from None
        except DagsterExecutionInterruptedError:  # Dagster ends the run: it is cancelled, or its connector was deleted
            if not _exists(opened, context.partition_key):
                context.log.warning(GIVEN_UP)
            raise
        except (NotFound, PullSuperseded) as error:
            if _exists(opened, context.partition_key):
                raise dg.Failure(str(error), metadata={"code": error.code}, allow_retries=False) from None
            context.log.warning(DELETED, context.partition_key)
            yield from _unharmed(context)
            return
        except (PullError, StoreUnavailable) as error:
            raise dg.Failure(str(error), metadata={"code": error.code}, allow_retries=False) from None
        except Exception as error:  # noqa: BLE001  # whatever it is, only its place is shown
            raise broken(error, "pull") from None
        # The pull has completed, so its run succeeds, even if the store goes away now.
        made = materialization(store, connector, outcome, resource.settings(), context.log)
        context.log_event(made)
        yield _result(connector, outcome, made.asset_key, _rejections(store, outcome.receipt, context.log))

    return connectors


def _exists(opened: Store, partition: str) -> bool:
    """Whether a partition is a connector's. True where the store cannot be asked: then the run ends as it did."""
    try:
        opened.tenants.of_partition(partition)
    except NotFound:
        return False
    except StoreUnavailable:
        pass
    return True


def _unharmed(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """The results of a skipped run. Dagster wants one for each check, even where nothing was materialized."""
    for key in context.selected_asset_check_keys:
        why = "The run was skipped: its connector has been deleted."
        yield dg.AssetCheckResult(check_name=key.name, passed=True, description=why)


def _begun(store: Store, partition: str, run: dg.DagsterRun) -> tuple[Connector, Receipt]:
    """The receipt that the API queued for this run, else a new one. A re-executed run is a new pull."""
    connector = store.connectors.by_partition(partition)
    asked = run.tags.get(PULL_TAG)
    if asked is not None and run.parent_run_id is None:
        return connector, store.pulls.claim(UUID(asked), connector, run.run_id)
    # A re-executed run has the tags of the first, unless our coordinator has changed them.
    trigger = RE_EXECUTION if run.parent_run_id is not None else run.tags.get(TRIGGER_TAG, DAGSTER)
    receipt = store.pulls.begin(connector, run.run_id, _extent(connector, run.tags), trigger=trigger)
    # Read again, for the watermark may have been set since. From now on nobody can set it until this pull is over.
    return store.connectors.get(connector.id), receipt


def _extent(connector: Connector, tags: Mapping[str, str]) -> Extent:
    """What a run's tags ask for. Raises TagWrong."""
    try:
        extent = Extent.of_tags(tags)
        check_extent(connector, extent)
    except ValidationError as error:
        first = error.errors()[0]
        field, problem = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
    except InvalidConnector as error:
        field, problem = error.field[0], str(error)
    else:
        return extent
    wrong = f"run's tag qanatix/{field}" if field in Extent.model_fields else f"connector's {field}"
    raise TagWrong(f"The {wrong} {problem}.")


def _rejections(store: Store, receipt: Receipt, log: logging.Logger) -> Sequence[Rejection]:
    """The first rows that a pull rejected; an empty sequence where the store is away."""
    if not receipt.records_rejected:
        return ()
    try:
        return store.rejections.page(receipt.id, limit=REJECTIONS_SHOWN)[0]
    except StoreUnavailable as error:
        log.warning("The run does not show which rows were rejected: %s", error)
        return ()


def _result(
    connector: Connector, outcome: PullOutcome, entity_set: dg.AssetKey, rejections: Sequence[Rejection]
) -> dg.MaterializeResult[None]:
    receipt = outcome.receipt
    counted = receipt.records_ingested + receipt.duplicates_skipped + receipt.records_rejected
    metadata: dict[str, Any] = {
        **counts(outcome),
        "connector": connector.name,
        "entity_set": dg.MetadataValue.asset(entity_set),
        "pull_id": str(receipt.id),
        "dagster/partition_row_count": receipt.records_pulled,
        "dagster/column_schema": schema(outcome),
    }
    match receipt.watermark:
        case datetime():
            metadata["last_pull"] = dg.MetadataValue.timestamp(receipt.watermark)
        case int():
            metadata["last_pull"] = str(receipt.watermark)  # it may have more than 64 bits
    metadata |= {tag.removeprefix("qanatix/"): value for tag, value in receipt.extent.tags().items()}
    roles = {"key_column": receipt.key_column, "name_column": receipt.name_column}
    metadata |= {role: column for role, column in roles.items() if column is not None}
    if receipt.warnings:
        metadata["warnings"] = dg.MetadataValue.table(
            [dg.TableRecord({"code": one.code.value, "detail": one.sentences}) for one in receipt.warnings],
            schema=dg.TableSchema([dg.TableColumn(name, "string") for name in ("code", "detail")]),
        )
    if receipt.rejected_by_reason:
        metadata["rejected_by_reason"] = {r.value: count for r, count in receipt.rejected_by_reason.items()}
    if rejections:
        metadata["rejections"] = dg.MetadataValue.table(
            [
                dg.TableRecord({"row": r.row, "key": r.key or "", "reason": r.reason.value, "column": r.column or ""})
                for r in rejections
            ],
            schema=dg.TableSchema([dg.TableColumn(name, type_) for name, type_ in _REJECTION.items()]),
        )
    return dg.MaterializeResult(
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                check_name=COUNTS_CHECK,
                passed=receipt.records_pulled == counted,
                metadata={"records_pulled": receipt.records_pulled, "counted": counted, "connector": connector.name},
            )
        ],
    )
