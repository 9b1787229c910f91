"""Runs that sensors ask for. Each reason to pull makes one run, however often it is asked for."""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg
from dagster import DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import RUN_KEY_TAG

from qanatix_pipelines.naming import (
    CONNECTOR_TAG,
    PART_TAGS,
    SOURCE_TAG,
    TENANT_TAG,
    TRIGGER_TAG,
    job_name,
    partitions_name,
)
from qanatix_pipelines.store.schedules import Wanted


def run_request(wanted: Wanted, run_key: str, trigger: str, tags: Mapping[str, str]) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=run_key,
        job_name=job_name(wanted.connector_type),
        partition_key=wanted.partition_key,
        tags={
            CONNECTOR_TAG: wanted.partition_key,
            SOURCE_TAG: wanted.source,
            TENANT_TAG: wanted.tenant,
            TRIGGER_TAG: trigger,
            **tags,
        },
    )


def add_partitions(instance: dg.DagsterInstance, connectors: Iterable[Wanted]) -> None:
    """Add the partitions of connectors. Dagster refuses all requests of a tick if it does not know one's partition."""
    keys: dict[str, list[str]] = {}
    for one in connectors:
        keys.setdefault(partitions_name(one.connector_type), []).append(one.partition_key)
    for name, partitions in keys.items():
        instance.add_dynamic_partitions(name, partitions)


def submitted(instance: dg.DagsterInstance, run_keys: Sequence[str]) -> dict[str, DagsterRun]:
    """The runs of these keys. A run that was created but not submitted does not count: Dagster submits it next time."""
    if not run_keys:
        return {}
    runs = instance.get_runs(RunsFilter(tags={RUN_KEY_TAG: list(run_keys)}))
    return {run.tags[RUN_KEY_TAG]: run for run in runs if run.status is not DagsterRunStatus.NOT_STARTED}


def waiting(instance: dg.DagsterInstance, partition_keys: Sequence[str]) -> set[str]:
    """The partitions with a run that has yet to begin its pull. It will read what the source has new by then."""
    if not partition_keys:
        return set()
    statuses = [DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING]
    runs = instance.get_runs(RunsFilter(statuses=statuses, tags={CONNECTOR_TAG: list(partition_keys)}))
    return {run.tags[CONNECTOR_TAG] for run in runs if not PART_TAGS & run.tags.keys()}
