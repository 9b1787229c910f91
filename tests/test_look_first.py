"""Tests and previews with every process running: over REST, from Dagster's UI, and by the commands."""

import json
import os
import re
import shlex
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest

from qanatix_pipelines.reports import CheckName
from tests.commands import qanatix
from tests.conftest import server
from tests.servers import free_port
from tests.sources.harness import Harness
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System, finished, process_of, until
from tests.test_client import environment, of
from tests.test_readme import block

LOOKS = """
{ runsOrError(filter: {pipelineName: "test_connector"}, limit: 20) {
  ... on Runs { results { runId status runConfigYaml tags { key value } eventConnection { events {
    __typename ... on MessageEvent { message }
    ... on ExecutionStepOutputEvent { metadataEntries { label ... on MarkdownMetadataEntry { mdStr } } }
    ... on ExecutionStepFailureEvent {
      error { message }
      failureMetadata { metadataEntries { label ... on MarkdownMetadataEntry { mdStr } } }
    }
  } } } }
} }
"""
LAUNCH = """
mutation Launch($execution: ExecutionParams!) {
  launchRun(executionParams: $execution) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""
SELECTOR = {
    "repositoryLocationName": "qanatix",
    "repositoryName": "__repository__",
    "pipelineName": "test_connector",
}


@pytest.fixture
def harness() -> Harness:
    return PostgreSQLHarness(server("postgresql"))


def body(harness: Harness, query: str, **fields: Any) -> dict[str, Any]:
    return {"connector_type": harness.connector_type, "connection_config": harness.config, "query": query} | fields


def looks(stack: System) -> list[dict[str, Any]]:
    """The runs of tests, the newest first."""
    found: list[dict[str, Any]] = stack.ask_dagster(LOOKS)["runsOrError"]["results"]
    return found


def tags(run: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in run["tags"]}


def newest(stack: System, before: list[dict[str, Any]]) -> dict[str, Any]:
    known = {run["runId"] for run in before}
    found: list[dict[str, Any]] = []
    until(lambda: bool(found.extend(run for run in looks(stack) if run["runId"] not in known) or found))
    return found[0]


def test_an_unsaved_connector_is_tested_where_pulls_run(stack: System, harness: Harness) -> None:
    harness.fill(12)
    before = looks(stack)

    answer = stack.api.post("/connectors/test", params={"rows": 3}, json=body(harness, harness.since))

    assert (answer.status_code, answer.json()["ok"]) == (200, True), answer.text
    assert [one["name"] for one in answer.json()["sample"]] == ["Item 1", "Item 2", "Item 3"]
    run = finished(stack, newest(stack, before)["runId"])
    assert run["status"] == "SUCCESS"
    assert tags(run).keys() >= {"qanatix/draft", "qanatix/kind", "qanatix/source", "qanatix/tenant"}
    assert "dagster/partition" not in tags(run)
    told = json.dumps(run)
    assert {word for word in (harness.since, "Item 1", "updated_at") if word in told} == set()


def test_a_registered_connector_is_tested_and_keeps_its_watermark(stack: System, harness: Harness) -> None:
    harness.fill(12)
    connector = stack.register(harness.since, harness.config)
    stack.pull(connector)

    answer = stack.api.post(f"/connectors/{connector['id']}/test").json()

    assert (answer["ok"], len(answer["sample"])) == (True, 10)
    assert stack.pull(connector).json()["records_pulled"] == 0


def test_a_connector_that_fails_its_test_is_not_created(stack: System, harness: Harness) -> None:
    before = len(stack.api.get("/connectors").json())
    given = body(harness, harness.rejected, name="Broken", vertical="testing", entity_type="broken")

    answer = stack.api.post("/connectors?test=true", json=given)

    assert (answer.status_code, answer.json()["code"]) == (422, "test_failed")
    failed = [check for check in answer.json()["test"]["checks"] if check["status"] == "failed"]
    assert [check["name"] for check in failed] == ["query"]
    assert "no_such_column" in answer.json()["detail"]
    assert len(stack.api.get("/connectors").json()) == before


def test_what_would_replace_a_connector_is_tested_with_the_credentials_that_it_keeps(
    stack: System, harness: Harness
) -> None:
    harness.fill(3)
    path = f"/connectors/by-key/kept-{uuid4().hex}"
    whole = body(harness, harness.everything, name="Kept", vertical="testing", entity_type="kept")
    assert stack.api.put(path, json=whole, params={"test": "true"}).status_code == 201
    kept = whole | {"connection_config": "***REDACTED***"}

    answers = [
        stack.api.put(path, json=kept | {"query": query}, params={"test": "true"})
        for query in (harness.rejected, harness.since)
    ]

    assert [answer.status_code for answer in answers] == [422, 200]
    assert "its test failed at query" in answers[0].json()["detail"]
    assert stack.api.get(path).json()["query"] == harness.since


@pytest.mark.parametrize("key", ["partition_key", "id"])
@pytest.mark.parametrize("well", [True, False])
def test_a_run_from_the_ui_shows_each_check_of_a_connector_in_a_line(
    stack: System, harness: Harness, key: str, well: bool
) -> None:
    harness.fill(2)
    connector = stack.register(harness.since if well else harness.rejected, harness.config)
    chosen = connector["id"] if key == "id" else stack.partition(connector)
    config = {"ops": {"qanatix_test": {"config": {"connector": chosen}}}}

    launched = stack.ask_dagster(LAUNCH, execution={"selector": SELECTOR, "runConfigData": json.dumps(config)})

    run_id = launched["launchRun"]["run"]["runId"]
    assert finished(stack, run_id)["status"] == ("SUCCESS" if well else "FAILURE")
    (run,) = [one for one in looks(stack) if one["runId"] == run_id]
    events = run["eventConnection"]["events"]
    entries = [
        entry
        for event in events
        for entry in (event.get("metadataEntries") or (event.get("failureMetadata") or {}).get("metadataEntries") or ())
    ]
    (listed,) = [entry["mdStr"] for entry in entries if entry["label"] == "checks"]
    lines = listed.splitlines()
    assert len(lines) == len(CheckName)
    assert re.fullmatch(r"- \*\*passed\*\* login: .* \(\d+\.\d\d s\)", lines[3])
    logged = {event["message"].split(":")[0] for event in events if event["__typename"] == "LogMessageEvent"}
    assert logged >= {"passed login", "passed query" if well else "failed query"}
    reasons = [event["error"]["message"] for event in events if event.get("error")]
    assert ["did not pass its test. query: " in reason for reason in reasons] == ([] if well else [True])
    assert "Item 1" not in json.dumps(run)


def test_a_run_from_the_ui_without_a_connector_says_what_is_missing(stack: System) -> None:
    launched = stack.ask_dagster(LAUNCH, execution={"selector": SELECTOR, "runConfigData": "{}"})

    run = finished(stack, launched["launchRun"]["run"]["runId"])
    assert run["status"] == "FAILURE"


def test_when_the_caller_goes_the_query_and_the_run_are_ended(stack: System, harness: Harness) -> None:
    before = looks(stack)
    slow = harness.slow()
    with httpx2.Client(base_url=stack.api.base_url, headers=stack.api.headers) as caller, ThreadPoolExecutor(1) as one:
        asking = one.submit(
            caller.post, "/connectors/test", json=body(harness, slow), timeout=httpx2.Timeout(5, read=3)
        )
        until(lambda: harness.at_work() == 1)
        with pytest.raises(httpx2.ReadTimeout):
            asking.result()

        until(lambda: harness.at_work() == 0 and harness.connections() == 0, seconds=5)

    assert finished(stack, newest(stack, before)["runId"])["status"] == "CANCELED"


def test_a_run_that_is_killed_is_answered_503(stack: System, harness: Harness) -> None:
    before = looks(stack)
    slow = harness.slow()
    with ThreadPoolExecutor(1) as one:
        asking = one.submit(stack.api.post, "/connectors/test", json=body(harness, slow))
        until(lambda: harness.at_work() == 1)
        os.kill(process_of(stack, newest(stack, before)["runId"]), signal.SIGKILL)
        answer = asking.result()

    assert (answer.status_code, answer.json()["code"]) == (503, "test_lost")
    assert answer.headers["Retry-After"]


class TestCommands:
    def test_a_file_is_tested_and_its_checks_are_a_table(self, stack: System, harness: Harness, tmp_path: Path) -> None:
        harness.fill(2)
        file = tmp_path / "items.yaml"
        file.write_text(
            f"connector_type: postgresql\nquery: {harness.since}\nconnection_config:\n  dsn: {harness.config['dsn']}\n"
        )

        done = qanatix(of(stack), "test", str(file))

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-2:] in (["", "Passed."], ["", "Passed, with 1 warning."])
        assert [line.split()[:2] for line in done.stdout.splitlines() if not line.startswith(" ")][:2] == [
            ["passed", "address"],
            ["passed", "reachable"],
        ]

    def test_a_check_that_fails_ends_it_with_1(self, stack: System, harness: Harness, tmp_path: Path) -> None:
        file = tmp_path / "items.json"
        file.write_text(json.dumps(body(harness, harness.since) | {"connection_config": harness.closed_port()}))

        table, told = (qanatix(of(stack), "test", str(file), *option) for option in ((), ("--json",)))

        assert (table.returncode, told.returncode) == (1, 1)
        assert "failed  reachable" in table.stdout
        assert "Not tried, because reachable failed: tls, login, account," in table.stdout
        assert table.stdout.endswith("\n\nFailed at reachable.\n")
        assert json.loads(told.stdout)["ok"] is False

    def test_a_registered_connector_is_previewed(self, stack: System, harness: Harness) -> None:
        harness.fill(12)
        connector = stack.register(harness.everything, harness.config)

        done = qanatix(of(stack), "preview", connector["id"], "--rows", "2")

        lines = done.stdout.splitlines()
        assert (done.returncode, done.stderr) == (0, "")
        assert lines[0].split() == ["column", "type", "becomes", "role"]
        assert [line.split()[:3] for line in lines if "Item" in line] == [["1", "Item", "1"], ["2", "Item", "2"]]

    def test_what_a_source_says_cannot_act_on_the_terminal(self, stack: System, harness: Harness) -> None:
        connector = stack.register("SELECT 1 AS id, chr(27) || '[2J' AS name", harness.config)

        done = qanatix(of(stack), "preview", connector["id"])

        assert "\x1b" not in done.stdout
        assert "?[2J" in done.stdout

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (None, "no file of that name can be read"),
            ("{hunter2: [", "neither JSON nor YAML"),
            ("- hunter2", "must hold an object"),
        ],
    )
    def test_a_file_that_is_none_is_refused_without_its_content(
        self, stack: System, tmp_path: Path, content: str | None, told: str
    ) -> None:
        file = tmp_path / "items.yaml"
        if content is not None:
            file.write_text(content)

        done = qanatix(of(stack), "test", str(file))

        assert done.returncode == 2
        assert told in " ".join(done.stderr.split())
        assert "hunter2" not in done.stderr

    def test_a_missing_key_is_told_with_the_scope_that_it_needs(self, stack: System) -> None:
        done = qanatix(environment(stack.stack.api_url, None), "test", "00000000-0000-0000-0000-000000000001")

        assert done.returncode == 2
        assert "an API key with the scope connectors:write." in done.stderr


def created(stack: System, steps: str) -> subprocess.CompletedProcess[str]:
    """What the README's steps print where they create the connector of the file that they write here."""
    caller = of(stack)
    shell = caller | {"QANATIX_URL": f"{stack.stack.api_url}/api/v1", "QANATIX_KEY": caller["QANATIX_API_KEY"]}
    script = steps[: steps.index("qanatix test")] + steps[steps.index("CONNECTOR=") : steps.index("qanatix pull")]
    return subprocess.run(
        ["bash", "-c", f"{script}echo $CONNECTOR"], env=shell, check=True, capture_output=True, text=True
    )


