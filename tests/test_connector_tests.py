"""The test of a connector, at each kind of real server: each check fails and passes, and says what to do next."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from qanatix_pipelines import verdicts
from qanatix_pipelines.egress import Egress
from qanatix_pipelines.reports import CheckName, ConnectorTest
from tests.conftest import server
from tests.reported import ASKS, FAILED, PASSED, SKIPPED, WARNED, check, report_of, statuses
from tests.servers import Server
from tests.sources.databases import DATABASES
from tests.sources.harness import Harness
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.mysql.server import parts
from tests.sources.mysql.test_reading import who_sees
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.sources.postgresql.server import superuser
from tests.system import until

CLOSED = Egress(loopback=False)

# What is not passed by a connector that is well, at the servers of tests. TLS: each source's tests of it.
NOT_PASSED = {
    ("mysql", CheckName.ACCOUNT): WARNED,  # it may not see others' transactions; below there is one that may
    ("sqlite", CheckName.ACCOUNT): SKIPPED,
}


def test_a_connector_that_is_well_passes_all_checks_and_shows_its_first_rows(harness: Harness) -> None:
    harness.fill(12)

    report = report_of(harness, harness.since, rows=5, name_column="name")

    assert report.ok
    assert [one.name for one in report.checks] == list(CheckName)
    assert {one.name: one.status for one in report.checks} == {
        name: SKIPPED if name is CheckName.TLS else NOT_PASSED.get((harness.connector_type, name), PASSED)
        for name in CheckName
    }
    assert all(one.detail.endswith(".") for one in report.checks)
    assert check(report, "login").seconds is not None
    assert (len(report.sample), report.rejected, report.warnings) == (5, [], [])
    columns = {column.name: (column.becomes, column.role) for column in report.columns}
    assert columns[harness.id_column] == ("number", "key")
    assert columns["name"] == ("the entity's name", "name")
    assert set(columns) == {harness.id_column, "name", "updated_at"}
    first = report.sample[0]
    assert first.name == f"Item {first.source_id}"
    assert first.data is not None


@pytest.mark.parametrize("store_kind", ["sqlite"])
def test_a_sample_is_what_a_pull_stores(
    harness: Harness, register: Callable[..., Any], pulled: Callable[..., Any], store: Any
) -> None:
    harness.fill(3)
    connector = register(harness, harness.everything, name_column="name")
    pulled(connector)

    report = report_of(harness, harness.everything, name_column="name")

    kept, _ = store.entities.page(vertical=None, entity_type=None, limit=10, cursor=None)
    shown = {one.id: (one.source_id, one.name, one.data) for one in report.sample}
    assert shown == {one.id: (one.source_id, one.name, one.data) for one in kept}


# A fault, or an oddity, as what `report_of` is given otherwise.
Case = Callable[[Harness], dict[str, Any]]

FAULTS: dict[str, Case] = {
    "address": lambda harness: {"config": harness.unknown_host()},
    "address, of a closed network": lambda _harness: {"egress": CLOSED},
    "reachable": lambda harness: {"config": harness.closed_port()},
    "tls": lambda harness: {"config": _over_tls(harness)},
    "login": lambda harness: {"config": harness.wrong_password()},
    "account": lambda harness: {"config": _strong(harness)},
    "query": lambda harness: {"query": harness.rejected},
    "columns": lambda harness: {"query": harness.repeated},
    "key": lambda _harness: {"id_column": "no_such_key"},
    "name": lambda _harness: {"name_column": "no_such_name"},
    "last_pull": lambda harness: {"query": harness.above, "cursor_column": "name"},
}
# What cannot go wrong there, or not on the servers that tests have.
IMPOSSIBLE = {
    **{("sqlite", name): "a file" for name in ("address, of a closed network", "tls", "login", "account")},
    ("sqlite", "reachable"): "a file that is not there is no other fault than one in no folder",
    ("mongodb", "columns"): "a document cannot have two fields of one name",
    ("mongodb", "account"): "it needs a gateway of its own: test_accounts.py has it",
    ("neo4j", "account"): "the Community Edition has no roles",
    ("neo4j", "columns"): "the server refuses two columns of one name by itself",
}


def _over_tls(harness: Harness) -> dict[str, Any]:
    """TLS is demanded of a server that has none, or whose certificate nobody has signed."""
    config = harness.config
    match harness.connector_type:
        case "postgresql":
            return {"dsn": f"{config['dsn'].partition('?')[0]}?sslmode=verify-full"}
        case "mongodb":
            return config | {"uri": f"{config['uri'].partition('?')[0]}?tls=true"}
        case _:
            return config | {"tls": "verify"}


def _strong(harness: Harness) -> dict[str, Any]:
    if isinstance(harness, PostgreSQLHarness):
        return {"dsn": superuser(harness.server.address)}
    return parts(harness.server.address)


@pytest.mark.server
@pytest.mark.parametrize(
    ("database", "fault"),
    [(database, fault) for database in DATABASES for fault in FAULTS if (database, fault) not in IMPOSSIBLE],
)
def test_the_first_check_that_fails_skips_the_rest(database: str, fault: str) -> None:
    harness = DATABASES[database].harness(server(database))
    harness.fill(3)
    name = CheckName(fault.partition(",")[0])

    report = report_of(**{"harness": harness, "query": harness.since} | FAULTS[fault](harness))

    order = [one.name for one in report.checks]
    place = order.index(name)
    assert order == list(CheckName)
    assert not report.ok
    assert report.checks[place].status is FAILED, statuses(report)
    assert FAILED not in [one.status for one in report.checks[:place]]
    assert {one.status for one in report.checks[place + 1 :]} <= {SKIPPED}
    assert report.checks[place].detail.endswith(".")
    assert ASKS.search(report.checks[place].detail), report.checks[place].detail
    assert {one.detail for one in report.checks[place + 1 :]} <= {f"Not tried, because {name} failed."}


def test_of_a_closed_network_it_is_not_told_whether_anybody_listens(harness: Harness) -> None:
    if not harness.networked:
        return
    answers = [report_of(harness, harness.since, config, egress=CLOSED) for config in (None, harness.closed_port())]

    assert [check(one, "address").detail for one in answers] == [answers[0].checks[0].detail] * 2
    assert [statuses(one) for one in answers] == [statuses(answers[0])] * 2


def test_a_mysql_account_passes_that_sees_others_transactions(mysql_server: Server) -> None:
    harness = MySQLHarness(mysql_server)
    harness.fill(1)

    report = report_of(harness, harness.since, who_sees(mysql_server))

    assert (statuses(report)["account"], report.ok) == ("passed", True)
    assert check(report, "account").detail.endswith(", and it sees the open transactions of others.")


@pytest.mark.slow
@pytest.mark.parametrize("tells", [True, False])
def test_where_a_server_says_nothing_of_rights_none_are_called_harmless(tells: bool) -> None:
    """Neo4j's Community Edition has no roles, and each of its users may do everything."""
    harness = DATABASES["postgresql" if tells else "neo4j"].harness(server("postgresql" if tells else "neo4j"))
    harness.fill(1)

    report = report_of(harness, harness.everything)

    assert check(report, "account").detail == (
        "It has no right that is too strong."
        if tells
        else "The server does not say what it may do, so its rights are not judged."
    )


