"""Checks of connectors, on an asset of their own, `connectors/health`, which is never materialized.

Dagster keeps one status for each check, and resets it when the asset is materialized. So one check covers all
connectors of a type, and it stands on another asset than the one that pulls materialize. A check warns only, and names
the connectors that it is about: the others are well.
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
from qanatix_pipelines.sources import connector_types
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.health import health_of

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
# How many connectors a check names. Nobody reads a table of thousands.
NAMED = 50


@dataclass(frozen=True)
class Finding:
    """The result of one check of a type's connectors. `amiss` has a partition, a name and a reason for each."""

    connector_type: str
    check: str
    connectors: int
    amiss: tuple[tuple[str, str, str], ...]

    @property
    def digest(self) -> str:
        """It differs when the connectors that are amiss differ, or their reasons, or the number of connectors."""
        return sha256(json.dumps((self.connectors, self.amiss)).encode()).hexdigest()[:16]

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The arguments that AssetCheckResult and AssetCheckEvaluation have in common."""
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
    """The one check that belongs to a pull."""
    return dg.AssetCheckSpec(
        COUNTS_CHECK,
        asset=asset_key(connector_type),
        description="records_pulled = records_ingested + duplicates_skipped + records_rejected",
    )


def check_name(check: str, connector_type: str) -> str:
    return f"{check}_{connector_type}"


def health_asset(owner: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        HEALTH,
        deps=[asset_key(connector_type) for connector_type in connector_types()],
        group_name=CONNECTORS_KEY_PREFIX,
        owners=[owner],
        description="How the connectors of each type are: its checks warn, and name those that are amiss.",
    )


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(check_name(check, connector_type), asset=HEALTH, description=description)
        for connector_type in connector_types()
        for check, description in DESCRIPTIONS.items()
    ]
)
def connector_checks(qanatix_store: StoreResource) -> Iterator[dg.AssetCheckResult]:
    """For a click on the asset's page. The sensor `connector_health` evaluates the same checks by itself."""
    for finding in all_findings(qanatix_store):
        yield dg.AssetCheckResult(**finding.fields)


@dg.sensor(
    minimum_interval_seconds=INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks each minute whether connectors still come and bring what they did; tells a check that changed.",
)
def connector_health(context: dg.SensorEvaluationContext, qanatix_store: StoreResource) -> dg.SensorResult:
    """Evaluates the checks outside of pulls, so that pulls lose no time. Writes down only what has changed."""
    told: dict[str, Any] = json.loads(context.cursor or "{}")
    seen = {finding.fields["check_name"]: finding for finding in all_findings(qanatix_store)}
    now_amiss = {name: finding.digest for name, finding in seen.items()}
    return dg.SensorResult(
        asset_events=[
            dg.AssetCheckEvaluation(**seen[name].fields) for name in seen if told.get(name) != now_amiss[name]
        ],
        cursor=json.dumps(now_amiss),
    )


def all_findings(store: StoreResource) -> Iterator[Finding]:
    patience = timedelta(hours=store.settings().stale_hours)
    for connector_type in connector_types():
        yield from findings(health_of(store.open().engine, connector_type), connector_type, now(), patience)


def findings(health: Sequence[Health], connector_type: str, at: datetime, patience: timedelta) -> Iterator[Finding]:
    """What each check finds among the connectors of one type, at the time `at`."""

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
