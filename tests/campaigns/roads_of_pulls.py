"""Pulls that work, and each way known in which one fails."""

from urllib.parse import quote
from uuid import UUID

from tests.campaigns.journey import Journey, kill_runs, until
from tests.campaigns.roads import only, road
from tests.conftest import server
from tests.servers import free_port
from tests.sources.databases import DATABASES

SLOW = "SELECT id, name, pg_sleep(600)::text AS slept FROM items"


@road(200)
def _pull_twice(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn()}, f"SELECT id, name FROM items WHERE name <> '{j.secrets.literal}'")
    return max(j.pull(connector), j.pull(connector))


@road(200)
def _dry_run_that_is_waited_for_polled_and_ended(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn()}, f"SELECT id, name FROM items WHERE name <> '{j.secrets.literal}'")
    pull = f"/connectors/{connector}/pull"
    first = j.api.post(f"{pull}?wait=false", json={"dry_run": True}).headers["Location"].removeprefix("/api/v1")
    until(lambda: j.api.get(first).status_code == 200)
    second = j.api.post(f"{pull}?wait=false", json={"dry_run": True}).headers["Location"].removeprefix("/api/v1")
    assert {j.api.delete(one).status_code for one in (first, second)} == {204}
    return j.api.post(pull, json={"dry_run": True}).status_code


@road(424)
def _dry_run_with_a_wrong_password(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn(password=j.secrets.wrong_password)})
    return j.api.post(f"/connectors/{connector}/pull", json={"dry_run": True}).status_code


@road(200, deep=True)
def _pull_after_a_change_of_password(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn()})
    changed = {"connection_config": {"dsn": j.dsn(user=j.next_user, password=j.secrets.next_password)}}
    assert j.api.patch(f"/connectors/{connector}", json=changed).status_code == 200
    return j.pull(connector)


@road(424)
def _wrong_password(j: Journey) -> int:
    return j.pulled({"dsn": j.dsn(password=j.secrets.wrong_password)})


@road(424)
def _server_that_echoes_the_password(j: Journey) -> int:
    status = j.pulled({"dsn": j.dsn(at=f"127.0.0.1:{j.echo.port}/shop")})
    assert j.secrets.password in j.echo.passwords
    return status


@road(424, deep=True)
def _unknown_host(j: Journey) -> int:
    return j.pulled({"dsn": j.dsn(at="no-such-host.invalid/shop")})


@road(424, deep=True)
def _refused_port(j: Journey) -> int:
    return j.pulled({"dsn": j.dsn(at=f"127.0.0.1:{free_port()}/shop")})


@road(424)
def _refused_address(j: Journey) -> int:
    return j.pulled({"dsn": j.dsn(at="169.254.169.254/shop")})


@road(424, deep=True)
def _server_without_tls(j: Journey) -> int:
    return j.pulled({"dsn": j.dsn(options="sslmode=verify-full")})


@road(424)
def _timeout(j: Journey) -> int:
    return j.pulled({"dsn": j.dsn()}, SLOW)


@road(400)
def _query_that_the_server_repeats_in_its_refusal(j: Journey) -> int:
    return j.pulled({"dsn": j.dsn()}, f"SELECT id, '{j.secrets.literal}'::int AS name FROM items")


@road(400, 424)
def _error_whose_text_holds_the_dsn(j: Journey) -> int:
    return j.pulled({"dsn": j.dsn()}, f"SELECT {j.leak}('P0001') AS name")


@road(424, deep=True)
def _error_whose_text_holds_the_dsn_and_that_may_pass(j: Journey) -> int:
    return j.pulled({"dsn": j.dsn()}, f"SELECT {j.leak}('40001') AS name")


@road(500)
def _stack_trace_in_a_run(j: Journey) -> int:
    """Credentials that no source takes, and that no request could have brought there."""
    connector = j.registered({"dsn": j.dsn()})
    with j.store() as store:
        store.connectors.change(UUID(connector), {}, {"dsn": j.secrets.value, j.secrets.name: j.dsn()}, None)
    return j.pull(connector)


@road(409)
def _cancelled_run(j: Journey) -> int:
    answer, run_id = j.begun(j.registered({"dsn": j.dsn()}, SLOW.replace("600", "2"), batch_size=1))
    j.system.ask_dagster("mutation T($id: String!) { terminateRun(runId: $id) { __typename } }", id=run_id)
    return answer()


@road(409, when="alone")
def _killed_run(j: Journey) -> int:
    connector = j.registered({"dsn": j.dsn()}, SLOW.replace("600", "2"), batch_size=1)
    answer, _ = j.begun(connector)
    assert kill_runs(j.system.stack.processes["worker"].pid) > 0
    assert j.api.delete(f"/connectors/{connector}").status_code == 204
    return answer()


@road(424)
def _mongodb_on_a_refused_port(j: Journey) -> int:
    config = {"uri": mongodb_address(j), "database": "shop", "collection": "orders"}
    return j.pulled(config, "{}", connector_type="mongodb")


@road(424, deep=True)
def _mysql_on_a_refused_port(j: Journey) -> int:
    config = {"host": "127.0.0.1", "port": free_port(), "user": "u", "password": j.secrets.mysql, "database": "d"}
    return j.pulled(config, "SELECT 1 AS id", connector_type="mysql")


@road(424, deep=True)
def _every_other_type_with_a_wrong_password(j: Journey) -> int:
    statuses = set()
    for name in ("mysql", "mysql97", "mongodb", "neo4j"):
        harness = DATABASES[name].harness(server(name))
        password = quote(j.secrets.mongodb, safe="") if name == "mongodb" else j.secrets.mysql
        config = harness.changed(password=password)
        statuses.add(j.pulled(config, harness.everything, connector_type=harness.connector_type))
    (status,) = statuses
    return status


def mongodb_address(j: Journey) -> str:
    """Where nobody listens."""
    return f"mongodb://reader:{quote(j.secrets.mongodb, safe='')}@127.0.0.1:{free_port()}/?tls=false"


@road(200)
def _watches_that_fail(j: Journey) -> int:
    """Each is looked at by the daemon, and tells its failure itself."""
    literal = f"SELECT id FROM items WHERE name <> '{j.secrets.literal}'"
    watched = [
        j.registered({"dsn": dsn}, watch={"query": query})
        for dsn, query in (
            (j.dsn(password=j.secrets.wrong_password), literal),
            (j.dsn(at=f"127.0.0.1:{j.echo.port}/shop"), literal),
            (j.dsn(), f"SELECT '{j.secrets.literal}'::int"),
            (j.dsn(), f"SELECT {j.leak}('P0001')"),
        )
    ]
    until(lambda: all(j.api.get(f"/connectors/{one}").json()["watch_failures"] for one in watched))
    statuses = {j.api.post(f"/connectors/{one}/pause").status_code for one in watched}
    return only(statuses)


@road(200)
def _watch_and_schedule_that_start_a_pull(j: Journey) -> int:
    query = f"SELECT id, name FROM items WHERE name <> '{j.secrets.literal}'"
    connector = j.registered({"dsn": j.dsn()}, query, watch={"cursor_column": "id"}, schedule={"cron": "* * * * *"})
    until(lambda: j.api.get(f"/connectors/{connector}").json()["last_pull_status"] == "completed")
    return j.api.post(f"/connectors/{connector}/pause").status_code
