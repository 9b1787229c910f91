"""Tests, previews and dry runs of connectors, saved and not: those that pass, and each way known in which one fails."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx2

from tests.campaigns.journey import MARK, QUERY, Journey, until
from tests.campaigns.roads import only, road
from tests.conftest import server
from tests.servers import free_port
from tests.sources.databases import DATABASES
from tests.system import process_of

RUNS = """
{ runsOrError(filter: {pipelineName: "test_connector", statuses: [STARTED]}) { ... on Runs { results { runId } } } }
"""


def _tested(j: Journey, config: Any, query: str = QUERY, **fields: Any) -> dict[str, Any]:
    """The report of a connector that is registered nowhere."""
    answer = j.api.post("/connectors/test", json=j.body(config, query, **fields), headers={"X-Request-Id": MARK})
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def _failed(report: dict[str, Any]) -> str:
    return next((str(check["name"]) for check in report["checks"] if check["status"] == "failed"), "")


@road(200)
def _test_that_passes(j: Journey) -> int:
    query = f"SELECT id, name FROM items WHERE name <> '{j.secrets.literal}'"
    assert _tested(j, {"dsn": j.dsn()}, query)["ok"]
    connector = j.registered({"dsn": j.dsn()})
    return j.api.post(f"/connectors/{connector}/test").status_code


@road(200)
def _tests_that_fail(j: Journey) -> int:
    wrong = {
        "reachable": {"config": {"dsn": j.dsn(at=f"127.0.0.1:{free_port()}/shop")}},
        "login": {"config": {"dsn": j.dsn(password=j.secrets.wrong_password)}},
        "tls": {"config": {"dsn": j.dsn(options="sslmode=verify-full")}},
        "query": {"config": {"dsn": j.dsn()}, "query": f"SELECT {j.leak}('22012') AS id"},
        "key": {"config": {"dsn": j.dsn()}, "id_column": "no_such"},
    }
    for name, given in wrong.items():
        report = _tested(j, **given)
        assert _failed(report) in (name, "columns"), report
    return 200


@road(422)
def _create_that_is_refused_by_its_test(j: Journey) -> int:
    wrong = {"dsn": j.dsn(password=j.secrets.wrong_password)}
    created = j.api.post("/connectors?test=true", json=j.body({"dsn": j.dsn()}), headers={"X-Request-Id": MARK})
    assert created.status_code == 201
    return j.api.post("/connectors?test=true", json=j.body(wrong), headers={"X-Request-Id": MARK}).status_code


@road(200)
def _test_at_a_server_that_echoes_the_password(j: Journey) -> int:
    assert _failed(_tested(j, {"dsn": j.dsn(at=f"127.0.0.1:{j.echo.port}/shop")}))
    assert j.secrets.password in j.echo.passwords
    return 200


@road(200, deep=True)
def _tests_of_every_other_type_with_a_wrong_password(j: Journey) -> int:
    for name in ("mysql", "mongodb", "neo4j"):
        harness = DATABASES[name].harness(server(name))
        password = quote(j.secrets.mongodb, safe="") if name == "mongodb" else j.secrets.mysql
        config = harness.changed(password=password)
        report = _tested(j, config, harness.everything, connector_type=harness.connector_type)
        assert _failed(report) == "login", report
    return 200


@road(202)
def _dry_run_that_nobody_collects(j: Journey) -> int:
    """Its answer lies in the store while that is searched."""
    connector = j.registered({"dsn": j.dsn()}, f"SELECT id, name FROM items WHERE name <> '{j.secrets.literal}'")
    begun = j.api.post(f"/connectors/{connector}/pull?wait=false", json={"dry_run": True})
    with j.store() as store:
        until(lambda: store.drafts.answered(UUID(begun.json()["dry_run_id"])) is not None)
    return begun.status_code


@road(400, 424)
def _dry_run_whose_error_holds_the_dsn(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn()}, f"SELECT {j.leak}('P0001') AS name")
    return j.api.post(f"/connectors/{connector}/pull", json={"dry_run": True}).status_code


@road(0)
def _command_that_tries_a_pull(j: Journey) -> int:
    given = {"QANATIX_API_URL": j.system.stack.api_url, "QANATIX_API_KEY": j.secrets.api_keys[0]}
    return j.command("pull", j.registered({"dsn": j.dsn()}), "--dry-run", **given)


@road(200)
def _connector_whose_password_is_put_anew_and_tested(j: Journey) -> int:
    """Those that are refused hold secrets that are kept nowhere."""
    path = f"/connectors/by-key/{uuid4()}"
    made = j.api.put(path, json=j.body({"dsn": j.dsn()}))
    refused = [
        j.api.put(path, json=j.body({"dsn": j.dsn(password=j.secrets.wrong_password)}), headers={"If-Match": '"x"'}),
        j.api.put(path, json=j.body({"dsn": j.secrets.value})),
        j.api.put(path, json=j.body({"dsn": j.dsn(), j.secrets.name: j.secrets.value})),
        j.api.put(path, json=j.body({"dsn": j.dsn(password=j.secrets.wrong_password)}, connector_type="mysql")),
    ]
    assert [answer.status_code for answer in refused] == [412, 422, 422, 422]
    changed = j.body({"dsn": j.dsn(user=j.next_user, password=j.secrets.next_password)})
    assert j.api.put(path, json=changed, headers={"If-Match": made.headers["ETag"]}).status_code == 200
    tested = j.api.post(f"/connectors/{made.json()['id']}/test")
    assert tested.json()["ok"], tested.text
    return j.pull(made.json()["id"])


@road(422)
def _test_of_what_is_none(j: Journey) -> int:
    wrong: list[dict[str, Any]] = [
        j.body({"dsn": j.secrets.value}),
        j.body({"dsn": j.dsn(), j.secrets.name: j.secrets.value}),
        j.body({"dsn": j.dsn()}) | {j.secrets.name: j.secrets.value},
    ]
    return only({j.api.post("/connectors/test", json=body).status_code for body in wrong})


@road(1)
def _commands_that_test_and_preview_a_file(j: Journey) -> int:
    """The file is the caller's own, and is deleted before anything is searched."""
    file = Path(j.system.stack.folder) / f"{MARK}.json"
    given = {"QANATIX_API_URL": j.system.stack.api_url, "QANATIX_API_KEY": j.secrets.api_keys[0]}
    codes = []
    for password in (j.secrets.password, j.secrets.wrong_password):
        file.write_text(json.dumps(j.body({"dsn": j.dsn(password=password)})))
        codes += [j.command(command, str(file), **given) for command in ("test", "preview")]
        file.write_text(f"{{{j.secrets.value}")
        assert j.command("test", str(file), **given) == 2
    file.unlink()
    assert codes[:2] == [0, 0]
    return only(set(codes[2:]))