WARNED_OF: dict[str, Case] = {
    "columns": lambda harness: {"query": harness.everything, "name_column": "name"},
    "key": lambda harness: {"query": harness.everything, "id_column": "name"},
    "name": lambda harness: {"query": harness.nameless},
    "last_pull": lambda harness: {"query": harness.everything},
}


def test_what_is_probably_not_meant_is_warned_of_and_is_no_failure(harness: Harness) -> None:
    harness.fill(3)
    harness.forget_name(2)
    for name, fault in WARNED_OF.items():
        given = fault(harness)
        if given["query"] is None:
            continue

        report = report_of(**{"harness": harness} | given)

        assert report.ok
        assert check(report, name).status is WARNED, (name, statuses(report))
        assert ASKS.search(check(report, name).detail), check(report, name).detail
    rejected = report_of(harness, harness.everything, name_column="name").rejected
    assert [(one.row, one.key, one.reason, one.column) for one in rejected] == [(2, "2", "name_missing", "name")]


def test_a_query_that_gives_no_row_in_time_fails_and_is_cancelled_at_the_source(harness: Harness) -> None:
    query = harness.slow()

    report = report_of(harness, query, seconds=2)

    (failed,) = [one for one in report.checks if one.status is FAILED]
    assert failed.name in (CheckName.QUERY, CheckName.COLUMNS)
    assert failed.detail.startswith("The source did not answer within 2 seconds. ")
    until(lambda: harness.at_work() == 0 and harness.connections() == 0)


