"""Backfills by Dagster's own daemon, while what they work on changes under them."""

from contextlib import ExitStack
from typing import Any

import pytest

from tests.backfills import launch, told
from tests.conftest import server as database
from tests.held import held
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System, until

# The daemon looks at a backfill every half minute, and the sensor at the partitions once a minute.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

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
        partitions = {one["id"]: stack.partition(one) for one in (*slow, done)}
        backfill = launch(stack, list(partitions.values()))
        until(lambda: harness.connections() == 5 and status(stack, done) == "completed", seconds=120)

        assert stack.api.delete(f"/connectors/{done['id']}").status_code == 204
        looks, ticks = evaluated(stack, backfill), ticked(stack)
        until(lambda: evaluated(stack, backfill) > looks + 1 and ticked(stack) > ticks + 1, seconds=240)
        let_go()

        until(lambda: {status(stack, one) for one in slow} == {"completed"}, seconds=120)
    until(lambda: told(stack, backfill)["status"] == "COMPLETED_SUCCESS", seconds=120)
    until(lambda: partitions[done["id"]] not in stack.partitions(), seconds=120)
    left = {one["id"] for one in stack.api.get("/connectors").json()}
    assert left & set(partitions) == {one["id"] for one in slow}


def test_one_that_is_deleted_right_after_the_launch_is_skipped_and_all_others_read_what_the_tags_ask_for(
    stack: System, harness: PostgreSQLHarness
) -> None:
    harness.fill(5)
    connectors = [stack.register(harness.since, harness.config, name=f"Quick {n}") for n in range(6)]
    partitions = {one["id"]: stack.partition(one) for one in connectors}
    deleted, *others = connectors

    backfill = launch(stack, list(partitions.values()), since="2000-01-01T00:00:00Z", limit="3")
    assert stack.api.delete(f"/connectors/{deleted['id']}").status_code == 204

    until(lambda: {status(stack, one) for one in others} == {"completed"}, seconds=180)
    pulls = [pull for one in others for pull in stack.api.get(f"/connectors/{one['id']}/pulls").json()["items"]]
    read = {(pull["since"], pull["limit"], pull["records_pulled"], pull["trigger"]) for pull in pulls}
    assert read == {("2000-01-01T00:00:00Z", 3, 3, "backfill")}
    assert {stack.api.get(f"/connectors/{one['id']}/watermark").json()["value"] for one in others} == {None}
    until(lambda: told(stack, backfill)["status"].startswith("COMPLETED"), seconds=180)
    runs = {of(run): run for run in told(stack, backfill)["runs"]}
    assert {key: run["status"] for key, run in runs.items()} == dict.fromkeys(partitions.values(), "SUCCESS")
    said = f"The connector of the partition {partitions[deleted['id']]} has been deleted: the run is skipped"
    assert any(message.startswith(said) for message in messages(stack, runs[partitions[deleted["id"]]]["id"]))
    until(lambda: partitions[deleted["id"]] not in stack.partitions(), seconds=120)


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