@road(503, when="alone")
def _test_whose_run_is_killed(j: Journey) -> int:
    slow = j.body({"dsn": j.dsn()}, "SELECT 1 AS id, pg_sleep(600)::text AS slept")
    with ThreadPoolExecutor(1) as waiting:
        asked = waiting.submit(j.api.post, "/connectors/test", json=slow)
        os.kill(process_of(j.system, _running(j)), signal.SIGKILL)
        return asked.result().status_code


@road(500, when="alone")
def _dry_run_whose_run_is_killed(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn()}, "SELECT 1 AS id, pg_sleep(600)::text AS slept")
    with ThreadPoolExecutor(1) as waiting:
        asked = waiting.submit(j.api.post, f"/connectors/{connector}/pull", json={"dry_run": True})
        os.kill(process_of(j.system, _running(j)), signal.SIGKILL)
        return asked.result().status_code


@road(0, when="alone")
def _test_whose_caller_goes(j: Journey) -> int:
    slow = j.body({"dsn": j.dsn()}, "SELECT 1 AS id, pg_sleep(600)::text AS slept")
    with j.client(j.secrets.api_keys[0]) as caller, ThreadPoolExecutor(1) as waiting:
        asked = waiting.submit(caller.post, "/connectors/test", json=slow, timeout=httpx2.Timeout(5, read=3))
        _running(j)
        assert isinstance(asked.exception(), httpx2.ReadTimeout)
    until(lambda: not j.system.ask_dagster(RUNS)["runsOrError"]["results"])
    return 0


def _running(j: Journey) -> str:
    """The id of the run of the one test that is going on, once it has begun."""
    found: list[str] = []
    until(
        lambda: bool(
            found.extend(run["runId"] for run in j.system.ask_dagster(RUNS)["runsOrError"]["results"]) or found
        )
    )
    return found[0]
