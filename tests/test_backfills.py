"""Backfills by Dagster's own daemon, while what they work on changes under them."""

import os
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import stack as stacks
from tests.code_server import CodeServer
from tests.conftest import server as database
from tests.harness.postgresql import PostgreSQLHarness
from tests.held import held
from tests.servers import free_port
from tests.system import System, until

# The daemon looks at a backfill every half minute, and the sensor at the partitions once a minute.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

LAUNCH = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) { __typename ... on LaunchBackfillSuccess { backfillId } }
}
"""
BACKFILL = """
query Backfill($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status error { message } runs { id status tags { key value } } }
  }
}
"""
PARTITIONS = """
{ assetNodeOrError(assetKey: {path: ["connectors", "postgresql"]}) { ... on AssetNode { partitionKeys } } }
"""
TICKS = """
query Ticks($sensor: SensorSelector!) {
  sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState { ticks(limit: 100) { id status } } } }
}
"""
SENSOR = {
    "repositoryLocationName": "qanatix",
    "repositoryName": "__repository__",
    "sensorName": "connector_partitions",
}


@pytest.fixture
def harness() -> PostgreSQLHarness:
    return PostgreSQLHarness(database("postgresql"))


def test_the_deletion_of_one_connector_ends_no_other_connectors_pull(stack: System, harness: PostgreSQLHarness) -> None:
    harness.fill(5)
    with ExitStack() as holding:
        query, let_go = holding.enter_context(held(harness.server.address, rows=20, after=10))
        slow = [stack.register(query, harness.config, name=f"Slow {n}", batch_size=10) for n in range(5)]
        done = stack.register(harness.everything, harness.config, name="Done")
        partitions = {one["id"]: partition(stack, one) for one in (*slow, done)}
        backfill = launch(stack, list(partitions.values()))
        until(lambda: harness.connections() == 5 and status(stack, done) == "completed", seconds=120)

        assert stack.api.delete(f"/connectors/{done['id']}").status_code == 204
        looks, ticks = evaluated(stack, backfill), ticked(stack)
        until(lambda: evaluated(stack, backfill) > looks + 1 and ticked(stack) > ticks + 1, seconds=240)
        let_go()

        until(lambda: {status(stack, one) for one in slow} == {"completed"}, seconds=120)
    until(lambda: told(stack, backfill)["status"] == "COMPLETED_SUCCESS", seconds=120)
    until(lambda: partitions[done["id"]] not in known(stack), seconds=120)
    assert {one["id"] for one in slow} == {one["id"] for one in stack.api.get("/connectors").json()}


def test_one_that_is_deleted_right_after_the_launch_is_skipped_and_all_others_are_pulled(
    stack: System, harness: PostgreSQLHarness
) -> None:
    harness.fill(5)
    connectors = [stack.register(harness.everything, harness.config, name=f"Quick {n}") for n in range(6)]
    partitions = {one["id"]: partition(stack, one) for one in connectors}
    deleted, *others = connectors

    backfill = launch(stack, list(partitions.values()))
    assert stack.api.delete(f"/connectors/{deleted['id']}").status_code == 204

    until(lambda: {status(stack, one) for one in others} == {"completed"}, seconds=180)
    until(lambda: told(stack, backfill)["status"].startswith("COMPLETED"), seconds=180)
    runs = {of(run): run for run in told(stack, backfill)["runs"]}
    assert {key: run["status"] for key, run in runs.items()} == dict.fromkeys(partitions.values(), "SUCCESS")
    said = f"The connector of the partition {partitions[deleted['id']]} has been deleted: the run is skipped"
    assert any(message.startswith(said) for message in messages(stack, runs[partitions[deleted["id"]]]["id"]))
    until(lambda: partitions[deleted["id"]] not in known(stack), seconds=120)


def test_a_code_server_that_is_killed_and_started_again_ends_no_backfill(
    tmp_path: Path, harness: PostgreSQLHarness
) -> None:
    """And pulls over REST are served again: the server ends when its child is gone, so that it is started again."""
    port = str(free_port())
    served = {"QANATIX_CODE_HOST": "127.0.0.1", "QANATIX_CODE_PORT": port}
    waiting = {"DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1"}
    home = {"DAGSTER_HOME": str(tmp_path / "dagster"), "QANATIX_DATA_DIR": str(tmp_path / "qanatix")}
    (tmp_path / "dagster").mkdir()
    shutil.copy(stacks.ROOT / "dagster.yaml", tmp_path / "dagster")
    server = CodeServer(port, os.environ | home)
    with ExitStack() as ending:
        ending.callback(server.stop)
        server.start()
        running = stacks.start(tmp_path, served | waiting, workspace="deploy/workspace.yaml")
        ending.callback(running.stop)
        stack = System(running)
        ending.callback(stack.api.close)
        query, let_go = ending.enter_context(held(harness.server.address, rows=20, after=10))
        slow = [stack.register(query, harness.config, name=f"Slow {n}", batch_size=10) for n in range(2)]
        backfill = launch(stack, [partition(stack, one) for one in slow])
        until(lambda: harness.connections() == 2, seconds=120)

        os.kill(server.child(), signal.SIGKILL)
        assert server.process.wait(60) == 1
        lost = "was unable to continue due to a missing asset or partition"
        until(lambda: lost in (tmp_path / "dagster.log").read_text(), seconds=180)
        server.start()
        let_go()

        until(lambda: told(stack, backfill)["status"] == "COMPLETED_SUCCESS", seconds=180)
        assert stack.pull(slow[0]).status_code == 200


def launch(stack: System, partitions: list[str]) -> str:
    params = {"assetSelection": [{"path": ["connectors", "postgresql"]}], "partitionNames": partitions}
    launched: str = stack.ask_dagster(LAUNCH, params=params)["launchPartitionBackfill"]["backfillId"]
    return launched


def told(stack: System, backfill: str) -> dict[str, Any]:
    answer: dict[str, Any] = stack.ask_dagster(BACKFILL, id=backfill)["partitionBackfillOrError"]
    assert answer["error"] is None, answer["error"]
    return answer


def messages(stack: System, run_id: str) -> list[str]:
    query = """
    query Run($id: ID!) {
      runOrError(runId: $id) { ... on Run { eventConnection { events { ... on MessageEvent { message } } } } }
    }
    """
    events = stack.ask_dagster(query, id=run_id)["runOrError"]["eventConnection"]["events"]
    return [event["message"] for event in events]


def of(run: dict[str, Any]) -> str:
    """Which partition a run is of."""
    return str(next(tag["value"] for tag in run["tags"] if tag["key"] == "dagster/partition"))


def status(stack: System, connector: dict[str, Any]) -> Any:
    return stack.api.get(f"/connectors/{connector['id']}").json()["last_pull_status"]


def evaluated(stack: System, backfill: str) -> int:
    """How often the daemon has looked at a backfill."""
    return (stack.stack.folder / "dagster.log").read_text().count(f"Evaluating asset backfill {backfill}")


def ticked(stack: System) -> int:
    """How often the sensor has brought the partitions in step."""
    ticks = stack.ask_dagster(TICKS, sensor=SENSOR)["sensorOrError"]["sensorState"]["ticks"]
    return sum(tick["status"] != "STARTED" for tick in ticks)


def known(stack: System) -> list[str]:
    keys: list[str] = stack.ask_dagster(PARTITIONS)["assetNodeOrError"]["partitionKeys"]
    return keys


def partition(stack: System, connector: dict[str, Any]) -> str:
    found: list[str] = []
    until(lambda: bool(found.extend(key for key in known(stack) if key.endswith(connector["id"][:8])) or found))
    return found[0]
