"""Commands, and what befalls the whole system: its store or Dagster is away, its key is another, a row is no good."""

import os
import signal
from urllib.parse import quote

from tests.campaigns.journey import Journey
from tests.campaigns.roads import only, road
from tests.servers import free_port

SENSORS = ("connector_partitions", "connector_schedules", "connector_watches", "lost_pulls")

# Commands


@road(0)
def _commands(j: Journey) -> int:
    return max(j.command("migrate"), j.command("keys", "list"), j.command("keys", "create", "--name", "x", shown=True))


@road(1)
def _commands_with_wrong_variables(j: Journey) -> int:
    wrong = [
        {"QANATIX_STORE_URL": f"postgresql://u:{quote(j.secrets.value, safe='')}@127.0.0.1:{free_port()}/x"},
        {"QANATIX_STORE_URL": j.secrets.value},
        {"CONNECTOR_ENCRYPTION_KEY": j.secrets.value},
        {"CONNECTOR_ENCRYPTION_KEY": j.secrets.next_encryption_key},
        {"QANATIX_API_KEY_PEPPER": j.secrets.value[:12]},
        {"QANATIX_ENV": j.secrets.value},
        {"QANATIX_ALLOW_NETWORKS": j.secrets.value},
    ]
    codes = [
        j.command("keys", "rotate-encryption" if "CONNECTOR_ENCRYPTION_KEY" in given else "list", **given)
        for given in wrong[:-1]
    ]
    return only(set(codes))


# What changes the system for everybody


@road(503, 500, when="alone")
def _store_whose_table_is_away(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn()})
    j.change_store("ALTER TABLE {connector} RENAME TO connector_away")
    try:
        statuses = {
            j.post(j.body({"dsn": j.dsn()})),
            j.pull(connector),
            j.api.patch(f"/connectors/{connector}", json={"connection_config": {"dsn": j.dsn()}}).status_code,
            j.api.get("/connectors").status_code,
        }
        ticks = [_tick(j, sensor) for sensor in SENSORS]
        assert "error" in "".join(ticks)
    finally:
        j.change_store("ALTER TABLE {connector}_away RENAME TO connector")
    return max(statuses)


@road(500, when="alone")
def _fault_of_the_api(j: Journey) -> int:
    """A row that no release has written."""
    connector = j.registered({"dsn": j.dsn()})
    where = f"WHERE partition_key LIKE '%-{connector[:8]}'"
    j.change_store(f"UPDATE {{connector}} SET batch_size = -1 {where}".replace("%", "%%"))
    try:
        return j.api.get("/connectors").status_code
    finally:
        j.change_store(f"UPDATE {{connector}} SET batch_size = 1 {where}".replace("%", "%%"))


@road(424, when="alone", deep=True)
def _rotation_that_the_api_was_not_told_of(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn()})
    keys = f"{j.secrets.next_encryption_key},{j.secrets.encryption_key}"
    assert j.command("keys", "rotate-encryption", CONNECTOR_ENCRYPTION_KEY=keys) == 0
    status = j.pull(connector)
    back = f"{j.secrets.encryption_key},{j.secrets.next_encryption_key}"
    assert j.command("keys", "rotate-encryption", CONNECTOR_ENCRYPTION_KEY=back) == 0
    return status


@road(503, when="last")
def _dagster_that_is_down(j: Journey) -> int:
    process = j.system.stack.processes["dagster"]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return j.pulled({"dsn": j.dsn()})


def _tick(j: Journey, sensor: str) -> str:
    mutation = """
    mutation Tick($sensor: SensorSelector!) {
      sensorDryRun(selectorData: $sensor, cursor: null) {
        __typename
        ... on DryRunInstigationTick { evaluationResult { error { message stack causes { message stack } } } }
      }
    }
    """
    selector = {"repositoryLocationName": "qanatix", "repositoryName": "__repository__", "sensorName": sensor}
    return str(j.system.ask_dagster(mutation, sensor=selector))
