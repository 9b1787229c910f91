"""Whether a connector's account sees the open transactions of others, as the test of the connector tells it."""

from collections.abc import Callable
from typing import Any

import pytest

from qanatix_pipelines.reports import CheckStatus
from qanatix_pipelines.sources.mysql import account
from qanatix_pipelines.sources.postgresql.clock import sight_of
from tests.conftest import server
from tests.reported import PASSED, WARNED, check, report_of
from tests.servers import new_password
from tests.sources.databases import DATABASES
from tests.sources.harness import Harness
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.mysql.server import parts
from tests.sources.mysql.test_reading import user
from tests.sources.postgresql.test_settings import run

pytestmark = pytest.mark.server

SEES = {
    "postgresql": "It has no right that is too strong, and it sees the open transactions of others.",
    "neo4j": (
        "The server does not say what it may do, so its rights are not judged, and it sees the open transactions of "
        "others."
    ),
}
NOT_ASKED = "It has no right that is too strong."
BLIND = {
    "postgresql": "Run GRANT pg_read_all_stats TO unseeing at the source.",
    "mysql": "Run GRANT PROCESS ON *.* TO 'unseeing'@'%' at the source, with the account's own host.",
}
Asked = tuple[Harness, dict[str, Any]]


def blind(database: str) -> Asked:
    """A harness with rows, and the config of an account that can read them and see no others' transactions."""
    harness = DATABASES[database].harness(server(database))
    harness.fill(3)
    if isinstance(harness, MySQLHarness):
        config = user(harness.server, "unseeing", f"SELECT ON {parts(harness.server.address)['database']}.*")
        return harness, harness.config | {name: config[name] for name in ("user", "password")}
    password, address = new_password(), harness.server.address
    run(
        address,
        "DO $$ BEGIN CREATE ROLE unseeing; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"ALTER ROLE unseeing LOGIN PASSWORD '{password}'",
        "GRANT SELECT ON items TO unseeing",
    )
    return harness, {"dsn": f"postgresql://unseeing:{password}@{address.rpartition('@')[2]}"}


@pytest.mark.parametrize("database", sorted(BLIND))
def test_an_account_that_does_not_see_them_is_told_the_overlap_and_what_to_run(database: str) -> None:
    harness, config = blind(database)

    told = check(report_of(harness, harness.since, config, overlap=1200), "account")

    assert told.status is WARNED
    assert told.detail == (
        "The account cannot see how long the transactions of others are open. If one is open for more than 1,200 "
        f"seconds (the overlap), rows that it writes may be missed. {BLIND[database]} Or set `overlap` to more seconds "
        "than any transaction takes."
    )


@pytest.mark.parametrize("database", sorted(SEES))
def test_an_account_that_sees_them_is_told_so(database: str) -> None:
    """The tests' own: a member of pg_read_all_stats, and one of Neo4j's Community Edition, where each user does."""
    harness = DATABASES[database].harness(server(database))
    harness.fill(3)

    assert check(report_of(harness, harness.since), "account").detail == SEES[database]


# What fails later, or does not: the account is the same.
LATER: dict[str, Callable[[Harness], dict[str, Any]]] = {
    "nothing": lambda harness: {"query": harness.since},
    "query": lambda harness: {"query": harness.since.replace("items", "no_such_items")},
    "key": lambda harness: {"query": harness.since, "id_column": "no_such_key"},
    "name": lambda harness: {"query": harness.since, "name_column": "no_such_name"},
}


@pytest.mark.parametrize("database", sorted(BLIND))
def test_what_is_told_of_the_account_does_not_depend_on_what_fails_later(database: str) -> None:
    harness, config = blind(database)

    reports = {name: report_of(**{"harness": harness, "config": config} | of(harness)) for name, of in LATER.items()}

    failed = {
        name: [str(one.name) for one in report.checks if one.status is CheckStatus.FAILED]
        for name, report in reports.items()
    }
    assert failed == {"nothing": [], "query": ["query"], "key": ["key"], "name": ["name"]}
    accounts = [check(report, "account") for report in reports.values()]
    assert {(one.status, one.detail) for one in accounts} == {(WARNED, accounts[0].detail)}


@pytest.mark.parametrize("database", sorted(BLIND))
@pytest.mark.parametrize("cursor", [True, False])
def test_what_does_not_wait_for_transactions_does_not_need_to_see_them(database: str, cursor: bool) -> None:
    """A query without `:last_pull` reads everything, and an integer cursor has a count for its overlap."""
    harness, config = blind(database)
    given = {"query": harness.above, "cursor_column": harness.id_column} if cursor else {"query": harness.everything}

    told = check(report_of(**{"harness": harness, "config": config} | given), "account")

    assert (told.status, told.detail) == (PASSED, NOT_ASKED)


@pytest.mark.parametrize(
    ("unseen", "remedy"),
    [
        (None, None),
        ("replica", "It is a replica, which does not tell of them: connect to the primary."),
        ("untracked", "Have the server's administrator set track_activities to on."),
        ("no role", 'Run GRANT pg_read_all_stats TO "Our ""reader""" at the source.'),
    ],
)
def test_each_reason_of_postgresql_has_a_remedy(unseen: str | None, remedy: str | None) -> None:
    assert sight_of(unseen, 'Our "reader"').remedy == remedy


def test_a_user_of_mysql_is_quoted() -> None:
    assert (account.sight("o'hara", sees=False).remedy or "").startswith("Run GRANT PROCESS ON *.* TO 'o''hara'@'%' at")
