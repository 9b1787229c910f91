"""The whole road with every process running: REST, Dagster's webserver, daemon and code server, a real source."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx2
import pytest

from tests.conftest import server
from tests.sources.databases import DATABASES
from tests.sources.harness import Harness
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System, finished, until


@pytest.fixture
def harness() -> Harness:
    return PostgreSQLHarness(server("postgresql"))


def test_a_pull_over_rest_is_a_run_with_its_counts(stack: System, harness: Harness) -> None:
    harness.fill(12)
    connector = stack.register(harness.since, harness.config)

    answer = stack.pull(connector)

    assert answer.status_code == 200
    assert (answer.json()["records_pulled"], answer.json()["records_ingested"]) == (12, 12)
    run = finished(stack, answer.json()["run_id"])
    assert run["status"] == "SUCCESS"
    materialized = {"/".join(event["assetKey"]["path"]): event for event in run["assetMaterializations"]}
    assert set(materialized) == {"connectors/postgresql", f"testing/{connector['entity_type']}"}
    counts = {
        entry["label"]: entry.get("intValue") for entry in materialized["connectors/postgresql"]["metadataEntries"]
    }
    assert (counts["records_pulled"], counts["records_ingested"], counts["duplicates_skipped"]) == (12, 12, 0)
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert tags["dagster/partition"] == materialized["connectors/postgresql"]["partition"]


@pytest.mark.parametrize("name", DATABASES)
def test_every_type_is_pulled_over_rest_as_a_run(stack: System, name: str) -> None:
    harness = DATABASES[name].harness(server(name))
    harness.fill(250)
    connector = stack.register(
        harness.since, harness.config, connector_type=harness.connector_type, name_column="name", batch_size=100
    )

    first = stack.pull(connector).json()
    harness.touch([1, 2, 3])
    harness.forget_name(3)
    second = stack.pull(connector).json()

    counts = ("status", "records_pulled", "records_ingested", "duplicates_skipped", "records_rejected")
    assert [first[count] for count in counts] == ["completed", 250, 250, 0, 0]
    assert [second[count] for count in counts] == ["completed", 3, 2, 0, 1]
    run = finished(stack, second["run_id"])
    assert run["status"] == "SUCCESS"
    keys = {"/".join(event["assetKey"]["path"]) for event in run["assetMaterializations"]}
    assert keys == {f"connectors/{harness.connector_type}", f"testing/{connector['entity_type']}"}


def test_the_next_pull_is_incremental(stack: System, harness: Harness) -> None:
    harness.fill(12)
    connector = stack.register(harness.since, harness.config)
    stack.pull(connector)
    harness.touch([1, 2])

    answer = stack.pull(connector).json()

    assert (answer["records_pulled"], answer["records_ingested"], answer["duplicates_skipped"]) == (2, 2, 0)


def test_its_entities_are_shown(stack: System, harness: Harness) -> None:
    harness.fill(3)
    connector = stack.register(harness.everything, harness.config)
    stack.pull(connector)

    page = stack.api.get("/entities", params={"entity_type": connector["entity_type"], "limit": 2}).json()
    rest = stack.api.get(
        "/entities", params={"entity_type": connector["entity_type"], "limit": 2, "cursor": page["cursor"]}
    ).json()

    names = sorted(entity["name"] for entity in page["items"] + rest["items"])
    assert names == ["Item 1", "Item 2", "Item 3"]
    one = page["items"][0]
    assert stack.api.get(f"/entities/{one['id']}").json() == one


def test_requests_at_once_share_one_run(stack: System, harness: Harness) -> None:
    harness.fill(5)
    connector = stack.register(harness.everything, harness.config)

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: stack.pull(connector), range(8)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


def test_a_run_from_dagsters_own_ui_is_a_pull_too(stack: System, harness: Harness) -> None:
    harness.fill(4)
    connector = stack.register(harness.everything, harness.config)
    launch = """
    mutation Launch($execution: ExecutionParams!) {
      launchRun(executionParams: $execution) { __typename ... on LaunchRunSuccess { run { runId } } }
    }
    """
    partition = stack.partition(connector)
    execution = {
        "selector": {
            "repositoryLocationName": "qanatix",
            "repositoryName": "__repository__",
            "pipelineName": "pull_postgresql",
        },
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
    }

    run = finished(stack, stack.ask_dagster(launch, execution=execution)["launchRun"]["run"]["runId"])

    assert run["status"] == "SUCCESS"
    assert stack.api.get(f"/connectors/{connector['id']}").json()["last_pull_status"] == "completed"


def test_a_run_that_is_terminated_ingests_nothing_and_says_cancelled(stack: System, harness: Harness) -> None:
    harness.fill(1)
    connector = stack.register("SELECT id, name, pg_sleep(60)::text AS s FROM items", harness.config)
    terminate = "mutation T($id: String!) { terminateRun(runId: $id) { __typename } }"

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(stack.pull, connector)
        until(lambda: harness.connections() == 1)
        stack.ask_dagster(terminate, id=stack.run_of(connector))
        answer = asked.result()

    assert (answer.status_code, answer.json()["code"]) == (409, "pull_cancelled")
    until(lambda: harness.connections() == 0)
    assert stack.api.get("/entities", params={"entity_type": connector["entity_type"]}).json()["items"] == []


def test_a_deleted_connector_leaves_the_grid_and_stops_its_pull(stack: System, harness: Harness) -> None:
    harness.fill(1)
    connector = stack.register("SELECT id, name, pg_sleep(60)::text AS s FROM items", harness.config)

    with ThreadPoolExecutor(1) as client:
        asked = client.submit(stack.pull, connector)
        until(lambda: harness.connections() == 1)
        partition = stack.partition(connector)
        started = time.monotonic()
        assert stack.api.delete(f"/connectors/{connector['id']}").status_code == 204
        assert time.monotonic() - started < 10
        answer = asked.result()

    assert (answer.status_code, answer.json()["code"]) == (409, "pull_superseded")
    until(lambda: partition not in stack.partitions(), seconds=180)
    until(lambda: harness.connections() == 0)


def test_what_the_api_asks_of_dagster_is_in_dagsters_schema(stack: System) -> None:
    from qanatix_api import dagster, lineage

    for document in (
        dagster.ADD_PARTITION,
        dagster.STATUS,
        dagster.STATUSES,
        dagster.TERMINATE,
        lineage.SHOWN,
    ):
        variables = {
            "key": {"path": ["testing", "item"]},
            "set": "connectors_mysql",
            "partition": "p",
            "selector": {"repositoryLocationName": "qanatix", "repositoryName": "__repository__"},
            "run": str(uuid4()),
            "runs": [str(uuid4())],
        }
        declared = {name: value for name, value in variables.items() if f"${name}:" in document}
        response = httpx2.post(
            f"{stack.stack.dagster_url}/graphql", json={"query": document, "variables": declared}, timeout=60
        ).json()
        assert "errors" not in response