def test_a_host_that_takes_the_connection_and_says_nothing_fails_at_the_login() -> None:
    harness = PostgreSQLHarness(server("postgresql"))
    with silent() as port:
        report = report_of(harness, harness.since, harness.changed(port=port), seconds=1)

    assert (statuses(report)["reachable"], statuses(report)["login"]) == ("passed", "failed")
    assert "did not answer within 1 seconds. Something listens" in check(report, "login").detail


@contextmanager
def silent() -> Iterator[int]:
    """A port at which somebody listens who says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_repeated_keys_are_warned_of_only_where_rows_differ(postgresql_server: Server) -> None:
    harness = PostgreSQLHarness(postgresql_server)
    query = "SELECT n % 2 AS id, 'Item' AS name, {} AS n FROM generate_series(1, 4) n"

    same, unlike = (report_of(harness, query.format(value)) for value in ("1", "n"))

    assert (statuses(same)["key"], statuses(unlike)["key"]) == ("passed", "warned")
    assert check(unlike, "key").detail.startswith("'id' does not tell rows apart: 2 rows of the sample")


def test_within_a_loop_that_runs_already_it_tests_the_same(postgresql_server: Server) -> None:
    async def notebook() -> ConnectorTest:
        return report_of(PostgreSQLHarness(postgresql_server), "SELECT 1 AS id, 'Item' AS name")

    report = asyncio.run(notebook())

    assert (report.ok, len(report.sample), statuses(report)["reachable"]) == (True, 1, "passed")


def test_a_result_without_rows_shows_its_columns(postgresql_server: Server) -> None:
    harness = PostgreSQLHarness(postgresql_server)
    harness.fill(0)

    report = report_of(harness, "SELECT id, name, 1.5::numeric AS price FROM items WHERE updated_at > :last_pull")

    assert (report.ok, report.sample) == (True, [])
    assert [(one.name, one.type, one.becomes, one.role) for one in report.columns] == [
        ("id", "int4", "number", "key"),
        ("name", "text", "the entity's name", "name"),
        ("price", "numeric", "any value", None),
    ]


def test_a_sample_has_room_for_a_mebibyte(postgresql_server: Server) -> None:
    harness = PostgreSQLHarness(postgresql_server)
    query = "SELECT n AS id, repeat('x', CASE n WHEN 2 THEN 2000000 ELSE 1 END) AS body FROM generate_series(1, 3) n"

    report = report_of(harness, query)

    assert [one.data is None for one in report.sample] == [False, True, False]


def test_numbers_of_any_length_are_shown_and_told_as_numbers(postgresql_server: Server) -> None:
    digits = "9" * 5000
    report = report_of(PostgreSQLHarness(postgresql_server), f"SELECT 1 AS id, '{digits}'::numeric AS n")

    assert [column.becomes for column in report.columns] == ["number", "number"]
    assert report.sample[0].data == f'{{"id":1,"n":{digits}}}'


def test_a_name_for_which_there_is_no_room_is_cut(postgresql_server: Server) -> None:
    query = "SELECT n AS id, repeat('x', 600000) AS name FROM generate_series(1, 3) n"

    report = report_of(PostgreSQLHarness(postgresql_server), query)

    assert [(len(one.name or ""), one.data is None) for one in report.sample] == [
        (600_000, False),
        (201, True),
        (201, True),
    ]


def test_nothing_of_the_password_is_in_a_report(harness: Harness) -> None:
    if not harness.networked:
        return
    for config in (harness.changed(password="hunter2%2Fhunter2"), harness.changed(host="hunter2.invalid")):
        assert "hunter2" not in report_of(harness, harness.since, config).model_dump_json()


@pytest.mark.server
@pytest.mark.parametrize("database", ["postgresql", "mysql", "mysql97", "mongodb", "neo4j"])
def test_a_large_table_that_each_pull_reads_whole_is_warned_of(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's planner counts nothing."""
    harness = DATABASES[database].harness(server(database))
    harness.fill(12)
    monkeypatch.setattr(verdicts, "LARGE_ROWS", 2)

    report = report_of(harness, harness.since)

    assert (report.ok, statuses(report)["last_pull"], statuses(report)["cost"]) == (True, "warned", "warned")
    assert check(report, "last_pull").detail.startswith("It is compared with ")
    assert "each pull reads all of " in check(report, "cost").detail