def test_the_readme_says_why_a_connector_is_not_created(
    stack: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (_, steps) = block("sh", "cat > products.json").split("\n\n", 1)

    made = created(stack, steps.replace("127.0.0.1:5432", f"127.0.0.1:{free_port()}"))

    assert made.stdout.strip() == ""
    assert "Nothing listens at the source's host and port" in made.stderr
    assert "Traceback" not in made.stderr


def test_the_readme_leads_from_a_database_of_ones_own_to_its_entities(
    stack: System, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with psycopg.connect(database) as source:
        source.execute("CREATE TABLE products (id int, name text, updated_at timestamptz DEFAULT now())")
        source.execute("INSERT INTO products SELECT n, 'Item ' || n FROM generate_series(1, 3) n")
    (_, steps) = block("sh", "cat > products.json").split("\n\n", 1)
    caller = of(stack)
    made = created(stack, steps.replace("postgresql://reader:secret@127.0.0.1:5432/shop", database))
    commands = [shlex.split(line, comments=True) for line in steps.splitlines() if line.startswith("qanatix ")]

    done = [
        qanatix(caller, *(word.replace("$CONNECTOR", made.stdout.strip()) for word in words[1:])) for words in commands
    ]

    assert [one.returncode for one in done] == [0] * len(commands), done
    assert "Item 1" in done[1].stdout
    assert json.loads(done[-1].stdout)["records_ingested"] == 3
