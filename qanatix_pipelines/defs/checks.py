"""What is amiss with connectors, as checks of an asset of their own, `connectors/health`, that nothing materializes.

Dagster keeps one status for each asset and check, and forgets it with the asset's next materialization. So each check
looks at all connectors of a type, for else the next one's success would cover what is amiss, and stands beside the
asset that pulls materialize. It warns, and names those that are meant, for the others are well.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Any

import dagster as dg

from qanatix_pipelines.defs.resources import StoreResource
from qanatix_pipelines.health import Health
from qanatix_pipelines.naming import CONNECTORS_KEY_PREFIX
from qanatix_pipelines.settings import read_settings
from qanatix_pipelines.sources import connector_types
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.health import health_of

OWNER = "team:data-engineering"
HEALTH = dg.AssetKey([CONNECTORS_KEY_PREFIX, "health"])
COUNTS_CHECK = "counts_add_up"
FRESH, NOT_EMPTY, SAME_COLUMNS, NONE_REJECTED = "fresh", "not_empty", "same_columns", "none_rejected"
SOUND_KEYS = "sound_keys"
DESCRIPTIONS = {
    FRESH: "Each connector has completed a pull in the last two times of its schedule, or in QANATIX_STALE_HOURS.",
    NOT_EMPTY: "No connector that reads everything has found nothing where it found rows before.",
    SAME_COLUMNS: "No connector's query has returned other columns than before, within the last day.",
    NONE_REJECTED: "No connector has rejected rows within the last day, or since a pull that read everything.",
    SOUND_KEYS: "No connector's rows lacked keys or shared them in the last day, or since a pull that read everything.",
}
INTERVAL_SECONDS = 60
# A table of metadata with thousands of rows is of no use to anyone.
NAMED = 50


@dataclass(frozen=True)
class Finding:
    """How a check of one type's connectors went: `amiss` are partitions, names and reasons."""

    connector_type: str
    check: str
    connectors: int
    amiss: tuple[tuple[str, str, str], ...]

    @property
    def digest(self) -> str:
        """Another one where others are amiss, or for another reason, or among more or fewer."""
        return sha256(json.dumps((self.connectors, self.amiss)).encode()).hexdigest()[:16]

    @cached_property
    def fields(self) -> dict[str, Any]:
        """What an AssetCheckResult and an AssetCheckEvaluation are both told."""
        metadata: dict[str, Any] = {"connectors": self.connectors, "amiss": len(self.amiss)}
        if self.amiss:
            metadata["which"] = dg.MetadataValue.table(
                [
                    dg.TableRecord({"partition": partition, "connector": name, "why": why})
                    for partition, name, why in self.amiss[:NAMED]
                ],
                schema=dg.TableSchema([dg.TableColumn(name, "string") for name in ("partition", "connector", "why")]),
            )
        return {
            "asset_key": HEALTH,
            "check_name": check_name(self.check, self.connector_type),
            "passed": not self.amiss,
            "severity": dg.AssetCheckSeverity.WARN,
            "description": f"{len(self.amiss)} of {self.connectors} connectors" if self.amiss else None,
            "metadata": metadata,
        }


def asset_key(connector_type: str) -> dg.AssetKey:
    return dg.AssetKey([CONNECTORS_KEY_PREFIX, connector_type])


def counts_check(connector_type: str) -> dg.AssetCheckSpec:
    """The one check of a pull itself."""
    return dg.AssetCheckSpec(
        COUNTS_CHECK,
        asset=asset_key(connector_type),
        description="records_pulled = records_ingested + duplicates_skipped + records_rejected",
    )


def check_name(check: str, connector_type: str) -> str:
    return f"{check}_{connector_type}"


health_asset = dg.AssetSpec(
    HEALTH,
    deps=[asset_key(connector_type) for connector_type in connector_types()],
    group_name=CONNECTORS_KEY_PREFIX,
    owners=[OWNER],
    description="How the connectors of each type are: its checks warn, and name those that are amiss.",
)


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(check_name(check, connector_type), asset=HEALTH, description=description)
        for connector_type in connector_types()
        for check, description in DESCRIPTIONS.items()
    ]
)
def connector_checks(store: StoreResource) -> Iterator[dg.AssetCheckResult]:
    """To be run from the asset's page; `connector_health` runs them by itself."""
    for finding in all_findings(store):
        yield dg.AssetCheckResult(**finding.fields)


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks each minute whether connectors still come and bring what they did; tells a check that changed.",
)
def connector_health(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
    """Evaluates the checks outside of pulls, which so lose no time; only a change is written down."""
    told: dict[str, Any] = json.loads(context.cursor or "{}")
    seen = {finding.fields["check_name"]: finding for finding in all_findings(store)}
    now_amiss = {name: finding.digest for name, finding in seen.items()}
    return dg.SensorResult(
        asset_events=[
            dg.AssetCheckEvaluation(**seen[name].fields) for name in seen if told.get(name) != now_amiss[name]
        ],
        cursor=json.dumps(now_amiss),
    )


def all_findings(store: StoreResource) -> Iterator[Finding]:
    patience = timedelta(hours=read_settings().stale_hours)
    for connector_type in connector_types():
        yield from findings(health_of(store.open().engine, connector_type), connector_type, now(), patience)


def findings(health: Sequence[Health], connector_type: str, at: datetime, patience: timedelta) -> Iterator[Finding]:
    """What each check finds at a time among the connectors of one type."""

    def stale(one: Health) -> str | None:
        if not one.is_stale(at, patience):
            return None
        if one.completed_at is None:
            return "no pull has ever completed"
        return f"the last pull completed at {one.completed_at:%Y-%m-%d %H:%M} UTC"

    def empty(one: Health) -> str | None:
        if one.emptied_at is None:
            return None
        return f"the pull of {one.emptied_at:%Y-%m-%d %H:%M} UTC found no row"

    def changed(one: Health) -> str | None:
        return one.change(at)

    def rejected(one: Health) -> str | None:
        return one.rejection(at)

    def warned(one: Health) -> str | None:
        return one.warning(at)

    reasons: dict[str, Callable[[Health], str | None]] = {
        FRESH: stale,
        NOT_EMPTY: empty,
        SAME_COLUMNS: changed,
        NONE_REJECTED: rejected,
        SOUND_KEYS: warned,
    }
    for check, reason in reasons.items():
        amiss = tuple((one.partition_key, one.name, why) for one in health if (why := reason(one)) is not None)
        yield Finding(connector_type, check, len(health), amiss)
