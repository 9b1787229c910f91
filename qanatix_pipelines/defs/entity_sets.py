"""Entity sets as assets. They are read from the store when definitions load, and each pull materializes one."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import StoreNotReady, StoreUnavailable
from qanatix_pipelines.naming import CONNECTORS_KEY_PREFIX, TENANT_TAG, entity_set_key
from qanatix_pipelines.pull import PullOutcome
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.entities import Excerpt
from qanatix_pipelines.store.entity_sets import EntitySet
from qanatix_pipelines.store.opening import Store, read_entity_sets
from qanatix_pipelines.tenants import DEFAULT

log = logging.getLogger(__name__)

PREVIEW_CHARACTERS = 160


def known_entity_sets(settings: Settings) -> list[EntitySet]:
    """The entity sets in the store. None if it is away or not migrated: pulls are shown all the same.

    Raises SettingsError for a wrong address.
    """
    try:
        return read_entity_sets(settings)
    except (StoreUnavailable, StoreNotReady) as error:
        log.warning("Entity sets are shown without their lineage until the code is loaded again: %s", error)
        return []


def entity_set_spec(entity_set: EntitySet, owner: str, prefix: str | None) -> dg.AssetSpec:
    """Its place in the lineage. Pulls materialize it, and their materializations show with or without this."""
    tenant, vertical = entity_set.tenant, entity_set.vertical
    group = [vertical] if tenant == DEFAULT else [tenant, vertical]
    return dg.AssetSpec(
        entity_set_key(tenant, vertical, entity_set.entity_type, prefix),
        deps=[dg.AssetKey([CONNECTORS_KEY_PREFIX, connector_type]) for connector_type in entity_set.connector_types],
        group_name="/".join(re.sub(r"[^A-Za-z0-9_]", "_", part) for part in group),
        kinds={"table"},
        owners=[owner],
        tags={TENANT_TAG: tenant},
        description=(
            f"The entities of type `{entity_set.entity_type}` in `{vertical}`"
            + ("" if tenant == DEFAULT else f", of the tenant `{tenant}`")
            + ". Pulls fill it: each that completes is a materialization, and tells its connector."
        ),
    )


def materialization(
    store: Store, connector: Connector, outcome: PullOutcome, settings: Settings, log: logging.Logger
) -> dg.AssetMaterialization:
    """What a pull did to its entity set: counts, columns, and the newest entities if the operator wants them shown.

    If the store is away, what only the store knows is left out, and a warning goes to `log`.
    """
    receipt = outcome.receipt
    vertical, entity_type = connector.vertical, connector.entity_type
    metadata: dict[str, Any] = {
        **counts(outcome),
        "dagster/column_schema": schema(outcome),
        "connector": connector.name,
        "partition": connector.partition_key,
        "pull_id": str(receipt.id),
    }
    tags: dict[str, str] = {}
    try:
        counted = store.entities.counted(vertical, entity_type)
        metadata["dagster/row_count"] = counted.entities
        # The same after a pull that changed nothing, so automation that follows the version starts once a change.
        tags["dagster/data_version"] = str(counted.changes)
        if settings.preview_entities:
            newest = store.entities.newest(vertical, entity_type, settings.preview_entities, PREVIEW_CHARACTERS + 1)
            metadata["newest"] = _preview(newest)
    except StoreUnavailable as error:
        log.warning("The materialization does not show what the entity set holds: %s", error)
    if settings.public_url is not None:
        base = f"{str(settings.public_url).rstrip('/')}/api/v1"
        metadata["entities"] = dg.MetadataValue.url(f"{base}/entities?vertical={vertical}&entity_type={entity_type}")
        metadata["connector_in_api"] = dg.MetadataValue.url(f"{base}/connectors/{connector.id}")
    return dg.AssetMaterialization(
        asset_key=entity_set_key(connector.tenant, vertical, entity_type, settings.asset_prefix),
        description=f"Entities from the connector {connector.name}.",
        tags=tags,
        metadata=metadata,  # no partition: the set has none, and automation that follows it would ignore a partition's
    )


def counts(outcome: PullOutcome) -> Mapping[str, Any]:
    receipt = outcome.receipt
    return {
        "records_pulled": receipt.records_pulled,
        "records_ingested": receipt.records_ingested,
        "duplicates_skipped": receipt.duplicates_skipped,
        "keys_repeated": receipt.keys_repeated,
        "records_rejected": receipt.records_rejected,
        "duration_seconds": round(receipt.duration_seconds, 3),
        "rows_per_second": round(receipt.records_pulled / max(receipt.duration_seconds, 0.001)),
    }


def schema(outcome: PullOutcome) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(column.name, column.source_type) for column in outcome.columns])


def _preview(newest: Sequence[Excerpt]) -> dg.MetadataValue[Any]:
    columns = ("name", "source_id", "updated_at", "data")
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "name": _cut(excerpt.name or ""),
                    "source_id": _cut(excerpt.source_id or ""),
                    "updated_at": excerpt.updated_at.isoformat(sep=" ", timespec="seconds"),
                    "data": _cut(excerpt.data),
                }
            )
            for excerpt in newest
        ],
        schema=dg.TableSchema([dg.TableColumn(name, "string") for name in columns]),
    )


def _cut(text: str) -> str:
    return text if len(text) <= PREVIEW_CHARACTERS else text[:PREVIEW_CHARACTERS] + "…"
