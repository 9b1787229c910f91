"""Pulls cancelled over REST, each while its source works on a query that takes minutes, with every process running."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests import stack as stacks
from tests.campaigns.conftest import DEEP
from tests.conftest import server
from tests.sources.databases import DATABASES
from tests.sources.harness import Harness
from tests.system import System, finished

ROUNDS = 20 if DEEP else 1


@pytest.mark.stack
@pytest.mark.timeout(300 if not DEEP else 3000)
@pytest.mark.parametrize("name", list(DATABASES))
def test_a_cancelled_pull_leaves_no_query_in_its_source(
    stack: System, name: str, figures: Callable[[str], None]
) -> None:
    harness = DATABASES[name].harness(server(name))
    connector = stack.register(harness.slow(), harness.config, connector_type=harness.connector_type)
    answered, gone, ended = [], [], []
    for _ in range(ROUNDS):
        receipt = _at_work(stack, harness, connector)
        began = time.monotonic()
        answer = stack.api.post(f"/pulls/{receipt['pull_id']}/cancel")
        answered.append(time.monotonic() - began)
        _until(lambda: harness.at_work() == 0)
        gone.append(time.monotonic() - began)
        run = finished(stack, receipt["run_id"])
        ended.append(time.monotonic() - began)

        assert answer.status_code in (200, 202)
        assert (answer.json()["status"], answer.json()["error"]["code"]) == ("cancelled", "pull_cancelled")
        assert run["status"] == "CANCELED"
        _until(lambda: harness.connections() == 0)

    figures(
        f"cancelling, {name}: {ROUNDS} pulls, answered {answer.status_code} after {max(answered):.2f} s, the query was "
        f"gone within {max(gone):.2f} s, the run had ended within {max(ended):.2f} s"
    )


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_a_pull_that_is_cancelled_while_dagster_is_away_leaves_none_either(
    stack: System, figures: Callable[[str], None]
) -> None:
    """The run goes on in the worker, and learns of it at its next heartbeat."""
    harness = DATABASES["postgresql"].harness(server("postgresql"))
    connector = stack.register(harness.slow(), harness.config)
    receipt = _at_work(stack, harness, connector)
    dagster = stack.stack.processes["dagster"]
    os.killpg(dagster.pid, signal.SIGKILL)
    dagster.wait()

    began = time.monotonic()
    answer = stack.api.post(f"/pulls/{receipt['pull_id']}/cancel")
    _until(lambda: harness.at_work() == 0)
    seconds = time.monotonic() - began
    stacks.restart_dagster(stack.stack)

    figures(f"cancelling without Dagster: answered {answer.status_code}, the query was gone within {seconds:.1f} s")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert finished(stack, receipt["run_id"])["status"] == "CANCELED"
    assert stack.api.post(f"/pulls/{receipt['pull_id']}/cancel").status_code == 200


def _at_work(stack: System, harness: Harness, connector: dict[str, Any]) -> dict[str, Any]:
    """The receipt of a new pull of the connector, once its source works on the query."""
    asked = stack.api.post(f"/connectors/{connector['id']}/pull", headers={"Prefer": "respond-async"})
    assert asked.status_code == 202, asked.text
    _until(lambda: harness.at_work() == 1)
    receipt: dict[str, Any] = stack.api.get(asked.headers["Location"].removeprefix("/api/v1")).json()
    return receipt


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
