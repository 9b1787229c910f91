"""Unfinished backfills. Dagster ends one, and cancels all its runs, if a partition of it is removed."""

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill

from qanatix_pipelines.defs.checks import asset_key
from qanatix_pipelines.sources import connector_types

_UNFINISHED = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]


def unfinished(instance: dg.DagsterInstance) -> Sequence[PartitionBackfill]:
    """Those that the daemon will look at again, of all code locations."""
    return instance.get_backfills(BulkActionsFilter(statuses=_UNFINISHED))


def partitions_named(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition) -> Iterator[str]:
    """The connectors' partitions of unfinished backfills, whether those are of assets or of a job."""
    ours = [asset_key(connector_type) for connector_type in connector_types()]
    with partition_loading_context(dynamic_partitions_store=instance):
        for backfill in unfinished(instance):
            if not backfill.is_asset_backfill:
                yield from backfill.partition_names or ()
                continue
            target = backfill.get_asset_backfill_data(repository.asset_graph).target_subset
            for key in ours:
                if (subset := target.partitions_subsets_by_asset_key.get(key)) is not None:
                    yield from subset.get_partition_keys()
