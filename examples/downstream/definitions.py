"""An asset of your own that follows an entity set, in a code location of its own: each pull renews it."""

import os
from collections import Counter
from typing import Any

import dagster as dg
import httpx2

VERTICAL, ENTITY_TYPE = "manufacturing", "product"
PRODUCTS = dg.AssetKey([VERTICAL, ENTITY_TYPE])


@dg.asset(
    deps=[PRODUCTS],
    group_name="reports",
    kinds={"python"},
    description="How many products begin with which letter.",
)
def product_index() -> dg.MaterializeResult[None]:
    """Reads the entities over REST, by a key with the scope `entities:read`."""
    initials: Counter[str] = Counter()
    cursor = ""
    while True:
        page = entities(cursor)
        initials.update((entity["name"] or "?")[0].upper() for entity in page["items"])
        cursor = page["cursor"]
        if cursor is None:
            break
    rows = "\n".join(f"| {initial} | {count} |" for initial, count in sorted(initials.items()))
    return dg.MaterializeResult(
        metadata={
            "products": initials.total(),
            "index": dg.MetadataValue.md(f"| begins with | products |\n| --- | --- |\n{rows}"),
        }
    )


def entities(cursor: str) -> dict[str, Any]:
    asked = {"vertical": VERTICAL, "entity_type": ENTITY_TYPE, "limit": "100"}
    if cursor:
        asked["cursor"] = cursor
    answer = httpx2.get(
        f"{os.environ['QANATIX_URL']}/entities",
        params=asked,
        headers={"Authorization": f"Bearer {os.environ['QANATIX_KEY']}"},
        timeout=30,
    ).raise_for_status()
    page: dict[str, Any] = answer.json()
    return page


index_job = dg.define_asset_job("product_index_job", [product_index], executor_def=dg.in_process_executor)


@dg.asset_sensor(
    asset_key=PRODUCTS, job=index_job, minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING
)
def after_each_pull(_context: dg.SensorEvaluationContext, pull: dg.EventLogEntry) -> dg.RunRequest:
    """Several pulls between two looks are one reason to run. No pull is passed over."""
    return dg.RunRequest(run_key=pull.run_id)


defs = dg.Definitions(assets=[product_index], jobs=[index_job], sensors=[after_each_pull])
