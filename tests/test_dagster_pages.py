"""What Dagster's pages show and do, asked as they ask: lineage, a backfill, an asset of another code location."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import stack as stacks
from tests.conftest import server
from tests.servers import free_port
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System, finished, until

SELECTOR = {"repositoryLocationName": "qanatix", "repositoryName": "__repository__"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """With the example beside it, which asks the API by a key of its own."""
    folder, port = tmp_path_factory.mktemp("stack"), free_port()
    environment = os.environ | {"QANATIX_DATA_DIR": str(folder / "qanatix")}
    create = [Path(sys.executable).with_name("qanatix"), "keys", "create", "--scope", "entities:read"]
    key = subprocess.run(create, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    example = {"QANATIX_URL": f"http://127.0.0.1:{port}/api/v1", "QANATIX_KEY": key}
    running = stacks.start(folder, example, api_port=port, workspace="examples/downstream/workspace.yaml")
    system = System(running)
    yield system
    system.api.close()
    running.stop()


@pytest.fixture
def harness() -> PostgreSQLHarness:
    return PostgreSQLHarness(server("postgresql"))


def test_a_new_entity_set_comes_to_stand_below_its_connectors(stack: System, harness: PostgreSQLHarness) -> None:
    connector = stack.register(harness.everything, harness.config)

    until(lambda: _parents(stack, ["testing", connector["entity_type"]]) == [["connectors", "postgresql"]], seconds=180)


def test_an_asset_of_another_code_location_is_materialized_after_each_pull(
    stack: System, harness: PostgreSQLHarness
) -> None:
    harness.fill(3)
    connector = stack.register(harness.everything, harness.config, vertical="manufacturing", entity_type="product")

    stack.pull(connector)
    until(lambda: _counted(stack) == [3], seconds=180)
    harness.fill(4)
    stack.pull(connector)
    until(lambda: _counted(stack) == [4, 3], seconds=180)


def test_a_backfill_pulls_its_connectors_and_no_others(stack: System, harness: PostgreSQLHarness) -> None:
    harness.fill(5)
    good = [stack.register(harness.everything, harness.config, name=name) for name in ("One", "Two")]
    bad = stack.register(harness.missing, harness.config, name="Three")
    other = stack.register(harness.everything, harness.config, name="Four")
    keys = {connector["id"]: stack.partition(connector) for connector in (*good, bad, other)}
    launch = """
    mutation Backfill($params: LaunchBackfillParams!) {
      launchPartitionBackfill(backfillParams: $params) { __typename ... on LaunchBackfillSuccess { backfillId } }
    }
    """
    wanted = [keys[connector["id"]] for connector in (*good, bad)]
    params = {"assetSelection": [{"path": ["connectors", "postgresql"]}], "partitionNames": wanted}

    backfill = stack.ask_dagster(launch, params=params)["launchPartitionBackfill"]["backfillId"]

    until(lambda: len(_ended(stack, backfill)) == 3, seconds=180)
    tags = {run["tags"]["dagster/partition"]: run for run in _ended(stack, backfill)}
    assert {key: run["status"] for key, run in tags.items()} == dict(
        zip(wanted, ["SUCCESS", "SUCCESS", "FAILURE"], strict=True)
    )
    told = tags[wanted[0]]["tags"]
    shown = ("qanatix/connector", "qanatix/trigger", "qanatix/tenant")
    assert [told[tag] for tag in shown] == [wanted[0], "backfill", "default"]
    assert told["qanatix/host"]
    assert tags[wanted[0]]["tags"]["qanatix/source"] == tags[wanted[1]]["tags"]["qanatix/source"]
    materialized, failed = _grid(stack)
    assert set(wanted[:2]) <= materialized
    assert wanted[2] in failed
    assert keys[other["id"]] not in materialized | failed
    statuses = [stack.api.get(f"/connectors/{one['id']}").json()["last_pull_status"] for one in (*good, bad, other)]
    assert statuses == ["completed", "completed", "failed", None]


@pytest.mark.parametrize("trigger", ["ui", "re-execution"])
def test_a_run_says_what_started_it(stack: System, harness: PostgreSQLHarness, trigger: str) -> None:
    harness.fill(1)
    connector = stack.register(harness.everything, harness.config)
    tags = [{"key": "dagster/partition", "value": stack.partition(connector)}]
    metadata: dict[str, Any] = {"tags": tags}
    if trigger == "re-execution":
        parent = stack.pull(connector).json()["run_id"]
        again = finished(stack, parent)["tags"]
        metadata = {"tags": again, "parentRunId": parent, "rootRunId": parent}
    execution = {"selector": {**SELECTOR, "pipelineName": "pull_postgresql"}, "executionMetadata": metadata}
    launch = """
    mutation Launch($execution: ExecutionParams!) {
      launchRun(executionParams: $execution) { __typename ... on LaunchRunSuccess { run { runId } } }
    }
    """

    run = finished(stack, stack.ask_dagster(launch, execution=execution)["launchRun"]["run"]["runId"])

    assert run["status"] == "SUCCESS"
    assert {tag["key"]: tag["value"] for tag in run["tags"]}["qanatix/trigger"] == trigger
    assert stack.api.get(f"/connectors/{connector['id']}/pulls").json()["items"][0]["trigger"] == trigger


def _ended(stack: System, backfill: str) -> list[dict[str, Any]]:
    query = """
    query Runs($filter: RunsFilter) {
      runsOrError(filter: $filter) { ... on Runs { results { status tags { key value } } } }
    }
    """
    wanted = {"tags": [{"key": "dagster/backfill", "value": backfill}], "statuses": ["SUCCESS", "FAILURE"]}
    return [
        {"status": run["status"], "tags": {tag["key"]: tag["value"] for tag in run["tags"]}}
        for run in stack.ask_dagster(query, filter=wanted)["runsOrError"]["results"]
    ]


def _grid(stack: System) -> tuple[set[str], set[str]]:
    query = """
    { assetNodeOrError(assetKey: {path: ["connectors", "postgresql"]}) { ... on AssetNode {
      assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions failedPartitions } }
    } } }
    """
    shown = stack.ask_dagster(query)["assetNodeOrError"]["assetPartitionStatuses"]
    return set(shown["materializedPartitions"]), set(shown["failedPartitions"])


def _parents(stack: System, path: list[str]) -> list[list[str]]:
    query = """
    query Node($key: AssetKeyInput!) {
      assetNodeOrError(assetKey: $key) { ... on AssetNode { dependencyKeys { path } } }
    }
    """
    shown = stack.ask_dagster(query, key={"path": path})["assetNodeOrError"]
    return [parent["path"] for parent in shown.get("dependencyKeys", [])]


def _counted(stack: System) -> list[int]:
    """What the example's asset counted, the newest first."""
    query = """
    { assetNodeOrError(assetKey: {path: ["product_index"]}) { ... on AssetNode {
      assetMaterializations { metadataEntries { label ... on IntMetadataEntry { intValue } } }
    } } }
    """
    shown = stack.ask_dagster(query)["assetNodeOrError"]["assetMaterializations"]
    told = [{entry["label"]: entry.get("intValue") for entry in one["metadataEntries"]} for one in shown]
    return [one["products"] for one in told]
