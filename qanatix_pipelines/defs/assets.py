"""One partitioned asset for each connector type: its partitions are the connectors, its runs their pulls."""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import dagster as dg
from dagster import DagsterExecutionInterruptedError

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.defs.checks import COUNTS_CHECK, OWNER, asset_key, counts_check
from qanatix_pipelines.defs.entity_sets import counts, materialization, schema
from qanatix_pipelines.defs.progress import ProgressLog
from qanatix_pipelines.errors import NotFound, PullCancelled, PullError, PullSuperseded, StoreUnavailable
from qanatix_pipelines.naming import (
    DAGSTER,
    FULL_REFRESH_TAG,
    PULL_TAG,
    TRIGGER_TAG,
    entity_set_key,
    partitions_name,
)
from qanatix_pipelines.pull import PullOutcome, run_pull
from qanatix_pipelines.pulls import Pull
from qanatix_pipelines.rejections import Rejection
from qanatix_pipelines.sources import source_of
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tracebacks import places

# Of the rows that a pull rejected; the API shows more.
REJECTIONS_SHOWN = 20
_REJECTION = {"row": "int", "key": "string", "reason": "string", "column": "string"}

NO_PARTITION = (
    "This run names no partition, and so no connector: nothing was pulled. Choose one partition and launch the run "
    "again; each is a connector. Over REST it is POST /api/v1/connectors/{id}/pull."
)
GIVEN_UP = "The connector was deleted: the pull is given up."
DELETED = "The connector of the partition %s has been deleted: the run is skipped, and nothing is pulled."


def partitions_of(connector_type: str) -> dg.DynamicPartitionsDefinition:
    return dg.DynamicPartitionsDefinition(name=partitions_name(connector_type))


def pull_asset(connector_type: str) -> dg.AssetsDefinition:
    source_type = source_of(connector_type)

    @dg.asset(
        key=asset_key(connector_type),
        partitions_def=partitions_of(connector_type),
        required_resource_keys={"store", connector_type},
        check_specs=[counts_check(connector_type)],
        output_required=False,  # there is none where the connector was deleted before its run came to it
        group_name="connectors",
        kinds={source_type.kind, "polars"},
        owners=[OWNER],
        tags={"qanatix/connector_type": connector_type},
        description=(
            f"The {source_type.title} connectors. Each partition is one connector; materializing it is one pull: "
            "its query runs in its database, and the rows that are new or changed become entities. The entities "
            "are an asset of their own, `vertical/entity_type`."
        ),
    )
    # Dagster reads the bare name only.
    def connectors(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        if not context.has_partition_key:
            raise dg.Failure(NO_PARTITION, metadata={"code": "no_partition"}, allow_retries=False)
        opened: Store = context.resources.store.open()
        source = getattr(context.resources, connector_type)
        try:
            store = opened.of(opened.tenants.of_partition(context.partition_key))
            connector = store.connectors.by_partition(context.partition_key)
            receipt = _receipt(store, connector, context.run)
            progress = ProgressLog(context.log)
            try:
                outcome = run_pull(
                    store,
                    connector,
                    receipt,
                    source.open,
                    limits=context.resources.store.limits(),
                    egress=context.resources.store.egress(),
                    on_batch=progress.hear,
                    on_merge=progress.hear_merge,
                )
            finally:
                progress.tell()
        except PullCancelled as error:  # over the receipt: whoever cancelled it may not have reached Dagster
            context.instance.report_run_canceling(context.run, str(error))
            raise DagsterExecutionInterruptedError from None
        except DagsterExecutionInterruptedError:  # a deletion ends the run, as a cancellation does
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
        except Exception as error:  # noqa: BLE001  # its text may hold a row or an address, so only its place is shown
            raise dg.Failure(
                f"The pull broke on a fault of its own ({type(error).__name__}).",
                metadata={
                    "code": "pull_broken",
                    "where": dg.MetadataValue.md("\n".join(f"- `{place}`" for place in places(error))),
                },
                allow_retries=False,
            ) from None
        # The pull has completed, and so does its run, also where the store goes away now.
        context.log_event(materialization(store, connector, outcome, context.resources.store.settings(), context.log))
        yield _result(connector, outcome, _rejections(store, outcome.receipt, context.log))

    return connectors


def _exists(opened: Store, partition: str) -> bool:
    """Whether a partition is a connector's. One that cannot be asked for is, so that its run ends as it has."""
    try:
        opened.tenants.of_partition(partition)
    except NotFound:
        return False
    except StoreUnavailable:
        pass
    return True


def _unharmed(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Of a skipped run: Dagster has each run of an asset tell of its checks, even if there is no materialization."""
    for key in context.selected_asset_check_keys:
        why = "The run was skipped: its connector has been deleted."
        yield dg.AssetCheckResult(check_name=key.name, passed=True, description=why)


def _receipt(store: Store, connector: Connector, run: dg.DagsterRun) -> Pull:
    """The receipt that the API queued for this run, else a new one. A run executed again is a new pull."""
    asked = run.tags.get(PULL_TAG)
    if asked is not None and run.parent_run_id is None:
        return store.pulls.claim(UUID(asked), connector, run.run_id)
    return store.pulls.begin(
        connector,
        run.run_id,
        full_refresh=run.tags.get(FULL_REFRESH_TAG) == "true",
        # One that is executed again has the tags of the first.
        trigger=DAGSTER if run.parent_run_id is not None else run.tags.get(TRIGGER_TAG, DAGSTER),
    )


def _rejections(store: Store, receipt: Pull, log: logging.Logger) -> Sequence[Rejection]:
    """The first rows that a pull rejected. None where the store is away."""
    if not receipt.records_rejected:
        return ()
    try:
        return store.rejections.page(receipt.id, limit=REJECTIONS_SHOWN)[0]
    except StoreUnavailable as error:
        log.warning("The run does not show which rows were rejected: %s", error)
        return ()


def _result(connector: Connector, outcome: PullOutcome, rejections: Sequence[Rejection]) -> dg.MaterializeResult[None]:
    receipt = outcome.receipt
    counted = receipt.records_ingested + receipt.duplicates_skipped + receipt.records_rejected
    metadata: dict[str, Any] = {
        **counts(outcome),
        "connector": connector.name,
        "entity_set": dg.MetadataValue.asset(
            dg.AssetKey(entity_set_key(connector.tenant, connector.vertical, connector.entity_type))
        ),
        "pull_id": str(receipt.id),
        "dagster/partition_row_count": receipt.records_pulled,
        "dagster/column_schema": schema(outcome),
    }
    match receipt.watermark:
        case datetime():
            metadata["last_pull"] = dg.MetadataValue.timestamp(receipt.watermark)
        case int():
            metadata["last_pull"] = str(receipt.watermark)  # it may have more than 64 bits
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
